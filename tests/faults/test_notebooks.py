"""Notebooks: what a user gives them is checked in the first cells, and no check costs a run."""

import json
from types import SimpleNamespace

import pytest
import torch
from faults.inputs.base import noise
from helpers.files import make_course

from hw2lib.errors import UserError
from hw2lib.io.paths import ROOT


def sources(name: str, until: str) -> list[str]:
    """The code cells of a notebook up to the one that holds some words."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    found = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    last = next(k for k, source in enumerate(found) if until in source)
    return found[: last + 1]


def executed(name: str, until: str, **parameters) -> dict:
    first, *others = sources(name, until)
    scope: dict = {}
    exec(first, scope)
    scope |= parameters
    for source in others:
        exec(source, scope)
    return scope


def test_a_course_of_fewer_images_than_a_batch(folder):
    for domain in ("mnistm", "usps"):
        make_course(folder, domain)
    scope = executed("dann", "max(errors.values())", target="usps", data="course")
    assert scope["n"] == 18  # the other two are held out
    assert max(scope["errors"].values()) < 1e-5


def test_an_adaptation_that_gains_nothing_keeps_the_run(capsys):
    check = sources("dann", "adapted, plain =")[-1]
    entry = {"n": 3, "values": [0.5], "low": 0.4, "mean": 0.5, "high": 0.6}
    worse = entry | {"low": 0.1, "mean": 0.2, "high": 0.3}
    problem = SimpleNamespace(test=range(3), data="embedded")
    measured = {"source_only": entry, "best_adaptation": worse}
    exec(check, {"names": list(measured), "measured": measured, "problem": problem, "seeds": 1})
    assert "best adaptation is not above source only" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sizes", "words"), [([8], "00.pt alone; two"), ([8, 16], "01.pt is (1, 3, 16, 16), 00.pt")]
)
def test_noises_are_checked_before_anything_is_drawn(tmp_path, sizes, words):
    for k, size in enumerate(sizes):
        noise(tmp_path, torch.zeros(1, 3, size, size), f"n/{k:02d}.pt")
    with pytest.raises(UserError) as caught:
        executed("ddim", "load_noises", noise=str(tmp_path / "n"))
    assert words in str(caught.value) and "\n" not in str(caught.value)
