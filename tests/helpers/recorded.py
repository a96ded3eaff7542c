"""The recorded results, as the tests of the chapters' sentences read them."""

import re
from functools import cache

import pytest

from hw2lib.io.paths import RESULTS, ROOT
from hw2lib.io.results import load, one, select


@cache
def recorded(name: str) -> dict:
    """A recorded result file."""
    return load(name, RESULTS)


def record(name: str, row: str, score: str = "accuracy", **setting) -> dict:
    """One of its records; a row that the file calls not run yet skips the test."""
    result = recorded(name)
    if row in result.get("not_run", []):
        pytest.skip(f"{row}: not recorded yet, as the book says")
    return one(result["records"], row, score, **setting)


def mean(name: str, row: str, score: str = "accuracy", **setting) -> float:
    """The mean of a record."""
    return record(name, row, score, **setting)["mean"]


def means(name: str, row: str, score: str = "accuracy", **setting) -> list[tuple[dict, float]]:
    """(setting, mean) of all records that fit."""
    return [
        (r["setting"], r["mean"]) for r in select(recorded(name)["records"], row, score, **setting)
    ]


def claims_of(*pages: str) -> list[str]:
    """The names of the tests that pages' `% CLAIM` lines ask for."""
    texts = [(ROOT / "book" / f"{page}.md").read_text() for page in pages]
    return [name for text in texts for name in re.findall(r"^% CLAIM (\w+)$", text, re.M)]
