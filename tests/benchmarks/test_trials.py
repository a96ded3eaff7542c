"""The trials at equal compute are those of the recorded files."""

import digit_setting
import digit_trials
import face_trials
import pytest

from hw2lib.io import results
from hw2lib.io.paths import RESULTS


@pytest.mark.parametrize(("trials", "name"), [
    (digit_trials, "digits-trials"), (face_trials, "faces-trials"),
])  # fmt: skip
def test_rows_and_seeds_are_the_recorded_ones(trials, name):
    found = results.select(results.load(name, RESULTS)["records"], score="frechet")
    assert {(r["row"], r["setting"].get("seed", 0)) for r in found} == {
        (row, seed) for row in trials.TRIALS for seed in trials.SEEDS.get(row, (0,))
    }


def test_settings_are_the_recorded_ones():
    records = results.load("digits-setting", RESULTS)["records"]
    found = [r["setting"] for r in results.select(records, "samples", "recall")]
    assert [s for s in found if "training" not in s] == digit_setting.SETTINGS
