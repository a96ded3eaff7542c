"""Walks and inversion: ways between noises, weak noise, and back from face to noise."""

import pytest
import torch

from hw2lib.diffusion import linear_schedule
from hw2lib.interpolation import WAYS
from hw2lib.io.results import one, select
from hw2lib.models.face_unet import TINY, FaceUNet
from hw2lib.samplers import Denoiser, encode, sample_ddim
from hw2lib.studies import walks as walking
from hw2lib.studies.ddim import Sampler, distance
from hw2lib.studies.walks import Walk, walks

HEADER = {"schedule": "linear", "n_train_steps": 1000, "prediction": "v"}


@pytest.fixture
def draw(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "build"))
    return Sampler(FaceUNet(TINY).eval(), HEADER)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_ways_share_their_ends_and_rescaled_has_the_norm_of_slerp(draw):
    noises = normal(4, 3, 16, 16)
    found = walks(draw, noises, steps=2)
    slerp, lerp, rescaled = (found[how] for how in WAYS)
    torch.testing.assert_close(rescaled.norms, slerp.norms)
    assert (lerp.norms[:, 5] < 0.8 * slerp.norms[:, 5]).all()
    assert slerp.images.shape == (2, 11, 3, 16, 16)
    for k in (0, 10):
        torch.testing.assert_close(lerp.images[:, k], slerp.images[:, k], rtol=0, atol=0.02)
    for how in WAYS:
        torch.testing.assert_close(found[how].norms[:, 0], noises[::2].flatten(1).norm(dim=1))


def test_a_walk_takes_as_many_steps_as_asked(draw):
    noises = normal(2, 3, 16, 16)
    images = {n: walks(draw, noises, ["lerp"], n)["lerp"].images for n in (None, 2, 50)}
    torch.testing.assert_close(images[None], images[50], rtol=0, atol=0)  # the sampler's own
    assert not torch.equal(images[2], images[50])


def test_metrics_of_a_walk_that_is_known():
    """Three images of one value each: 0, then .2 further, then .6 further."""
    images = torch.tensor([0.0, 0.2, 0.8]).view(1, 3, 1, 1, 1).expand(2, 3, 3, 4, 4)
    images = images + 0.05 * torch.eye(4)
    walk = Walk(torch.tensor([[2.0, 1.0, 2.0]]).expand(2, 3), images)
    near = Walk(walk.norms, torch.stack([images[:, 0], images[:, 1], images[:, 1]], 1))
    records = walking.walk_records({"slerp": walk, "lerp": walk, "rescaled": near})

    def mean(score, way):
        return pytest.approx(one(records, "walk", score, way=way)["mean"], abs=1e-5)

    assert mean("norm", "lerp") == 0.5
    assert mean("length", "slerp") == 0.8
    assert mean("unevenness", "slerp") == 0.6 / 0.4
    assert mean("detail", "slerp") == 1
    assert mean("apart", "lerp") == 0 and not select(records, "walk", "apart", way="slerp")
    assert len(one(records, "walk", "length", way="lerp")["values"]) == 2
    assert mean("relative_length", "lerp") == mean("relative_unevenness", "lerp") == 1
    assert mean("relative_length", "rescaled") == 0.2 / 0.8
    assert mean("relative_unevenness", "rescaled") == 2 / 1.5
    half_way = {r["score"] for r in select(records, alpha=0.5)}
    assert half_way == {"norm", "detail", "contrast", "apart"}


def test_pairs_are_of_noises_that_differ_from_the_other_studies(draw):
    noises, others = walking.pair_noises(draw, 2), draw.starts(range(4))
    assert noises.shape == (4, 3, 64, 64)
    likeness = torch.corrcoef(torch.cat([noises, others]).flatten(1))
    assert (likeness - torch.eye(8)).abs().max() < 0.05


def test_first_estimates_are_those_of_the_sampler(draw):
    noise, seen = normal(2, 3, 16, 16), []
    found = walking.first_estimates(draw, noise, (1.0, 0.5))
    model = Denoiser(
        draw.predict, linear_schedule(), "v", False, lambda t, x, x_0: seen.append(x_0)
    )
    sample_ddim(model, noise, 50, spacing="leading")
    assert found.shape == (2, 2, 3, 16, 16)
    torch.testing.assert_close(found[:, 0], seen[0])
    assert not torch.equal(found[:, 1], found[:, 0])


def optimal(x, t):
    """Noise as the best network for images N(.3, .5^2) predicts it: the ODE is known."""
    ab = linear_schedule().alpha_bar[t[0]].item()
    return (1 - ab) ** 0.5 * (x - ab**0.5 * 0.3) / (0.25 * ab + 1 - ab)


def exact(predict):
    return Denoiser(predict, linear_schedule(), "eps", clip=False)


def test_encoding_finds_the_noise_of_a_gaussian():
    """Images .3 + .5 e come from the noise e, but for the steps' errors, which fall."""
    noise = normal(2, 3, 8, 8).double()
    errors = []
    for n in (20, 100, 500):
        found = encode(exact(optimal), 0.3 + 0.5 * noise, n)
        errors.append((found - noise).norm() / noise.norm())
    assert errors[2] < 0.02 and errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("n", [50, 200])
def test_decoding_what_was_encoded_gives_the_image(n):
    image = 0.3 + 0.5 * normal(1, 3, 8, 8).double()
    noise = encode(exact(optimal), image, n)
    again = sample_ddim(exact(optimal), noise, n, spacing="leading")
    assert distance(again, image).max() < 5 / n


def test_a_step_back_and_forth_is_exact_where_the_noise_is_constant():
    """An estimate that is the same everywhere makes Euler's steps exact both ways."""
    eps = normal(1, 3, 4, 4).double()
    image = 0.2 * normal(1, 3, 4, 4, seed=1).double()
    model = exact(lambda x, t: eps)
    again = sample_ddim(model, encode(model, image, 10), 10, spacing="leading")
    torch.testing.assert_close(again, image)


def test_inversion_measures_both_errors(draw):
    found = walking.inversion(draw, 2, (2, 4))
    assert set(found) == {2, 4}
    for face_error, noise_error in found.values():
        assert face_error.shape == noise_error.shape == (2,)
        assert (face_error > 0).all() and (noise_error > 0).all()


def test_inversion_has_one_value_a_face():
    records = walking.inversion_records({20: (torch.tensor([0.1, 0.3]), torch.tensor([1.0]))})
    face = one(records, "inversion", "face_error", steps=20)
    assert face["mean"] == pytest.approx(0.2) and len(face["values"]) == 2
    assert one(records, "inversion", "noise_error", steps=20)["mean"] == 1


def test_estimates_are_shares_of_those_at_the_right_norm():
    images = normal(2, 1, 3, 8, 8) * torch.tensor([0.5, 1.0]).view(1, 2, 1, 1, 1)
    records = walking.estimate_records(images, (0.7, 1.0))
    weak = one(records, "first estimate", "contrast", scale=0.7)
    assert weak["values"] == pytest.approx([0.5, 0.5])
    assert one(records, "first estimate", "detail", scale=1)["mean"] == pytest.approx(1)
