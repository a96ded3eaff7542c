"""What tests of the book share: a one-page book, the whole one, the live page in each browser."""

import json
import os
from pathlib import Path

import pytest
from helpers.bookcopy import built_copy
from helpers.bookproject import Project
from helpers.livepage import MODULES, UNTIL, make


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The one-page book that the tests of the extensions build."""
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "local"))
    return Project(tmp_path)


@pytest.fixture(scope="session")
def live_site(tmp_path_factory):
    """A folder with a page of the forms alone, and all that it loads."""
    return make(tmp_path_factory.mktemp("site")).parent


@pytest.fixture(scope="session")
def browsers(tmp_path_factory):
    """A function that starts a browser by its name, once; one that is missing skips the test in a
    line. still: for a reader who wants no motion."""
    started = {}

    def browser(name, still=False):
        module = pytest.importorskip(MODULES[name], reason="websocket-client is not installed")
        if module.program() is None:
            pytest.skip(f"no {name} here; the live page's test needs one")
        if (name, still) not in started:
            started[name, still] = module.Browser(tmp_path_factory.mktemp(name), still)
        return started[name, still]

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


@pytest.fixture(params=MODULES)
def still(request, browsers, live_site):
    """The same, for a reader who wants no motion."""
    return opened(browsers(request.param, still=True), live_site)


@pytest.fixture(scope="module", params=MODULES)
def kept(request, browsers, live_site):
    """The same, opened once, for what does not depend on what was done before."""
    return opened(browsers(request.param), live_site)


@pytest.fixture
def status(page):
    """The line of a part of the page, as soon as it matches."""
    return lambda part, pattern: page.evaluate(f"({UNTIL})('#live-{part}', {json.dumps(pattern)})")


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> Path:
    """The pages of a copy of the book; all workers of a session share one."""
    base = tmp_path_factory.getbasetemp()
    return built_copy(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)
