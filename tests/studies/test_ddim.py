"""The faces' study: each measure on inputs whose answer is known, a sampler that keeps its faces,
and the records of the recorded file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.names import names

from hw2lib import diffusion, samplers
from hw2lib.datasets import faces
from hw2lib.device import fast_bfloat16
from hw2lib.experiments import ddim, recipe
from hw2lib.io.results import one
from hw2lib.metrics import frechet_distance
from hw2lib.models.face_unet import TINY, FaceUNet
from hw2lib.samplers import Denoiser
from hw2lib.studies import ddim as study
from hw2lib.studies import walks
from hw2lib.studies.ddim import Sampler, blurred, distance, jackknife, noise_share

HEADER = {"schedule": "linear", "n_train_steps": 1000, "prediction": "v"}


@pytest.fixture
def network():
    return FaceUNet(TINY).eval()


@pytest.fixture
def draw(network, tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "build"))
    return Sampler(network, HEADER, batch=2)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# --- drawing -------------------------------------------------------------------------------------


def test_a_sampler_draws_what_sample_faces_draws(draw, network):
    x = normal(3, 3, 16, 16)
    expected = ddim.sample_faces(network, HEADER, x, ddim.Sampling(3, 0.5, 2))
    found = draw(x, steps=3, eta=0.5, seed=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)  # bfloat16 where it is fast


def test_a_sampler_keeps_its_faces_and_the_time_they_took(draw, network, monkeypatch):
    x = normal(3, 3, 16, 16)
    first = draw(x, steps=2)
    assert draw.spared == 0

    def never(*args, **options):
        raise AssertionError("drawn again")

    original = ddim.sample_faces
    monkeypatch.setattr(ddim, "sample_faces", never)
    again = Sampler(network, HEADER)
    assert torch.equal(again(x, steps=2), first) and again.spared > 0
    for other in ({"steps": 3}, {"steps": 2, "eta": 0.5}, {"steps": 2, "seed": 1}):
        with pytest.raises(AssertionError, match="drawn again"):
            again(x, **other)
    with pytest.raises(AssertionError, match="drawn again"):
        again(x + 1, steps=2)
    with monkeypatch.context() as other:  # a machine of the other precision
        other.setattr(study, "fast_bfloat16", lambda where: not fast_bfloat16(where))
        with pytest.raises(AssertionError, match="drawn again"):
            again(x, steps=2)
    monkeypatch.setattr(ddim, "sample_faces", original)
    other_model = Sampler(FaceUNet(TINY).eval(), HEADER)
    assert not torch.equal(other_model(x, steps=2), first)


def test_a_damaged_file_is_drawn_again(draw, tmp_path):
    x = normal(1, 3, 16, 16)
    first = draw(x, steps=1)
    (file,) = (tmp_path / "build" / "cache").glob("drawn-*.npz")
    file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(draw(x, steps=1), first)


def test_starts_are_their_numbers_own_and_never_the_noise_of_eta(draw):
    some = draw.starts([3, 5])
    assert torch.equal(draw.starts([5])[0], some[1])
    for seed in range(8):
        z = samplers.individual_noise((3, 64, 64), samplers.sample_generators(seed, [3, 5]))
        assert torch.cosine_similarity(z.flatten(1), some.flatten(1)).abs().max() < 0.05


def test_blur_is_a_gaussian_and_keeps_what_is_flat():
    point = torch.zeros(1, 3, 17, 17, dtype=torch.uint8)
    point[..., 8, 8] = 255
    spread = blurred(point)[0, 0].double()
    assert spread[8, 8].item() == round(255 / (2 * np.pi))
    assert (spread[8, 9] / spread[8, 8]).item() == pytest.approx(np.exp(-0.5), abs=0.02)
    flat = torch.full((1, 3, 9, 9), 77, dtype=torch.uint8)
    assert torch.equal(blurred(flat), flat)


# --- quality -------------------------------------------------------------------------------------


def test_jackknife_of_a_mean_is_its_standard_error():
    x = normal(800).numpy()
    entry = jackknife(lambda i: x[i].mean(), 800)
    half = 2.3646 * x.std(ddof=1) / 800**0.5
    assert entry["mean"] == pytest.approx(x.mean())
    assert (entry["high"] - entry["low"]) / 2 == pytest.approx(half, rel=0.6)
    assert entry["high"] - entry["mean"] == pytest.approx(entry["mean"] - entry["low"])


def test_quality_is_the_distance_of_both_kinds():
    real, near, far = normal(300, 4), normal(200, 4, seed=1), normal(200, 4, seed=2) + 1
    records = study.quality("near", near, real) + study.quality("far", far, real, steps=2)
    assert one(records, "far", "frechet", steps=2)["mean"] == pytest.approx(
        frechet_distance(far, real)
    )
    for kind in ("frechet", "kernel"):
        assert one(records, "near", kind)["high"] < one(records, "far", kind)["low"]
        assert one(records, "near", kind)["n"] == 200


def test_copies_are_told():
    training, held_out = normal(300, 8), normal(200, 8, seed=1)
    records, far = study.copies(held_out, held_out, training)
    assert one(records, "drawn", "near")["mean"] == pytest.approx(0.05)
    assert one(records, "drawn", "nearest_ratio")["mean"] == 1
    assert torch.equal(far["held-out faces"], far["generated faces"])
    stolen = torch.cat([held_out[:100], training[:100] + 1e-3])
    records, far = study.copies(stolen, held_out, training)
    assert one(records, "drawn", "near")["mean"] > 0.5
    torch.testing.assert_close(far["generated faces"][100:], torch.full((100,), 8e-6**0.5).double(),
                               rtol=1e-3, atol=0)  # fmt: skip


# --- eta -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n", [10, 50])
def test_the_share_of_new_noise_is_the_samplers(eta, n):
    """A step on nothing but noise: x_0 = 0, estimate 1, fresh noise 0; what is missing is new."""
    ab = diffusion.linear_schedule().alpha_bar
    times = samplers.time_steps(1000, n, "leading")
    expected = []
    for t, following in zip(times, [*times[1:], 0], strict=True):
        one = torch.ones(1, dtype=torch.float64)
        x = samplers.ddim_step(None, 0 * one, one, ab[t], ab[following], eta, None)
        expected.append(1 - (x**2 / (1 - ab[following])).item())
    share = noise_share(diffusion.linear_schedule(), n, eta)
    np.testing.assert_allclose(share, expected, atol=1e-12)
    left = study.left_of_the_start(diffusion.linear_schedule(), n, eta)
    assert left[-1] == pytest.approx(np.prod(1 - share)) and (left <= 1).all()


def test_distance_is_the_root_mean_square_of_what_is_shown():
    a, b = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    assert distance(a, b).tolist() == [0.5, 0.5]
    assert distance(a + 7, b + 9).tolist() == [0, 0]  # both are white


def test_movement_is_none_without_noise_and_grows(draw):
    moved, other = study.movement(draw, 2, 2, etas=(0.0, 0.5))
    assert moved[0.0].shape == moved[0.5].shape == (2, 2) and other.shape == (2,)
    assert not moved[0.0].any() and (moved[0.5] > 0).all() and (other > 0).all()


def test_movement_has_one_value_a_noise():
    moved = {0.25: torch.tensor([[0.1, 0.3], [0.4, 0.4]])}
    records = study.movement_records(moved, torch.tensor([0.5, 0.7]))
    change = one(records, "drawn", "change", eta=0.25)
    assert change["values"] == pytest.approx([0.2, 0.4]) and change["n"] == 2
    assert one(records, "other noise", "change")["mean"] == pytest.approx(0.6)


def test_shares_are_those_of_the_first_and_the_last_step_but_one():
    schedule = diffusion.linear_schedule()
    records = study.share_records(schedule, 50, (0.0, 0.5))
    share = noise_share(schedule, 50, 0.5)
    assert len(records) == 3  # none of eta = 0
    assert one(records, "noise", "fresh_first", eta=0.5)["mean"] == share[0]
    assert one(records, "noise", "fresh_last", eta=0.5)["mean"] == share[48]
    left = one(records, "noise", "left", eta=0.5)["mean"]
    assert left == pytest.approx((1 - share[:49]).prod())


class Made:
    """A sampler whose faces, and a network whose features, are random numbers."""

    predict = staticmethod(lambda x, t: torch.zeros_like(x))
    header, schedule, side = HEADER, diffusion.linear_schedule(), 8
    denoiser = Denoiser(predict, schedule, clip=False)

    def __call__(self, x, **options):
        return normal(*x.shape, seed=len(options))

    def many(self, n, *, steps=50, eta=0.0):
        return normal(n, 4, seed=steps + int(100 * eta))

    def starts(self, numbers):
        return normal(len(numbers), 3, 8, 8)

    def kept(self, what, x, make):
        return x

    def embed(self, images):
        return images


def test_each_eta_is_compared_with_none():
    plan = replace(study.PLANS["quick"], samples=40, eta_steps=(50,))
    real = normal(100, 4)
    records = study.eta_study(Made(), Made(), plan, real)
    assert len(records) == 5 * 2 + 4
    a, b = (one(records, "drawn", "frechet", steps=50, eta=eta)["mean"] for eta in (0.25, 0))
    assert a == pytest.approx(frechet_distance(Made().many(40, eta=0.25), real))
    worse = one(records, "drawn", "worse", eta=0.25)
    assert worse["mean"] == pytest.approx(a - b) and worse["low"] < a - b < worse["high"]


def test_the_records_are_those_of_the_recorded_file():
    """All calls of the notebook, at the steps of the full preset."""
    plan, draw = replace(study.PLANS["full"], samples=20, noises=2, pairs=2), Made()
    real = normal(20, 4)
    records = study.movement_records(*study.movement(draw, 2, 2))
    records += study.share_records(draw.schedule, 50)
    records += study.quality("real", real, real) + study.quality("blurred", real, real)
    records += study.copies(real, real, real + 1)[0]
    records += study.eta_study(draw, draw, plan, real)
    records += walks.walk_records(walks.walks(draw, walks.pair_noises(draw, plan.pairs)))
    scales = (0.5, 0.7, 0.85, 1.0, 1.15)
    records += walks.estimate_records(
        walks.first_estimates(draw, draw.starts([0, 1]), scales), scales
    )
    records += walks.inversion_records(walks.inversion(draw, 2, plan.code_steps))
    assert names(records) == names("faces")


# --- the split -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "held"), [(9987, 1000), (5000, 1000), (512, 102), (7, 1)])
def test_the_last_images_are_held_out(n, held):
    images = torch.arange(n).view(n, 1, 1, 1)
    train, held_out = faces.split(faces.FaceSet(images, "embedded"))
    assert len(held_out) == held
    assert torch.equal(torch.cat([train, held_out]), images)


def test_the_face_model_is_trained_on_the_training_images_alone(tmp_path, monkeypatch):
    """White held-out images would show."""
    images = torch.zeros(20, 3, 64, 64, dtype=torch.uint8)
    images[-4:] = 255
    monkeypatch.setattr(faces, "load", lambda source: faces.FaceSet(images, "embedded"))
    seen = []

    def loss(predict, x_0, *_):
        seen.append(x_0)
        return predict(x_0, torch.zeros(len(x_0))).mean()

    monkeypatch.setattr(recipe, "diffusion_loss", loss)
    short = {"steps": "6", "batch_size": "4"}
    preset = recipe.with_settings(ddim.FACE_PRESETS["quick"], short)
    ddim.train_faces(preset, out=tmp_path)
    assert len(seen) == 6 and torch.equal(torch.cat(seen), -torch.ones(24, 3, 64, 64))
