"""What book/live.md says of the recorded numbers."""

import pytest
from helpers.recorded import claims_of, record

from hw2lib.io.paths import RESULTS

pytestmark = pytest.mark.skipif(
    not (RESULTS / "live.json").is_file(), reason="run python benchmarks/live.py --record"
)


def accuracy(row, change, target="mnistm"):
    found = record("live", row, target=target, change=change)
    return found["low"], found["high"]


def test_the_plain_source_fails_on_black_ink_and_the_adapted_networks_do_not():
    assert accuracy("source only, plain", "none")[1] < 0.5
    for row in ("source only, plain", "DANN", "best adaptation"):
        assert accuracy(row, "inverted")[0] > 0.95
    for row in ("DANN", "best adaptation"):
        assert accuracy(row, "none")[0] > 0.95
        blurred = accuracy("source only, plain", "blurred", "svhn")
        assert blurred[1] < accuracy(row, "blurred", "svhn")[0]
    for change in ("none", "inverted"):
        assert accuracy("source only, plain", change, "svhn")[0] > 0.9


def test_a_reader_waits_no_longer_than_was_aimed_at():
    most = {"first_digit": 2, "digit": 0.5, "row": 3, "reading": 20}  # ms for a reading, else s
    for browser in ("Chromium", "Firefox"):
        for score, limit in most.items():
            assert max(record("live", browser, score)["values"]) < limit
        assert min(record("live", browser, "frames")["values"]) > 58  # of 60


def test_every_claim_of_the_page_names_a_test_that_exists():
    named = claims_of("live")
    assert named and all(name in globals() for name in named)
