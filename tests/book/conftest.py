"""What tests of the book share: a one-page book; the live page in each browser that is here."""

import json
import shutil
import sys

import pytest
from helpers.bookcopy import EXTENSIONS
from helpers.bookproject import Project

from hw2lib.io.paths import ROOT, WEIGHTS

sys.path.insert(0, str(EXTENSIONS))

MODULES = {"Chromium": "helpers.browser", "Firefox": "helpers.firefox"}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>live</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="live/page.css"><main><h1>live</h1>
<script src="live/page.js"></script>{digits}{faces}{reading}<div style="height: 3000px"></div>
{maps}{forgetting}{walk}</main>"""
UNTIL = """async (selector, pattern) => {
  const line = document.querySelector(selector + ' [role=status]');
  while (!RegExp(pattern).test(line.textContent)) await new Promise(r => setTimeout(r, 10));
  return line.textContent;
}"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The one-page book that the tests of the extensions build."""
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "local"))
    return Project(tmp_path)


@pytest.fixture(scope="session")
def live_site(tmp_path_factory):
    """A folder with a page of the forms alone, and all that it loads."""
    import hw2live

    folder, sources = tmp_path_factory.mktemp("site"), ROOT / "book" / "live"
    hw2live.write(sources, WEIGHTS, folder / "live")
    (folder / "_static").mkdir()
    shutil.copy(ROOT / "book" / "_static" / "faces-walk.jpg", folder / "_static")
    forms = {file.stem: file.read_text() for file in sources.glob("*.html")}
    (folder / "live.html").write_text(PAGE.format(**forms))
    return folder


@pytest.fixture(scope="session")
def browsers(tmp_path_factory):
    """name -> a function that starts it, once; one that is missing skips the test in a line."""
    started = {}

    def browser(name):
        module = pytest.importorskip(MODULES[name], reason="websocket-client is not installed")
        if module.program() is None:
            pytest.skip(f"no {name} here; the live page's test needs one")
        if name not in started:
            started[name] = module.Browser(tmp_path_factory.mktemp(name))
        return started[name]

    yield browser
    for window in started.values():
        window.close()


def opened(window, site):
    window.view(390)
    window.open((site / "live.html").as_uri())
    return window


@pytest.fixture(params=MODULES)
def page(request, browsers, live_site):
    """The page opened as a file, 390 pixels wide."""
    return opened(browsers(request.param), live_site)


@pytest.fixture(scope="module", params=MODULES)
def kept(request, browsers, live_site):
    """The same, opened once, for what does not depend on what was done before."""
    return opened(browsers(request.param), live_site)


@pytest.fixture
def status(page):
    """The line of a part of the page, as soon as it matches."""
    return lambda part, pattern: page.evaluate(f"({UNTIL})('#live-{part}', {json.dumps(pattern)})")
