"""The built book in headless Chromium: nothing from the network, formulas drawn, both schemes.

Skipped where Chromium is missing; `.ci/run` installs it.
"""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.bookcopy import ROOT, toc_files
from helpers.livepage import UNTIL

from hw2lib.errors import UserError

sys.path.insert(0, str(ROOT / "book"))

from pdf import print_page

browser = pytest.importorskip("helpers.browser", reason="websocket-client is not installed")

pytestmark = pytest.mark.skipif(
    browser.program() is None, reason="no Chromium here; the page test needs one"
)

PAGES = [*toc_files(), "search"]
# Width, dark or not, and what axe looks for there, in this order: everything once. On a phone boxes
# scroll, and the page has another header, at which the live page's test looks; in the dark colours
# differ.
VIEWS = {
    "narrow": (390, False, "runOnly: ['scrollable-region-focusable']"),
    "wide": (1400, False, "rules: {}"),
    "dark": (1400, True, "runOnly: ['color-contrast']"),
}
AXE = Path(find_spec("axe_core_python").origin).with_name("axe.min.js")
VIOLATIONS = """.then(found => found.violations.map(
  v => `${v.id}: ${v.nodes.map(node => node.target.join(' ')).join(', ')}`))"""


def found_by_axe(rules: str) -> str:
    """A script; that it makes no list of what passes saves a fifth of the time."""
    return f"axe.run({{resultTypes: ['violations'], {rules}}}){VIOLATIONS}"


# the page follows the system's scheme a moment later, and colours take theirs
THEME = """async (theme) => {
  while (document.documentElement.dataset.theme !== theme) await new Promise(r => setTimeout(r, 5));
  const running = document.getAnimations().filter(a => a instanceof CSSTransition);
  await Promise.allSettled(running.map(a => a.finished));
}"""
# wide things scroll in a box of their own
STICKING_OUT = """[...document.querySelectorAll(
  '.bd-article img, .bd-article table, .bd-article pre, .bd-article div.math')].filter(e => {
    let box = e;
    while (box && !/auto|scroll/.test(getComputedStyle(box).overflowX)) box = box.parentElement;
    return !box && e.getBoundingClientRect().right > innerWidth + 1;
  }).map(e => e.outerHTML)"""
# sRGB luminance of an element's colour or of the first opaque ground behind it
LUMINANCE = """(selector, property) => {
  let element = document.querySelector(selector), colour;
  do {
    colour = getComputedStyle(element)[property].match(/[\\d.]+/g).map(Number);
    element = element.parentElement;
  } while (element && colour[3] === 0);
  const [r, g, b] = colour.map(c => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}"""


@pytest.fixture(scope="session")
def site(html):
    server = browser.Server(html)
    yield server
    server.close()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    window = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield window
    window.close()


@pytest.fixture(scope="module", params=PAGES)
def loaded(request, site, chromium):
    """A page, loaded once for all views, as a phone loads it."""
    chromium.view(390)
    chromium.open(f"{site.url}{request.param}.html")
    chromium.evaluate(AXE.read_text())
    return chromium


def test_page_asks_for_its_own_files_alone(site, loaded):
    asked = loaded.requests()
    assert any(address.endswith("custom.css") for address in map(_bare, asked))
    assert [a for a in asked if not a.startswith((site.url, "data:", "blob:"))] == []


@pytest.mark.parametrize(("width", "dark", "rules"), VIEWS.values(), ids=VIEWS)
def test_page_is_whole_within_the_window_and_open_to_all(loaded, width, dark, rules):
    """No error, nothing cut, nothing that axe finds to hinder readers."""
    loaded.view(width, dark=dark)
    loaded.evaluate(f"({THEME})('{'dark' if dark else 'light'}')")
    assert loaded.complaints() == []
    assert loaded.evaluate("document.documentElement.scrollWidth") <= width
    assert loaded.evaluate(STICKING_OUT) == []
    assert loaded.evaluate(found_by_axe(rules)) == []


def test_formulas_are_drawn_and_can_be_scrolled_into_view_on_a_phone(loaded):
    """Whatever the page holds; no mark of TeX is left in its text."""
    loaded.view(390)
    boxes = loaded.evaluate(
        "[...document.querySelectorAll('.bd-article math')].map(m => {"
        " const r = m.getBoundingClientRect(); return [r.width, r.height]; })"
    )
    assert all(width > 3 and height > 3 for width, height in boxes)
    assert not boxes or loaded.evaluate(
        "[...document.fonts].some(f => /STIX/.test(f.family) && f.status === 'loaded')"
    )
    cut = loaded.evaluate(
        "[...document.querySelectorAll('div.math')].filter(d =>"
        " d.querySelector('math').getBoundingClientRect().left"
        " < d.getBoundingClientRect().left - 1).length"
    )
    assert cut == 0
    text = loaded.evaluate(  # code may hold such letters
        "[...document.querySelectorAll('.bd-article :is(p, li, td, th)')]"
        ".filter(e => !e.querySelector('code, pre')).map(e => e.innerText).join(' ')"
    )
    assert "$" not in text
    assert "\\" not in text


def test_the_chapters_have_formulas(html):
    for page in ("cfdg", "ddim", "dann", "dann-own", "dann-theory", "provenance", "executed/cfdg"):
        assert "<math" in (html / f"{page}.html").read_text(encoding="utf-8")


# What a reader does on the live page, and the words of the status line that end it
USE = {
    "digits": ("live.querySelector('[name=compare]').click(); draw()", "Drawn in"),
    "faces": ("draw()", "faces in"),
    "reading": ("""live.querySelector('[name=start]').click();
      while (live.querySelector('.live-all').hidden) await new Promise(r => setTimeout(r, 10));
      const canvas = new OffscreenCanvas(60, 40), dropped = new DataTransfer();
      canvas.getContext('2d').fillRect(20, 5, 9, 30);
      dropped.items.add(new File([await canvas.convertToBlob()], 'one.png', {type: 'image/png'}));
      live.querySelector('.live-pad').dispatchEvent(
        new DragEvent('drop', {dataTransfer: dropped, bubbles: true}))""", "reads"),
}  # fmt: skip
DRAW = """const draw = () => {
  for (const steps of live.querySelectorAll('[name=steps]')) steps.value = 2;
  live.querySelector('form').requestSubmit();
}"""


@pytest.fixture(scope="module")
def used(site, chromium):
    """The live page after a digit, a face, a reading."""
    chromium.view(390)
    chromium.open(f"{site.url}live.html")
    chromium.evaluate(AXE.read_text())
    for part, (use, words) in USE.items():
        live = f"const live = document.querySelector('#live-{part}'); {DRAW}"
        chromium.evaluate(f"(async () => {{ {live}; {use} }})()")
        chromium.evaluate(f"({UNTIL})('#live-{part}', '{words}')")
    return chromium


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_the_live_page_in_use_is_within_the_window_and_open_to_all(used, width, dark):
    """Nothing that axe finds, nothing cut off."""
    used.view(width, dark=dark)
    used.evaluate(f"({THEME})('{'dark' if dark else 'light'}')")
    assert used.complaints() == []
    assert used.evaluate("document.documentElement.scrollWidth") <= width
    assert used.evaluate(found_by_axe("rules: {}")) == []


def _bare(address: str) -> str:
    return address.split("?")[0]


@pytest.mark.parametrize("page", ["cfdg", "executed/cfdg"])
def test_text_has_contrast_and_images_keep_their_colours(site, chromium, page):
    chromium.view(1280)
    chromium.open(f"{site.url}{page}.html")
    for dark in (False, True):
        chromium.view(1280, dark=dark)
        chromium.evaluate(f"({THEME})('{'dark' if dark else 'light'}')")
        ground = chromium.evaluate(f"({LUMINANCE})('.bd-article', 'backgroundColor')")
        letters = chromium.evaluate(f"({LUMINANCE})('.bd-article p', 'color')")
        assert (ground < 0.1) if dark else (ground > 0.9)
        bright, dim = max(ground, letters), min(ground, letters)
        assert (bright + 0.05) / (dim + 0.05) > 7
        filters = chromium.evaluate(
            "[...document.querySelectorAll('.bd-article img')].map(i => getComputedStyle(i).filter)"
        )
        assert filters
        assert set(filters) == {"none"}


# What the report was asked for, in its order: the place on the page of answers, the last thing
# that stands there, and on how many screens of 1400x900 it lies whole.
ARRIVED = """(place => new Promise(done => {
  addEventListener('scrollend', () => done(1), {once: true});
  location.hash = place;
}))"""
ASKED = [
    ("answer-network", "#fig-answer-network", 2),
    ("answer-grid", "#fig-answer-grid", 1),
    ("answer-strip", "#fig-answer-strip", 1),
    ("answer-guidance", "#tab-answer-guidance", 1),
    ("answer-eta", "#fig-answer-eta", 1),
    ("answer-walk", "#fig-answer-walk", 1),
    ("answer-table", "#tab-answer-report", 1),
    ("answer-features", "#fig-answer-usps-domain", 2),
    ("answer-discussion", "#implementation-and-discussion > p", 1),
]


@pytest.fixture
def still(chromium):
    """Arrives at a place without a ride."""
    chromium.view(1400, 900)
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}
    chromium.send("Emulation.setEmulatedMedia", features=[motion])
    return chromium


def test_each_asked_item_is_linked_on_the_first_screen(site, still):
    still.open(f"{site.url}index.html")
    for place, *_ in ASKED:
        link = f"document.querySelector(\".bd-article a[href='answers.html#{place}']\")"
        assert 0 < still.evaluate(f"{link}.getBoundingClientRect().bottom") < 900


def test_each_asked_item_lies_whole_on_the_screens_that_the_link_leads_to(site, still):
    still.open(f"{site.url}answers.html")
    for place, last, screens in ASKED:
        still.evaluate(f"{ARRIVED}('{place}')")
        heading = still.evaluate(f"document.getElementById('{place}').getBoundingClientRect().top")
        end = still.evaluate(f"[...document.querySelectorAll('{last}')].at(-1)"
                             ".getBoundingClientRect().bottom")  # fmt: skip
        assert 0 <= heading < end < 900 * screens, place


@pytest.mark.parametrize("name", ["answers", "answers-zh"])
def test_the_answers_print_as_a4(site, name, tmp_path):
    pdf = tmp_path / "out" / "answers.pdf"
    print_page(site.folder / f"{name}.html", pdf)
    content = pdf.read_bytes()
    pages = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert content.startswith(b"%PDF") and 5 <= len(pages) <= 12
    assert {tuple(round(float(side)) for side in page) for page in pages} == {(595, 842)}
    assert b"file:" not in content  # no link names a folder of the machine that printed it
    assert [file.name for file in site.folder.glob("tmp*")] == []


def test_a_page_that_was_not_built_is_not_printed(tmp_path):
    with pytest.raises(UserError, match="missing.html does not exist; run `jupyter-book build"):
        print_page(tmp_path / "missing.html", tmp_path / "out.pdf")
