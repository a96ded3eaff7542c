"""The live page in headless Chromium, opened as a file: held against torch, used, and misused."""

from __future__ import annotations

import base64
import io
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
from hw2lib.diffusion import guided, linear_schedule, make_schedule
from hw2lib.experiments.cfdg import load_digit_unet
from hw2lib.io.paths import ROOT, WEIGHTS
from hw2lib.models import dann_net
from hw2lib.models.digit_unet import NULL_LABEL
from hw2lib.samplers import (
    Denoiser,
    individual_noise,
    sample_ddim,
    sample_dpmpp,
    sample_generators,
)
from hw2lib.studies.ddim import left_of_the_start

sys.path.insert(0, str(EXTENSIONS))

import hw2live

browser = pytest.importorskip("helpers.browser", reason="websocket-client is not installed")

pytestmark = pytest.mark.skipif(
    browser.program() is None, reason="no Chromium here; the live page's test needs one"
)

SOURCES = ROOT / "book" / "live"
PAGE = """<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="live/page.css">
<script src="live/page.js"></script>{digits}{reading}<div style="height: 3000px"></div>
{maps}{forgetting}"""
UNTIL = """async (selector, pattern) => {
  const line = document.querySelector(selector + ' [role=status]');
  while (!RegExp(pattern).test(line.textContent)) await new Promise(r => setTimeout(r, 10));
  return line.textContent;
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with a page of the forms alone, and all that it loads."""
    folder = tmp_path_factory.mktemp("site")
    hw2live.write(SOURCES, WEIGHTS, folder / "live")
    forms = {file.stem: file.read_text() for file in SOURCES.glob("*.html")}
    (folder / "live.html").write_text(PAGE.format(**forms))
    return folder


@pytest.fixture(scope="module")
def address(site):
    return (site / "live.html").as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    window = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield window
    window.close()


@pytest.fixture
def page(chromium, address):
    chromium.view(390)
    chromium.open(address)
    return chromium


def status(page, part: str, pattern: str) -> str:
    """The line of a part of the page, as soon as it matches."""
    return page.evaluate(f"({UNTIL})('#live-{part}', {json.dumps(pattern)})")


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
    path = {"times": [], "states": [], "guesses": []}

    def keep(t: int | None, x: torch.Tensor, x_0: torch.Tensor) -> None:
        for values, value in zip(path.values(), (t, x.flatten(), x_0.flatten()), strict=True):
            values.append(value)

    predict = guided(model, torch.tensor([label]), w, NULL_LABEL)
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    denoiser = Denoiser(predict, schedule, header["prediction"], on_step=keep)
    x = individual_noise((3, 28, 28), sample_generators(0, [noise - 1]))
    x = {"ddim": sample_ddim, "dpmpp": sample_dpmpp}[solver](denoiser, x, steps)
    keep(None, x, x)
    return {**path, "picture": to_uint8(x).flatten()}


def largest(a: list, b: torch.Tensor) -> float:
    return (torch.tensor(a) - b).abs().max().item()


@pytest.mark.parametrize(
    "how", [(3, 1, 1.25, 10, "dpmpp"), (7, 10, 0.0, 3, "dpmpp"), (8, 4, 3.0, 16, "ddim")]
)
def test_every_step_is_torchs(page, how):
    here, there = drawn(page, *how), drawn_by_torch(*how)
    assert here["times"] == there["times"]
    assert torch.equal(torch.tensor(here["states"][0]), there["states"][0])  # the grid's noise
    for kind in ("states", "guesses"):
        for a, b in zip(here[kind], there[kind], strict=True):
            assert largest(a, b) < 1e-4
    assert largest(here["picture"], there["picture"].int()) <= 1


@pytest.mark.parametrize("target", hw2live.TARGETS)
def test_probabilities_are_torchs(page, target):
    images = torch.randint(0, 256, (2, 3, 28, 28), dtype=torch.uint8)
    networks = hw2live.readers(WEIGHTS)[target]
    assert networks
    for image in images:
        found = page.evaluate(
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
def test_a_picture_is_handled_as_hw2_classify_does(page, size, opaque):
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[..., 3] |= 255 * opaque
    found = page.evaluate(
        f"hw2live.asDigit(Uint8Array.from({pixels.flatten().tolist()}), {width}, {height})"
        ".then(digit => [...digit])"
    )
    expected = torch.from_numpy(as_digit(Image.fromarray(pixels))).flatten().int()
    assert largest(found, expected) <= 1


@pytest.mark.parametrize(("steps", "eta"), [(10, 1.0), (50, 0.5), (1000, 0.25)])
def test_what_eta_leaves_is_the_studys(page, steps, eta):
    found = page.evaluate(
        f"hw2live.leftOfTheStart(hw2live.linearSchedule(), {steps}, {eta}).map(([, left]) => left)"
    )
    expected = left_of_the_start(linear_schedule(), steps, eta)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_curves_follow_eta(page):
    def plot() -> list:
        return page.evaluate("[...document.querySelectorAll('.live-curve')].map(path =>"
                             " path.getAttribute('d'))")  # fmt: skip

    before = plot()
    page.evaluate("slider = document.querySelector('[name=eta]'); slider.value = 0;"
                  "slider.dispatchEvent(new Event('input'))")  # fmt: skip
    assert len({*before, *plot()}) == len(before) + len(plot())
    assert page.evaluate("document.querySelector('.live-left').textContent").count("100.0 %") == 4


def test_maps_are_loaded_when_scrolled_to_and_keep_their_points(page):
    assert not any(address.endswith("data/maps.js") for address in page.requests())
    page.evaluate(
        "maps = document.querySelector('#live-maps'); maps.scrollIntoView({behavior: 'instant'});"
        "(async () => { while (!maps.querySelector('[type=radio]'))"
        " await new Promise(r => setTimeout(r, 10)); })()"
    )
    shown = json.loads((SOURCES / "maps.json").read_text())["svhn"]
    marks = "[...maps.querySelectorAll('svg text')].map(point => point.textContent)"
    assert page.evaluate(marks) == [str(digit) for digit in shown["digits"]]
    page.evaluate("maps.querySelectorAll('[name=live-by]')[1].click()")
    assert page.evaluate(marks) == ["●▲"[side] for side in shown["sides"]]
    for n, one in enumerate(shown["maps"]):
        page.evaluate(f"maps.querySelectorAll('[name=live-network]')[{n}].click()")
        assert one["title"] in page.evaluate("maps.querySelector('svg').ariaLabel")
        places = page.evaluate("[...maps.querySelectorAll('svg text')].map(point =>"
                               " [Number(point.getAttribute('x')),"
                               " Number(point.getAttribute('y'))])")  # fmt: skip
        assert places == one["places"]
    assert page.complaints() == []


@pytest.mark.skipif(
    not (shutil.which("clang") and shutil.which("wasm-ld")), reason="no clang and lld here"
)
def test_the_kernels_built_anew_draw_the_same(chromium, site, tmp_path):
    sources = shutil.copytree(SOURCES, tmp_path / "sources")
    (sources / "kernels.wasm").unlink()
    command = re.search(r"^ *(clang .*kernels\.c)$", (SOURCES / "kernels.c").read_text(), re.M)[1]
    subprocess.run(command.split(), cwd=sources, check=True)
    again = shutil.copytree(site, tmp_path / "site")
    hw2live.give(again / "live" / "data", "engine", hw2live.engine(sources))
    how = (5, 2, 1.25, 2, "dpmpp")
    pictures = []
    for folder in (site, again):
        chromium.open((folder / "live.html").as_uri())
        pictures.append(drawn(chromium, *how)["states"][-1])
    assert largest(pictures[0], torch.tensor(pictures[1])) < 1e-6


def test_nothing_is_loaded_before_a_click_and_nothing_from_elsewhere(page, address):
    asked = [address.rpartition("/")[2] for address in page.requests()]
    assert sorted(asked) == sorted(["live.html", *hw2live.PAGE])
    page.evaluate("document.querySelector('#live-digits form').requestSubmit()")
    assert "column 1" in status(page, "digits", "Drawn in")
    folder = address.rpartition("/")[0]
    assert all(a.startswith((folder, "blob:", "data:")) for a in page.requests())
    assert page.complaints() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_two_settings_are_drawn_side_by_side_and_scrubbed(page):
    page.evaluate(
        "form = document.querySelector('#live-digits form'); form.compare.click();"
        "form.querySelectorAll('[name=steps]').forEach((input, i) => input.value = 2 + 2 * i);"
        "form.label.value = 'all ten'; form.noise.value = 11; form.requestSubmit()"
    )
    assert "own generator" in status(page, "digits", "Drawn in")
    seen = "[...document.querySelectorAll('#live-digits canvas')].map(c => c.toDataURL())"
    end = page.evaluate(seen)
    assert end[0] == end[1] and end[2] == end[3] and end[0] != end[2]
    page.evaluate(
        "slider = document.querySelector('#live-digits [name=step]');"
        "slider.value = 0; slider.dispatchEvent(new Event('input'))"
    )
    start = page.evaluate(seen)
    assert start[0] == start[2] and len({*start, *end}) == 5  # one noise, two first estimates
    labels = page.evaluate(
        "[...document.querySelectorAll('#live-digits canvas')].map(c => c.ariaLabel)"
    )
    assert [label[-11:] for label in labels] == ["step 0 of 2"] * 2 + ["step 0 of 4"] * 2


def test_the_saved_picture_is_the_drawn_one(page):
    page.evaluate(
        "saved = []; HTMLAnchorElement.prototype.click = function () {"
        " saved.push(this.download, this.href); };"
        "form = document.querySelector('#live-digits form');"
        "form.querySelector('[name=steps]').value = 1;"
        "form.label.value = 4; form.requestSubmit()"
    )
    status(page, "digits", "Drawn in")
    page.evaluate("form.save.click()")
    name, content = page.evaluate("saved")
    assert name == "digit-4-noise-1.png"
    with Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2]))) as picture:
        pixels = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert pixels.shape == (3, 28, 28)
    assert pixels.flatten().tolist() == drawn(page, 4, 1, 1.25, 1, "dpmpp")["picture"]


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [("noise", "0", "Noise: a whole number from 1 to 999999 would be right."),
     ("noise", "", "Noise: a whole number from 1 to 999999 would be right."),
     ("steps", "2.5", "Steps: a whole number from 1 to 100 would be right."),
     ("w", "-1", "Guidance w: a number from 0 to 10 would be right.")],
)  # fmt: skip
def test_a_wrong_number_is_one_line(page, field, value, line):
    page.evaluate(
        "form = document.querySelector('#live-digits form');"
        f"form.querySelector('[name={field}]').value = {value!r}; form.requestSubmit()"
    )
    assert status(page, "digits", ".") == line


def test_what_a_browser_lacks_and_what_is_not_there_is_one_line(page):
    page.evaluate("WebAssembly.validate = () => false;"
                  "document.querySelector('#live-digits form').requestSubmit()")  # fmt: skip
    assert "no WebAssembly with SIMD" in status(page, "digits", "browser")
    line = page.evaluate("hw2live.load('nothing').catch(error => error.message)")
    assert line.startswith("live/data/nothing.js cannot be loaded")


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_steps_are_shown_on_the_way_unless_the_reader_wants_no_motion(page, motion):
    feature = {"name": "prefers-reduced-motion", "value": motion}
    page.send("Emulation.setEmulatedMedia", features=[feature])
    page.evaluate(
        "seen = new Set(); new MutationObserver(() => document.querySelectorAll('figcaption')"
        ".forEach(caption => seen.add(caption.textContent)))"
        ".observe(document.querySelector('.live-sets'), {subtree: true, childList: true});"
        "document.querySelector('#live-digits form').requestSubmit()"
    )
    status(page, "digits", "Drawn in")
    states = page.evaluate("[...seen].filter(text => text.startsWith('xₜ')).length")
    assert states == 0 if motion == "reduce" else states > 1


@pytest.fixture
def reading(page):
    page.evaluate(
        "live = document.querySelector('#live-reading'); pad = live.querySelector('.live-pad');"
        "live.querySelector('[name=start]').click()"
    )
    page.evaluate(
        "(async () => { while (live.querySelector('.live-all').hidden)"
        " await new Promise(r => setTimeout(r, 10)); })()"
    )
    return page


def test_a_digit_is_drawn_with_the_keyboard_alone(reading):
    reading.evaluate("pad.focus()")
    keys = [" ", *["ArrowDown"] * 8, " "]
    for key in keys:
        reading.evaluate(f"pad.dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}}}))")
    assert "best adaptation reads" in status(reading, "reading", "reads")
    shares = reading.evaluate("[...live.querySelectorAll('.live-bars output')].map(o => o.value)")
    assert len(shares) % 10 == 0
    assert abs(sum(float(share[:-2]) for share in shares) - 10 * len(shares)) < len(shares) / 10
    reading.evaluate("live.querySelector('[name=clear]').click()")
    assert status(reading, "reading", "nothing").startswith("There is nothing to read yet")
    assert reading.evaluate("live.querySelector('.live-bars').childElementCount") == 0


def test_examples_are_read_and_changes_show(reading):
    reading.evaluate("live.querySelectorAll('.live-examples button')[3].click()")
    status(reading, "reading", "reads")
    seen = "live.querySelector('.live-seen').toDataURL()"
    pictures = {reading.evaluate(seen)}
    for change in ("neighbours", "photograph", "blurred", "inverted"):
        reading.evaluate(f"live.querySelector('[name={change}]').click()")
        pictures.add(reading.evaluate(seen))
    assert len(pictures) == 5
    assert reading.complaints() == []


@pytest.mark.parametrize(
    ("content", "line"),
    [("[]", "A.png is empty; a PNG or JPEG file would be right."),
     ("['text']", "A.png is no picture that this browser can read; a PNG or JPEG file would be"
      " right."),
     ("[new Uint8Array(5e7 + 1)]", "A.png has more than 50 MB; a smaller one would be right."),
     ("[await large(6000, 5000)]", "A.png has 6000x5000 pixels; at most 25 million would be"
      " right.")],
)  # fmt: skip
def test_a_wrong_file_is_one_line(reading, content, line):
    reading.evaluate(
        "large = async (width, height) => { const canvas = new OffscreenCanvas(width, height);"
        " canvas.getContext('2d'); return canvas.convertToBlob(); }"
    )
    reading.evaluate(
        f"(async () => {{ const dropped = new DataTransfer(); dropped.items.add(new File({content},"
        " 'a.png')); pad.dispatchEvent(new DragEvent('drop', {dataTransfer: dropped, bubbles: true"
        "})); })()"
    )
    assert status(reading, "reading", "right") == line
