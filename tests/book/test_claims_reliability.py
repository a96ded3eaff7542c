"""What the page on reliability says of the recorded campaign; see `test_claims_cfdg`."""

from helpers.recorded import claims_of, record

from hw2lib.io import results
from hw2lib.io.paths import RESULTS


def as_expected(row: str) -> dict[str, tuple[float, int]]:
    """fault -> (how many ended as they should, of how many)."""
    records = results.select(results.load("faults", RESULTS)["records"], row, "as_expected")
    return {r["setting"]["fault"]: (r["mean"], r["n"]) for r in records}


def test_all_faults_end_as_they_should_now():
    now, before = as_expected("made"), as_expected("made_before")
    assert len(now) == 14 and all(right == n for right, n in now.values())
    assert len(before) == 2 and all(n == now[fault][1] for fault, (_, n) in before.items())


def test_what_good_input_takes_beside_before():
    def ratio(by):
        found = record("faults", "now_to_before", "time", by=by)
        return found["low"], found["high"]

    low, high = ratio("classifying 3,000 small images")
    assert low <= 1 <= high
    assert ratio("sampling 10 digits")[1] < 1
    low, high = ratio("training for 40 steps")
    assert low > 1 and high < 1.1


def test_every_claim_of_the_page_names_a_test_that_exists():
    named = claims_of("reliability")
    assert named and all(name in globals() for name in named)
