"""digit_small: the size of the model, and the choice of its guidance."""

import digit_small as small
import pytest
from helpers.recorded import mean, means

from hw2lib.io import results
from hw2lib.models.digit_unet import make_digit_unet
from hw2lib.studies import cfdg as study


class Table:
    """Scores that follow from strength, confidence and noise seed; the file does not matter."""

    scorer = None

    def scores(self, file, cell, seed):
        w, confidence = cell
        return {"accuracy": 0.975 + 0.01 * w, "frechet": 10 * w + seed, "recall": 0.8 - confidence}


def test_it_has_at_most_half_of_the_parameters():
    sizes = [
        sum(p.numel() for p in make_digit_unet(preset.model).parameters())
        for preset in (small.PRESET, small.DIGIT_PRESETS["full"])
    ]
    assert sizes[0] <= 1_500_000 and sizes[0] <= sizes[1] / 2
    assert small.PRESET.train == small.DIGIT_PRESETS["full"].train


@pytest.mark.parametrize(("enough", "w"), [(0.9849, 1.0), (0.9899, 1.5), (1.0, 2.0)])
def test_the_least_guidance_that_is_read_as_well_is_chosen(enough, w):
    chosen, records = small.tried_records(Table(), "file", enough)
    assert chosen == w == results.one(records, "tried", "chosen_w")["mean"]
    assert len(results.select(records, "tried", "accuracy")) == len(small.STRENGTHS)


def test_it_is_compared_as_chosen_and_by_rejection(monkeypatch):
    real = [{"accuracy": 1.0, "frechet": 1.0, "recall": 0.8}] * 5
    monkeypatch.setattr(study, "real_images", lambda *_: study.scored("real", real, small.N))
    found = small.compared_records(Table(), "file", [(1.5, 0.0), (0.5, 0.9)], None)
    assert len(results.select(found, "samples", "recall_of_real")) == 2
    gained = results.one(found, "gained", "accuracy")
    assert gained["values"] == pytest.approx([0.0025] * 5)  # w = 1.5 beyond 1.25


def test_the_recorded_choice_is_the_programs():
    read = {s["w"]: m for s, m in means("digits-small", "tried")}
    enough = mean("digits-longer", "tried", model="default", w=small.DEFAULT.w)
    above = [w for w in read if read[w] >= enough]
    assert tuple(read) == small.STRENGTHS
    expected = min(above, default=max(read, key=lambda w: read[w]))
    assert mean("digits-small", "tried", "chosen_w") == expected
