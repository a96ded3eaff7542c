"""What the page on reliability says of the recorded campaign; see `test_claims_cfdg`."""

from helpers.recorded import claims_of

from hw2lib.io import results
from hw2lib.io.paths import RESULTS


def as_expected(name: str) -> dict[str, tuple[float, int]]:
    """fault -> (how many ended as they should, of how many)."""
    records = results.select(results.load(name, RESULTS)["records"], "made", "as_expected")
    return {r["setting"]["fault"]: (r["mean"], r["n"]) for r in records}


def test_all_faults_end_as_they_should_now():
    now = as_expected("faults")
    assert len(now) == 14 and all(right == n for right, n in now.values())


def test_every_claim_of_the_page_names_a_test_that_exists():
    named = claims_of("reliability")
    assert named and all(name in globals() for name in named)
