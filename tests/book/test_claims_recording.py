"""What the page on the recording says of the simulated times; see `test_claims_cfdg`."""

import sys

import pytest
from helpers.bookcopy import EXTENSIONS
from helpers.recorded import claims_of, mean, means, record, recorded

from hw2lib.io.paths import RESULTS
from hw2lib.io.results import path_of

sys.path.insert(0, str(EXTENSIONS))
import hw2scaling  # noqa: E402


def wall(workers):
    return mean("scaling", "all", "wall", workers=workers)


def test_from_64_cores_on_the_critical_path_is_all():
    assert wall(64) == wall(512) == pytest.approx(mean("scaling", "all", "critical_path"))
    assert wall(8) > wall(64)


def test_four_benchmarks_of_the_digits_are_the_critical_path():
    """Nearly all of it: the rest is a benchmark of speed."""
    path = recorded("scaling")["settings"]["critical path"]
    four = [f"benchmark-digits-{name}" for name in ("parts", "longer", "rejection", "small")]
    assert path == [*four, "benchmark-faces-speed"]


@pytest.mark.skipif(not path_of("cluster", RESULTS).is_file(), reason="no Slurm recorded yet")
def test_through_slurm_all_was_made_and_made_alike():
    """Of each job's tries the last was completed; one was killed, one cancelled, both half-way."""
    equal = record("cluster", "files", "equal")
    planned = mean("cluster", "jobs", "count", what="planned")
    assert equal["mean"] == equal["n"] > 0
    last = {setting["job"]: setting["state"] for setting, _ in means("cluster", "job", "seconds")}
    assert len(last) == planned and set(last.values()) == {"COMPLETED"}
    for what in ("killed", "cancelled"):
        ended = record("cluster", "ended", "step", what=what)
        assert 0 < ended["mean"] < ended["n"]


def test_the_curve_has_a_dot_for_each_number_of_cores():
    html = hw2scaling.drawn({1: 40.0, 8: 5.0, 64: 1.5}, 40.0, 1.5)
    assert html.count("<circle") == 3 and 'aria-label="1 cores 40.0 hours; 8 cores 5.00' in html


def test_every_claim_of_the_page_has_its_test():
    claims = claims_of("recording")
    assert len(claims) == 3 and all(name in globals() for name in claims)
