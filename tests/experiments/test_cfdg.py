"""Digits: sampled by a tiny network."""

import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from helpers.lines import one_line

from hw2lib.datasets import digits
from hw2lib.diffusion import cosine_schedule
from hw2lib.errors import UserError
from hw2lib.experiments import cfdg, ddim
from hw2lib.experiments.cfdg import DEFAULT, Sampling, sample_digits
from hw2lib.io.paths import ROOT
from hw2lib.models.digit_unet import NULL_LABEL, DigitConfig, DigitUNet
from hw2lib.samplers import Denoiser, individual_noise, sample_ddim, sample_generators

DIFFUSION = {"schedule": "cosine", "n_train_steps": 1000, "prediction": "v"}


def shaken(model):
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return model.eval()


@pytest.fixture(scope="module")
def digit_model():
    torch.manual_seed(0)
    return shaken(DigitUNet(DigitConfig(widths=(8, 16), c_condition=16)))


def test_digits_are_images_of_the_labels_asked_for(digit_model):
    labels = torch.tensor([3, 1, 3])
    images = sample_digits(digit_model, DIFFUSION, labels, range(3), Sampling(steps=2))
    assert images.shape == (3, 3, digits.SIDE, digits.SIDE) and images.dtype == torch.uint8


@pytest.mark.parametrize(
    ("w", "eta", "solver", "steps"),
    [(0.0, 0.0, "ddim", 1), (2.0, 0.0, "ddim", 2), (2.0, 1.0, "ddim", 2), (2.0, 0.0, "dpmpp", 3)],
)
def test_a_digit_depends_on_its_seed_number_and_label_alone(digit_model, w, eta, solver, steps):
    """Not on how many are drawn, nor on its neighbours or its place among them."""
    how = Sampling(w, steps, solver, eta=eta)
    labels, noises = torch.arange(60) % 10, list(range(60))
    many = sample_digits(digit_model, DIFFUSION, labels, noises, how)
    assert torch.equal(many, sample_digits(digit_model, DIFFUSION, labels, noises, how))
    for pick in ([0], [57], [4, 33], list(range(59, -1, -7))):
        few = sample_digits(digit_model, DIFFUSION, labels[pick], [noises[k] for k in pick], how)
        assert torch.equal(few, many[pick])
    other = sample_digits(digit_model, DIFFUSION, labels[:1], [0], replace(how, seed=1))
    assert not torch.equal(other[0], many[0])


def test_a_guide_takes_the_place_of_the_null_label(digit_model):
    """A guide that is the model without label is classifier-free guidance; one that is the model
    itself changes nothing."""
    labels = torch.arange(4)

    def draw(w, guide=None):
        return sample_digits(
            digit_model, DIFFUSION, labels, range(4), Sampling(w, 3), guide=guide
        ).int()

    def null(x, t, label):
        return digit_model(x, t, torch.full_like(label, NULL_LABEL))

    assert (draw(2.0) - draw(0.0)).abs().max() > 1
    assert (draw(2.0, null) - draw(2.0)).abs().max() <= 1
    assert (draw(2.0, digit_model) - draw(0.0)).abs().max() <= 1


def by_brightness(_, images):
    """Logits of a stand-in for the classifier: p(label) is the share of 255 of the mean."""
    p = (images.float().mean((1, 2, 3)) / 255)[:, None]
    return torch.cat([p, 1 - p], 1).log()[:, [0] * 10 + [1]]


def brightness(images):
    return by_brightness(None, images).softmax(1)[:, 0].tolist()


@pytest.fixture
def rejection(digit_model, monkeypatch):
    """(labels, noises) -> what `sample_until_read` gives of the tiny model."""
    monkeypatch.setattr(cfdg.dann_net, "logits", by_brightness)
    how = Sampling(steps=2)

    def draw(labels, noises, confidence):
        return cfdg.sample_until_read(digit_model, DIFFUSION, labels, noises, how, confidence)

    draw.plain = lambda labels, noises, **seed: sample_digits(
        digit_model, DIFFUSION, labels, noises, replace(how, **seed)
    )
    return draw


def test_no_confidence_asked_for_is_no_rejection(rejection):
    labels, noises = torch.arange(10), list(range(10))
    images, drawn = rejection(labels, noises, 0.0)
    assert torch.equal(images, rejection.plain(labels, noises)) and drawn.tolist() == [1] * 10


def test_what_is_not_read_is_drawn_again_and_nothing_else(rejection):
    labels, noises = torch.arange(10), list(range(10))
    plain = rejection.plain(labels, noises)
    sure = torch.tensor(brightness(plain)).median().item()
    images, drawn = rejection(labels, noises, sure)
    once = drawn == 1
    assert 5 <= once.sum() < 10 and min(brightness(images)) >= sure
    assert torch.equal(images[once], plain[once])
    some = (~once).nonzero()[:, 0].tolist()  # each from its own numbers, whoever else is drawn
    few, _ = rejection(labels[some], some, sure)
    assert torch.equal(few, images[some])


def test_of_all_tries_the_most_probable_stays(rejection, monkeypatch):
    monkeypatch.setattr(cfdg, "TRIES", 3)
    labels, noises = torch.arange(4), list(range(4))
    images, drawn = rejection(labels, noises, 1.0)
    assert drawn.tolist() == [3] * 4
    tries = [brightness(rejection.plain(labels, noises, seed=7919 * k)) for k in range(3)]
    assert brightness(images) == pytest.approx([max(p) for p in zip(*tries, strict=True)])


STUDENT = {**DIFFUSION, "student": {"steps": 3, "w_max": 2.0}}


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return shaken(DigitUNet(DigitConfig(widths=(8, 16), c_condition=16, guidance_input=True)))


def test_a_student_takes_one_evaluation_a_step_and_reads_w(student, monkeypatch):
    """DDIM with nothing clipped, of the network alone."""
    monkeypatch.setattr(cfdg, "mixed_precision", lambda _: nullcontext())
    labels, seen = torch.tensor([4, 7]), []
    student.register_forward_hook(lambda *_: seen.append(1))
    drawn = {
        w: sample_digits(student, STUDENT, labels, [0, 1], Sampling(w, 3)) for w in (0.0, 1.25)
    }
    assert len(seen) == 6 and not torch.equal(drawn[0.0], drawn[1.25])
    x = individual_noise((3, 28, 28), sample_generators(0, [0, 1]))
    denoiser = Denoiser(
        lambda x, t: student(x, t, labels, torch.full((2,), 1.25)),
        cosine_schedule(1000),
        clip=False,
    )
    expected = digits.to_uint8(sample_ddim(denoiser, x, 3))
    assert (expected.int() - drawn[1.25].int()).abs().max() <= 1


@pytest.mark.parametrize(
    "other",
    [{"steps": 4}, {"w": 2.5}, {"w": -0.5}, {"solver": "dpmpp"}, {"eta": 0.5},
     {"interval": (100, 900)}],
)  # fmt: skip
def test_what_a_student_was_not_made_for_is_one_line(student, other):
    how = Sampling(**{"steps": 3, "w": 1.0, **other})
    with pytest.raises(UserError, match="steps=3 of DDIM with w from 0 to 2 and") as caught:
        sample_digits(student, STUDENT, torch.tensor([1]), [0], how)
    one_line(caught)


@pytest.mark.parametrize(("solver", "evaluations"), [("ddim", 4), ("dpmpp", 4), ("ddpm", 12)])
def test_a_solver_takes_the_steps_it_says(digit_model, solver, evaluations):
    config, seen = {**DIFFUSION, "n_train_steps": 12}, []
    sample_digits(
        digit_model, config, torch.tensor([1]), [0], Sampling(steps=4, solver=solver),
        on_step=lambda t, *_: seen.append(t),
    )  # fmt: skip
    assert len(seen) == evaluations and seen[0] == 11 and seen == sorted(seen, reverse=True)


def test_an_unknown_solver_is_one_line():
    with pytest.raises(UserError, match="solver=euler is not allowed; dpmpp or ddim or ddpm"):
        Sampling(solver="euler")


def test_noise_on_the_way_is_ddims(digit_model):
    """Asked for alone it gets DDIM; a solver that would ignore it is an error."""
    one = (digit_model, DIFFUSION, torch.tensor([1]), [0])
    noisy = sample_digits(*one, Sampling(steps=3, eta=1.0))
    assert torch.equal(noisy, sample_digits(*one, Sampling(steps=3, eta=1.0, solver="ddim")))
    with pytest.raises(UserError, match=r"eta=1.0 is DDIM's; with solver 'dpmpp' leave it at 0"):
        Sampling(steps=3, eta=1.0, solver="dpmpp")


def parameters(notebook):
    """What the parameters cell of a notebook sets."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    scope: dict = {}
    exec("".join(next(c for c in cells if c["cell_type"] == "code")["source"]), scope)
    return scope


def test_the_notebooks_parameters_are_the_defaults():
    """papermill wants numbers there: the same as `Sampling` declares."""
    of_digits, of_faces = parameters("cfdg"), parameters("ddim")
    assert Sampling(of_digits["w"], of_digits["steps"], seed=of_digits["seed"]) == DEFAULT
    assert ddim.Sampling(of_faces["steps"], seed=of_faces["seed"]) == ddim.DEFAULT


def test_equal_numbers_share_their_noise(digit_model):
    """Down a column of the grid: one noise, ten labels."""
    seen = []

    def first(t, x, _):
        if t == 999:
            seen.append(x.clone())

    sample_digits(
        digit_model, DIFFUSION, torch.arange(3), [7, 7, 8], Sampling(steps=2), on_step=first
    )
    assert torch.equal(seen[0][0], seen[0][1]) and not torch.equal(seen[0][0], seen[0][2])


def test_label_and_guidance_change_the_digit(digit_model):
    def draw(label, w):
        return sample_digits(digit_model, DIFFUSION, torch.tensor([label]), [0], Sampling(w, 4))

    images = [draw(1, 0.0), draw(2, 0.0), draw(1, 4.0)]
    assert not any(torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


@pytest.mark.parametrize(("n", "m"), [(0, 0), (2, 1), (1, 2)])
def test_each_label_needs_a_noise_number(digit_model, n, m):
    with pytest.raises(ValueError, match="one for each label"):
        sample_digits(digit_model, DIFFUSION, torch.zeros(n, dtype=torch.long), range(m))
