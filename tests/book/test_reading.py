"""What readers are promised: the three chapters in 25 minutes, and claims that a test holds.

Counted are the words of the built page that are read in a row: headings, prose, lists, captions
and the questions of exercises. Not counted are what one looks up or opens: cells of tables,
formulas, code, folded tables and solutions, drawings, forms of the live pages.
"""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from helpers.bookcopy import toc_files
from helpers.recorded import claims_of

NOT_READ = ("pre, math, details, thead, tbody, svg, form, button, script, style, "
            "noscript, .live, .hw2-dots, .headerlink, .eqno")  # fmt: skip
NUMBERS = {"four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
PACE = 225  # words a minute
CHAPTERS = ("cfdg", "ddim", "dann")


def main_text(html, page: str) -> str:
    soup = BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    article = soup.select_one("article.bd-article")
    for part in article.select(NOT_READ):
        part.extract()
    return " ".join(article.get_text(" ").split())


def words(text: str) -> int:
    return len(re.findall(r"\S*\w\S*", text))


def said(text: str) -> int:
    return NUMBERS[re.search(r"Reading time: about (\w+) minutes", text)[1]]


def test_the_three_chapters_are_read_in_25_minutes(html):
    texts = [main_text(html, page) for page in CHAPTERS]
    assert sum(map(words, texts)) <= 5700
    assert sum(map(said, texts)) <= 25


@pytest.mark.parametrize("page", [*CHAPTERS, "dann-theory"])
def test_a_page_is_read_in_the_time_that_it_says(html, page):
    text = main_text(html, page)
    assert abs(words(text) / PACE - said(text)) < 0.75


def test_every_claim_of_every_page_names_a_test():
    pages = [page for page in toc_files() if not page.startswith("executed/")]
    claims = {page: claims_of(page) for page in pages}
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_claims*.py"))
    assert all(claims[page] for page in ("index", "answers", *CHAPTERS))
    named = {name for names in claims.values() for name in names}
    assert [name for name in named if f"def {name}(" not in tests] == []
