"""The whole book, built with warnings as errors: its pages, links and files."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import hw2report
from helpers.bookcopy import ROOT, toc_files


class Links(HTMLParser):
    """`links`: targets of <a>; `loads`: what the page itself loads; `ids`: its anchors."""

    def __init__(self, page: Path):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        if tag == "a":
            self.links.append(attributes.get("href") or "")
        elif tag == "link" and attributes.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(attributes["href"])
        elif attributes.get("src"):
            self.loads.append(attributes["src"])


def test_toc_names_pages_that_exist_and_every_recorded_run():
    files = toc_files()
    for document in files:
        if not document.startswith("executed/"):
            assert (ROOT / "book" / f"{document}.md").is_file()
    runs = {Path(document).name for document in files if document.startswith("executed/")}
    assert runs == set(hw2report.NOTEBOOKS)


def test_config_at_the_top_is_found_and_output_lies_at_the_top(html):
    # jupyter-book walks up from book/ to _config.yml: its code does so, its documentation does
    # not promise it.
    top = html.parent.parent
    assert not (top / "book" / "_config.yml").exists()
    assert not (top / "book" / "_build").exists()
    assert "Diffusion, guidance" in (html / "index.html").read_text(encoding="utf-8")
    for document in toc_files():
        assert (html / f"{document}.html").is_file()


def test_pages_load_local_files_only_and_links_lead_somewhere(html):
    pages = {page: Links(page) for page in html.rglob("*.html") if "_static" not in page.parts}
    for page, found in pages.items():
        for address in found.loads:
            assert not re.match(r"(https?:)?//", address), (page, address)
            if not address.startswith("data:"):
                assert (page.parent / re.split("[?#]", address)[0]).exists(), (page, address)
        for address in found.links:
            file, _, anchor = address.partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            goal = (page.parent / file).resolve() if file else page
            assert goal.exists(), (page, address)
            if anchor and goal in pages:
                assert anchor in pages[goal].ids, (page, address)


def test_no_page_names_a_script_host(html):
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.search("unpkg|jsdelivr|cdnjs|googleapis|mathjax@", text, re.IGNORECASE), page


def test_the_book_is_small_enough_to_be_passed_on(html):
    size = sum(file.stat().st_size for file in html.rglob("*") if file.is_file())
    assert size < 40e6, f"{size:,} bytes"
