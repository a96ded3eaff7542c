"""Comparisons of the adaptation's recorded numbers, for the tests of what its pages say.

A difference is named where it shows: the 95 % interval of the paired differences over seeds leaves
out zero (`ahead`). An amount that a sentence names ("three points") is held to the rounding of
that word.
"""

import json

import pytest
from helpers.recorded import record

from hw2lib.io.paths import ROOT
from hw2lib.metrics import metric

TARGETS = ("svhn", "usps", "mnistm")
CROPS = ("svhn", "usps")
ADAPTED = pytest.mark.parametrize("target", TARGETS)
OF_MNISTM = pytest.mark.parametrize("target", CROPS)
PLAIN = "source only, plain"
ALONE = "adversarial loss alone"
REPORTED = json.loads((ROOT / "data" / "report.json").read_text())["values"]


def table(target, row, score="accuracy", **more):
    """A record of the table of methods."""
    return record(f"dann-{target}", row, score, target=target, **more)


def of(target, row, score="accuracy", **more):
    """Its mean."""
    return table(target, row, score, **more)["mean"]


def cause(target, row, score="accuracy", **more):
    """A record of the study of causes."""
    return record("dann-ablation", row, score, target=target, **more)


def alone(target, lam, score="accuracy", **more):
    """Of the adversarial loss alone, its weight growing to `lam`."""
    return cause(target, ALONE, score, adversarial=lam, **more)


def gap(above, below):
    """Difference of two records seed by seed, with its 95 % interval."""
    differences = [a - b for a, b in zip(above["values"], below["values"], strict=True)]
    return metric(differences, above["n"], "number")


def ahead(above, below):
    """Whether the difference shows."""
    return gap(above, below)["low"] > 0


def open_between(a, b):
    """Whether it shows in neither direction."""
    return not ahead(a, b) and not ahead(b, a)


def points(above, below):
    """A difference that shows, in points of accuracy."""
    assert ahead(above, below)
    return 100 * gap(above, below)["mean"]
