"""What the page on the recording says of the simulated times; see `test_claims_cfdg`."""

import pytest
from helpers.recorded import mean

from hw2lib.io.paths import RESULTS
from hw2lib.io.results import load


def wall(workers):
    return mean("scaling", "all", "wall", workers=workers)


def test_from_64_cores_on_the_critical_path_is_all():
    assert wall(64) == wall(512) == pytest.approx(mean("scaling", "all", "critical_path"))
    assert wall(8) > 2 * wall(64)


def test_the_trials_at_equal_seconds_are_the_critical_path():
    """Nearly all of it: the rest is a benchmark of speed."""
    path = load("scaling", RESULTS)["settings"]["critical path"]
    assert path[0] == "benchmark-digits-trials" and path[1:] == ["benchmark-faces-speed"]
