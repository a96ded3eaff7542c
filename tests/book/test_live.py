"""The live page in headless Chromium and Firefox, opened as a file, held against torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.bookcopy import EXTENSIONS
from PIL import Image

from hw2lib.commands.classify import as_digit
from hw2lib.datasets.digits import to_uint8
from hw2lib.datasets.faces import load_noise
from hw2lib.diffusion import guided, linear_schedule, make_schedule
from hw2lib.experiments.cfdg import load_digit_unet
from hw2lib.experiments.ddim import Sampling, load_face_unet, sample_faces
from hw2lib.interpolation import WAYS, path
from hw2lib.io.paths import NOISE, ROOT, WEIGHTS
from hw2lib.models import dann_net
from hw2lib.models.digit_unet import NULL_LABEL
from hw2lib.samplers import (
    Denoiser,
    ddim_step,
    individual_noise,
    sample_ddim,
    sample_dpmpp,
    sample_generators,
    time_steps,
)
from hw2lib.studies.ddim import left_of_the_start

sys.path.insert(0, str(EXTENSIONS))

import hw2live

SOURCES = ROOT / "book" / "live"
DIGITS, STUDENT = (WEIGHTS / f"{name}.safetensors" for name in ("digits", "digits-student"))


def drawn(page, label: int, noise: int, w: float, steps: int, solver: str) -> dict:
    """The page's way: times, states, guesses and the picture's bytes."""
    how = {"label": label, "noise": noise, "w": w, "steps": steps, "solver": solver}
    return page.evaluate(
        f"hw2live.draw({json.dumps(how)}).then(({{times, states, guesses}}) => ({{times,"
        " states: states.map(x => [...x]), guesses: guesses.map(x => [...x]),"
        " picture: [...hw2live.toBytes(states.at(-1))]}))"
    )


def drawn_by_torch(label: int, noise: int, w: float, steps: int, solver: str) -> dict:
    model, header = load_digit_unet()  # in float32; sample_digits may take bfloat16
    student, labels = solver == "student", torch.tensor([label])
    if student:
        model, header = load_digit_unet(STUDENT)
        differences = hw2live.differences(STUDENT, DIGITS)
        model.load_state_dict(hw2live.read(DIGITS.read_bytes(), differences))
    path = {"times": [], "states": [], "guesses": []}

    def keep(t: int | None, x: torch.Tensor, x_0: torch.Tensor) -> None:
        for values, value in zip(path.values(), (t, x.flatten(), x_0.flatten()), strict=True):
            values.append(value)

    def read(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return model(x, t, labels, torch.tensor([w]))

    predict = read if student else guided(model, labels, w, NULL_LABEL)
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    denoiser = Denoiser(predict, schedule, header["prediction"], not student, keep)
    x = individual_noise((3, 28, 28), sample_generators(0, [noise - 1]))
    x = (sample_dpmpp if solver == "dpmpp" else sample_ddim)(denoiser, x, steps)
    keep(None, x, x)
    return {**path, "picture": to_uint8(x).flatten()}


def largest(a: list, b: torch.Tensor) -> float:
    return (torch.tensor(a) - b).abs().max().item()


@pytest.mark.parametrize(
    "how",
    [(3, 1, 1.25, 10, "dpmpp"), (7, 10, 0.0, 3, "dpmpp"), (2, 6, -1.0, 2, "dpmpp"),
     (8, 4, 3.0, 8, "ddim"), (3, 1, 1.25, 4, "student"), (9, 7, 2.6, 4, "student")],
)  # fmt: skip
def test_every_step_is_torchs(kept, how):
    here, there = drawn(kept, *how), drawn_by_torch(*how)
    assert here["times"] == there["times"]
    assert torch.equal(torch.tensor(here["states"][0]), there["states"][0])  # the grid's noise
    for kind in ("states", "guesses"):
        for a, b in zip(here[kind], there[kind], strict=True):
            assert largest(a, b) < 1e-4
    assert largest(here["picture"], there["picture"].int()) <= 1


WALK = {"from": 0, "to": 1, "alpha": 0.3, "way": "slerp", "eta": 0, "steps": 4}


def drawn_face(page, **how: object) -> dict:
    how = json.dumps({**WALK, **how})
    return page.evaluate(
        f"hw2live.drawFace({how}).then(({{times, states, guesses, norm}}) => ({{times, norm,"
        " states: states.map(x => [...x]), guesses: guesses.map(x => [...x])}))"
    )


@pytest.fixture(scope="module")
def faces():
    """The face model with the page's rounded weights, in float32, and its header."""
    model, header = load_face_unet()
    model.load_state_dict(hw2live.read(hw2live.rounded(WEIGHTS / "faces.safetensors")))
    return model, header


def face_by_torch(faces, x: torch.Tensor, steps: int, eta: float, fresh: list) -> dict:
    model, header = faces
    denoiser = Denoiser(model, make_schedule(header["schedule"], 1000), header["prediction"])
    ab, times = denoiser.schedule.alpha_bar.tolist(), time_steps(1000, steps, "leading")
    states, guesses = [x], []
    with torch.no_grad():
        for t, after, z in zip(times, [*times[1:], 0], fresh, strict=True):
            x_0, eps = denoiser(x, t)
            x = ddim_step(x, x_0, eps, ab[t], ab[after], eta, torch.tensor(z).view_as(x))
            states.append(x)
            guesses.append(x_0)
    return {"times": [*times, None], "states": states, "guesses": [*guesses, x]}


@pytest.mark.parametrize("eta", [0, 0.6])
def test_every_step_of_a_face_is_torchs(kept, faces, eta):
    here = drawn_face(kept, eta=eta)
    fresh = kept.evaluate(
        "(() => { const random = hw2live.uniform(0);"
        " return [1, 2, 3, 4].map(() => [...hw2live.normal(12288, random)]); })()"
    )
    a, b = (load_noise(NOISE / f"0{k}.pt") for k in (0, 1))
    there = face_by_torch(faces, path(a, b, [WALK["alpha"]])[0], WALK["steps"], eta, fresh)
    assert here["times"] == there["times"]
    for kind in ("states", "guesses"):
        for here_x, there_x in zip(here[kind], there[kind], strict=True):
            assert largest(here_x, there_x.flatten()) < 1e-4
    pictures = [to_uint8(torch.tensor(here["states"][-1])), to_uint8(there["states"][-1]).flatten()]
    assert (pictures[0].int() - pictures[1].int()).abs().max() <= 1


def test_rounded_weights_draw_nearly_the_same_face(faces):
    noise, how = load_noise(NOISE / "00.pt"), Sampling(10)
    pictures = [to_uint8(sample_faces(model, header, noise, how)).float()
                for model, header in (faces, load_face_unet())]  # fmt: skip
    apart = (pictures[0] - pictures[1]).abs()
    assert apart.mean() < 1 and apart.max() < 10


@pytest.mark.parametrize("way", WAYS)
def test_ways_between_noises_are_the_librarys(kept, way):
    a, b = (load_noise(NOISE / f"0{k}.pt") for k in (2, 3))
    for alpha in (0, 0.45):
        start = drawn_face(kept, **{"from": 2, "to": 3, "way": way, "alpha": alpha, "steps": 1})
        there = path(a, b, [alpha], way)
        assert largest(start["states"][0], there.flatten()) < 1e-6
        assert start["norm"] == pytest.approx((there.norm() / a.norm()).item(), rel=1e-6)


def test_letters_hold_any_bytes(kept):
    for size in range(32):
        content = bytes(range(256))[-size - 1 : -1]
        text = json.dumps(hw2live.text_of(content))
        assert kept.evaluate(f"[...hw2live.bytesOf({text})]") == list(content)


@pytest.mark.parametrize("target", hw2live.TARGETS)
def test_probabilities_are_torchs(kept, target):
    images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    networks = hw2live.readers(WEIGHTS)[target]
    assert networks
    for image in images:
        found = kept.evaluate(
            f"hw2live.read({target!r}, Uint8Array.from({image.flatten().tolist()})).then(all =>"
            " all.map(({title, probabilities}) => [title, [...probabilities]]))"
        )
        assert [title for title, _ in found] == [network["title"] for network in networks]
        for (_, probabilities), entry in zip(found, networks, strict=True):
            network, _ = dann_net.load(WEIGHTS / entry["file"])
            with torch.no_grad():
                logits = network.label_head(dann_net.features(network, image[None]))
            assert largest(probabilities, logits.softmax(1)[0]) < 1e-5


@pytest.mark.parametrize("size", [(28, 28), (90, 61), (17, 40), (5, 5), (120, 2)])
@pytest.mark.parametrize("opaque", [True, False])
def test_a_picture_is_handled_as_hw2_classify_does(kept, size, opaque):
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] |= 255 * opaque
    found = kept.evaluate(
        f"hw2live.asDigit(Uint8Array.from({pixels.flatten().tolist()}), {width}, {height})"
        ".then(digit => [...digit])"
    )
    expected = torch.from_numpy(as_digit(Image.fromarray(pixels))).flatten().int()
    assert largest(found, expected) <= 1


@pytest.mark.parametrize(("steps", "eta"), [(10, 1.0), (50, 0.5), (1000, 0.25)])
def test_what_eta_leaves_is_the_studys(kept, steps, eta):
    found = kept.evaluate(
        f"hw2live.leftOfTheStart(hw2live.linearSchedule(), {steps}, {eta}).map(([, left]) => left)"
    )
    expected = left_of_the_start(linear_schedule(), steps, eta)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.skipif(
    not (shutil.which("clang") and shutil.which("wasm-ld")), reason="no clang and lld here"
)
def test_the_kernels_built_anew_draw_the_same(kept, live_site, tmp_path):
    sources = shutil.copytree(SOURCES, tmp_path / "sources")
    (sources / "kernels.wasm").unlink()
    command = re.search(r"^ *(clang .*kernels\.c)$", (SOURCES / "kernels.c").read_text(), re.M)[1]
    subprocess.run(command.split(), cwd=sources, check=True)
    again = shutil.copytree(live_site, tmp_path / "site")
    hw2live.give(again / "live" / "data", "engine", hw2live.engine(sources))
    how = (5, 2, 1.25, 2, "dpmpp")
    before = drawn(kept, *how)["states"][-1]
    kept.open((again / "live.html").as_uri())
    assert largest(before, torch.tensor(drawn(kept, *how)["states"][-1])) < 1e-6
