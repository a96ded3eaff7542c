"""The order of rows that the notebook's quick run on stand-ins must show.

`make test` runs this once more at its end, on the result files that the notebooks have just
written: nothing is trained here.
"""

import pytest

from hw2lib.io import results


@pytest.mark.parametrize("target", ["svhn", "usps", "mnistm"])
def test_real_adapted_rows_lie_above_the_plain_source(target):
    """By more than their intervals are wide; the notebook only says it where they do not."""
    if not results.path_of(f"dann-{target}").is_file():
        pytest.skip("the notebook has not run here")
    result = results.load(f"dann-{target}")
    if (result["preset"], result["data"]["source"]) != ("quick", "embedded"):
        pytest.skip(f"the last run was {result['preset']} on {result['data']['source']} data")
    plain = results.one(result["records"], "source_only", "accuracy")
    for row in ("dann", "best_adaptation"):
        assert results.one(result["records"], row, "accuracy")["low"] > plain["high"], row
