"""digit_guides: what is steered away from, and that the recorded cells are those of the program."""

import digit_guides
import pytest
import torch
from digit_guides import CHOSEN, SMALL, TRIED, Cell

from hw2lib.experiments.cfdg import DEFAULT, DIGIT_PRESETS
from hw2lib.io import results
from hw2lib.io.paths import RESULTS
from hw2lib.models.digit_unet import NULL_LABEL, make_digit_unet

LABELS = torch.tensor([3, 4])


def times(t):
    return torch.full((2,), t)


@pytest.fixture
def away(monkeypatch):
    """away(kind, t): what is steered away from at time t, where the guide says 1 and the model
    without label 3."""
    monkeypatch.setattr(digit_guides, "trained_guide", lambda *_: lambda x, t, y: 0 * x + 1)

    def model(x, t, labels):
        assert (labels == NULL_LABEL).all()
        return 0 * x + 3

    def of(kind, t=700):
        other = digit_guides.away_from(Cell(kind, 1.0, SMALL), model, 0)
        return other and other(torch.zeros(2, 3, 4, 4), times(t), LABELS).mean().item()

    return of


def test_each_kind_steers_away_from_what_it_says(away):
    assert away("unlabelled") is None and away("guide") == 1 and away("mean") == 2
    assert away("turns", 500) == 3 and away("turns", 499) == 1


def test_a_pass_of_each_network_counts():
    n = DEFAULT.steps
    assert Cell("unlabelled", 0.0).evaluations() == n
    assert Cell("guide", 1.0, SMALL).evaluations() == Cell("turns", 1.0, SMALL).evaluations()
    assert Cell("guide", 1.0, SMALL).evaluations() == 2 * n
    assert Cell("mean", 1.0, SMALL).evaluations() == 3 * n
    assert n < Cell("guide", 1.0, SMALL, (0, 500)).evaluations() < 2 * n


def test_a_guide_is_ours_with_fewer_channels_or_steps():
    ours = DIGIT_PRESETS["study"]
    assert digit_guides.guide_preset(f"whole-{ours.train.steps}", ours.train.seed) == ours
    small, whole = (
        sum(p.numel() for p in make_digit_unet(digit_guides.guide_preset(g, 1).model).parameters())
        for g in (SMALL, "whole-300")
    )
    assert whole == pytest.approx(16 * small, rel=0.05)


def test_the_recorded_cells_are_those_of_the_program():
    records = results.load("digits-guides", RESULTS)["records"]
    for row, cells in (("tried", TRIED), ("samples", CHOSEN)):
        found = [r["setting"] for r in results.select(records, row, "accuracy")]
        assert [Cell(**{"interval": None, **s}) for s in found] == [
            Cell(c.away, c.w, c.guide, c.interval and list(c.interval)) for c in cells
        ]
