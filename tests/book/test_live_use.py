"""The live page in headless Chromium and Firefox: used, and misused."""

from __future__ import annotations

import base64
import io
import json
import sys

import numpy as np
import pytest
from helpers.bookcopy import EXTENSIONS
from helpers.browser import Server
from helpers.livepage import UNTIL
from PIL import Image

from hw2lib.io.paths import NOISE, ROOT, WEIGHTS
from hw2lib.io.weights import weights_header

sys.path.insert(0, str(EXTENSIONS))

import hw2live


def test_the_curves_follow_eta(page):
    def plot() -> list:
        return page.evaluate("[...document.querySelectorAll('.live-curve')].map(path =>"
                             " path.getAttribute('d'))")  # fmt: skip

    before = plot()
    page.evaluate("slider = document.querySelector('#live-forgetting input'); slider.value = 0;"
                  "slider.dispatchEvent(new Event('input'))")  # fmt: skip
    assert len({*before, *plot()}) == len(before) + len(plot())
    assert page.evaluate("document.querySelector('.live-left').textContent").count("100.0 %") == 4


def test_the_walks_norms_follow_the_slider(page):
    assert not any(address.endswith("data/walk.js") for address in page.requests())
    page.evaluate(
        "walk = document.querySelector('#live-walk'); walk.scrollIntoView({behavior: 'instant'});"
        "(async () => { while (!walk.querySelector('svg circle'))"
        " await new Promise(r => setTimeout(r, 10)); })()"
    )
    norms = hw2live.walk(NOISE)
    for at in (5, 8):
        page.evaluate(f"slider = document.querySelector('#walk-alpha'); slider.value = {at};"
                      "slider.dispatchEvent(new Event('input'))")  # fmt: skip
        label = page.evaluate("walk.querySelector('svg').getAttribute('aria-label')")
        assert f"{norms['slerp'][at]:.2f} on the arc" in label
        assert f"{norms['lerp'][at]:.2f} on the line" in label
    assert page.complaints() == []


def test_maps_are_loaded_when_scrolled_to_and_keep_their_points(page):
    assert not any(address.endswith("data/maps.js") for address in page.requests())
    page.evaluate(
        "maps = document.querySelector('#live-maps'); maps.scrollIntoView({behavior: 'instant'});"
        "(async () => { while (!maps.querySelector('[type=radio]'))"
        " await new Promise(r => setTimeout(r, 10)); })()"
    )
    shown = json.loads((ROOT / "book" / "live" / "maps.json").read_text())["svhn"]
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


def test_nothing_is_loaded_before_a_click_and_nothing_from_elsewhere(page, status, live_site):
    server = Server(live_site)  # Firefox tells of no request for a file
    page.open(f"{server.url}live.html")
    before = page.requests()
    asked = [a.rpartition("/")[2] for a in before if not a.startswith("data:")]  # the empty icon
    assert sorted(asked) == sorted(["live.html", *hw2live.PAGE])
    page.evaluate("document.querySelector('#live-digits form').requestSubmit()")
    assert "column 1" in status("digits", "Drawn in")
    assert len(page.requests()) > len(before)
    assert all(a.startswith((server.url, "blob:", "data:")) for a in page.requests())
    assert page.complaints() == []
    server.close()


def test_no_part_is_wider_than_a_phone(page, status):
    for part in ("digits", "faces"):
        page.evaluate(
            f"form = document.querySelector('#live-{part} form');"
            "[...form.querySelectorAll('[name=steps]')].forEach(input => input.value = 1);"
            "form.compare?.click(); if (form.label) form.label.value = 'all ten';"
            "form.requestSubmit()"
        )
        status(part, "seconds")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.complaints() == []


def test_two_settings_are_drawn_side_by_side_and_scrubbed(page, status):
    page.evaluate(
        "form = document.querySelector('#live-digits form'); form.compare.click();"
        "form.querySelectorAll('[name=steps]').forEach((input, i) => input.value = 2 + 2 * i);"
        "form.label.value = 'all ten'; form.noise.value = 11; form.requestSubmit()"
    )
    assert "own generator" in status("digits", "Drawn in")
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


def test_the_saved_picture_is_the_drawn_one(page, status):
    page.evaluate(
        "saved = []; HTMLAnchorElement.prototype.click = function () {"
        " saved.push(this.download, this.href); };"
        "form = document.querySelector('#live-digits form');"
        "form.querySelector('[name=steps]').value = 1;"
        "form.label.value = 4; form.requestSubmit()"
    )
    status("digits", "Drawn in")
    page.evaluate("form.save.click()")
    name, content = page.evaluate("saved")
    assert name == "digit-4-noise-1.png"
    with Image.open(io.BytesIO(base64.b64decode(content.partition(",")[2]))) as picture:
        pixels = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    assert pixels.shape == (3, 28, 28)
    how = "{label: 4, noise: 1, w: 1.25, steps: 1, solver: 'dpmpp'}"
    again = f"hw2live.draw({how}).then(({{states}}) => [...hw2live.toBytes(states.at(-1))])"
    assert pixels.flatten().tolist() == page.evaluate(again)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [("noise", "0", "Noise: a whole number from 1 to 999999 would be right."),
     ("noise", "", "Noise: a whole number from 1 to 999999 would be right."),
     ("steps", "2.5", "Steps: a whole number from 1 to 100 would be right."),
     ("w", "-2", "Guidance w: a number from -1 to 10 would be right.")],
)  # fmt: skip
def test_a_wrong_number_is_one_line(page, field, value, line, status):
    page.evaluate(
        "form = document.querySelector('#live-digits form');"
        f"form.querySelector('[name={field}]').value = {value!r}; form.requestSubmit()"
    )
    assert status("digits", ".") == line


def test_a_student_has_steps_and_a_range_of_its_own(page, status):
    """Those of its header; what was there before comes back with another solver."""
    header = weights_header(WEIGHTS / "digits-student.safetensors")["student"]
    page.evaluate(
        "form = document.querySelector('#live-digits form');"
        "[w, steps, solver] = ['w', 'steps', 'solver'].map(name =>"
        " form.querySelector(`[name=${name}]`)); choose = name => { solver.value = name;"
        " solver.dispatchEvent(new Event('change', {bubbles: true})); }; choose('student')"
    )
    shown = "[steps.disabled, steps.valueAsNumber, Number(w.min), Number(w.max)]"
    assert page.evaluate(shown) == [True, header["steps"], 0, header["w_max"]]
    page.evaluate("w.value = 3.25; form.requestSubmit()")
    assert status("digits", "right") == "Guidance w: a number from 0 to 3 would be right."
    page.evaluate("w.value = 3; form.requestSubmit()")
    status("digits", "Drawn in")
    assert page.evaluate("live = document.querySelector('#live-digits'),"
                         " live.querySelector('strong').textContent") == (
        "w = 3, 4 steps, distilled"
    )  # fmt: skip
    page.evaluate("choose('ddim')")
    assert page.evaluate(shown) == [False, 10, -1, 10]
    assert page.complaints() == []


@pytest.mark.parametrize(
    ("without", "line"),
    [("WebAssembly.validate = () => false", "This browser has no WebAssembly with SIMD; Chrome"),
     ("delete window.DecompressionStream", "This browser has no DecompressionStream; Chrome")],
)  # fmt: skip
def test_what_a_browser_lacks_is_one_line(page, status, without, line):
    page.evaluate(f"{without}; document.querySelector('#live-digits form').requestSubmit()")
    assert status("digits", "browser").startswith(line)


def test_what_is_not_there_is_one_line(page):
    line = page.evaluate("hw2live.load('nothing').catch(error => error.message)")
    assert line.startswith("live/data/nothing.js cannot be loaded")


def test_every_control_is_reached_and_a_digit_drawn_by_tab_and_enter_alone(page, status):
    controls = ("[...document.querySelectorAll('#live-digits :is(input, select, button)')].filter("
                "e => !e.disabled && e.checkVisibility())")  # fmt: skip
    page.evaluate(f"controls = {controls}; controls[0].focus()")
    there = page.evaluate("controls.length")
    names = []
    for _ in range(there):
        names.append(page.evaluate("controls.indexOf(document.activeElement)"))
        # A headless Firefox has no focus, so that its buttons hear no key.
        if page.evaluate("document.hasFocus() && document.activeElement.matches('.live-main')"):
            page.press("Enter")
            status("digits", "Drawn in")
        page.press("Tab")
    assert names == list(range(there))


def states_shown(page) -> int:
    """How many states of a digit are shown while it is drawn."""
    page.evaluate(
        "seen = new Set(); new MutationObserver(() => document.querySelectorAll('figcaption')"
        ".forEach(caption => seen.add(caption.textContent)))"
        ".observe(document.querySelector('.live-sets'), {subtree: true, childList: true});"
        "document.querySelector('#live-digits form').requestSubmit()"
    )
    page.evaluate(f"({UNTIL})('#live-digits', 'Drawn in')")
    return page.evaluate("[...seen].filter(text => text.startsWith('xₜ')).length")


def test_steps_are_shown_on_the_way(page):
    assert states_shown(page) > 1


def test_none_is_shown_to_a_reader_who_wants_no_motion(still):
    assert states_shown(still) == 0


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


def test_a_digit_is_drawn_with_the_keyboard_alone(reading, status):
    reading.evaluate("pad.focus()")
    keys = [" ", *["ArrowDown"] * 8, " "]
    for key in keys:
        reading.evaluate(f"pad.dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}}}))")
    assert "best adaptation reads" in status("reading", "reads")
    shares = reading.evaluate("[...live.querySelectorAll('.live-bars output')].map(o => o.value)")
    assert len(shares) % 10 == 0
    assert abs(sum(float(share[:-2]) for share in shares) - 10 * len(shares)) < len(shares) / 10
    reading.evaluate("live.querySelector('[name=clear]').click()")
    assert status("reading", "nothing").startswith("There is nothing to read yet")
    assert reading.evaluate("live.querySelector('.live-bars').childElementCount") == 0


def test_examples_are_read_and_changes_show(reading, status):
    reading.evaluate("live.querySelectorAll('.live-examples button')[3].click()")
    status("reading", "reads")
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
def test_a_wrong_file_is_one_line(reading, content, line, status):
    reading.evaluate(
        "large = async (width, height) => { const canvas = new OffscreenCanvas(width, height);"
        " canvas.getContext('2d'); return canvas.convertToBlob(); }"
    )
    reading.evaluate(
        f"(async () => {{ const dropped = new DataTransfer(); dropped.items.add(new File({content},"
        " 'a.png')); pad.dispatchEvent(new DragEvent('drop', {dataTransfer: dropped, bubbles: true"
        "})); })()"
    )
    assert status("reading", "right") == line
