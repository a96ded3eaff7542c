"""digit_longer: what is trained on, and what is compared at which strength."""

from dataclasses import replace

import digit_longer as longer
import pytest

from hw2lib.io import results
from hw2lib.io.paths import RESULTS


class Table:
    """Scores that follow from model, strength and noise seed."""

    scorer = None

    def scores(self, file, part, w, seed):
        assert part == "all"
        accuracy = 0.9852 + 0.01 * w + (0.002 if file == "b" else 0)
        return {"accuracy": accuracy, "frechet": 10 * w, "recall": 0.8 - seed / 100}


def test_it_takes_the_full_presets_training_again_with_other_batches():
    assert longer.PRESET != longer.FULL
    again = replace(longer.PRESET.train, seed=longer.FULL.train.seed)
    assert replace(longer.PRESET, train=again) == longer.FULL


def test_each_model_has_its_own_legible_strength(monkeypatch):
    models = {"default": "a", "longer": "b"}
    chosen, tried = longer.tried_records(Table(), models)
    assert chosen == {"default": 0.5, "longer": 0.5}  # .9902 and .9922; less than .99 at .25
    assert len(results.select(tried, "tried", "accuracy")) == 10
    real = [{"accuracy": 1.0, "frechet": 1.0, "recall": 0.8}] * 5
    monkeypatch.setattr(
        longer.study, "real_images", lambda *_: longer.study.scored("real", real, longer.N)
    )
    found = longer.compared_records(Table(), models, chosen, None)
    for at in ("default", "legible"):
        entry = results.one(found, "gained", "accuracy", at=at)
        assert entry["values"] == pytest.approx([0.002] * 5)
    assert results.one(found, "samples", "recall_of_real", model="longer", w=1.25)["values"][0] == 1


def test_the_recorded_choice_is_the_programs():
    records = results.load("digits-longer", RESULTS)["records"]
    for model in ("default", "longer"):
        read = {
            r["setting"]["w"]: r["mean"]
            for r in results.select(records, "tried", "accuracy", model=model)
        }
        assert tuple(read) == longer.STRENGTHS
        assert results.one(records, "tried", "legible", model=model)["mean"] == longer.legible(read)
