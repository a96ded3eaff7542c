"""A page of the live forms alone, for the browsers that are here, and all that it loads."""

import shutil
import sys
from pathlib import Path

from helpers.bookcopy import EXTENSIONS

from hw2lib.io.paths import ROOT, WEIGHTS

sys.path.insert(0, str(EXTENSIONS))

import hw2live

SOURCES = ROOT / "book" / "live"
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


def make(folder: Path) -> Path:
    """Write the page into `folder`, with what the built book puts beside it; the page's path."""
    hw2live.write(SOURCES, WEIGHTS, folder / "live")
    (folder / "_static").mkdir()
    shutil.copy(ROOT / "book" / "_static" / "faces-walk.jpg", folder / "_static")
    forms = {file.stem: file.read_text() for file in SOURCES.glob("*.html")}
    page = folder / "live.html"
    page.write_text(PAGE.format(**forms))
    return page
