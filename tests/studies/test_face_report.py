"""face_report: each measurement under its name, with the numbers it was given."""

import pytest
import torch

from hw2lib.diffusion import linear_schedule
from hw2lib.studies import ddim, walks
from hw2lib.studies.ddim import noise_share


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_cells_are_named_by_steps_and_eta_and_compared_with_eta_zero():
    real = normal(100, 3)
    cells = {(50, 0.0): normal(80, 3, seed=1), (50, 0.25): normal(80, 3, seed=1) + 1}
    entries = ddim.eta_entries(cells, real)
    assert set(entries) == {
        "frechet_s50_eta000", "kernel_s50_eta000", "frechet_s50_eta025", "kernel_s50_eta025",
        "worse_s50_eta025",
    }  # fmt: skip
    difference = entries["frechet_s50_eta025"]["mean"] - entries["frechet_s50_eta000"]["mean"]
    assert entries["worse_s50_eta025"]["mean"] == pytest.approx(difference)
    one = ddim.quality_entries({"ours": cells[50, 0.0]}, real)
    assert one["frechet_ours"] == entries["frechet_s50_eta000"]


def test_movement_has_one_value_a_noise():
    moved = {"other": torch.tensor([0.5, 0.7]), 0.25: torch.tensor([[0.1, 0.3], [0.4, 0.4]])}
    entries = ddim.movement_entries(moved)
    assert entries["change_eta_025"]["values"] == pytest.approx([0.2, 0.4])
    assert entries["change_eta_025"]["n"] == 2
    assert entries["change_other"]["mean"] == pytest.approx(0.6)


def test_shares_are_those_of_the_first_and_the_last_step_but_one():
    schedule = linear_schedule()
    entries = ddim.share_entries(schedule, 50, (0.0, 0.5))
    share = noise_share(schedule, 50, 0.5)
    assert set(entries) == {"fresh_first_eta050", "fresh_last_eta050", "left_eta050"}
    assert entries["fresh_first_eta050"]["mean"] == share[0]
    assert entries["fresh_last_eta050"]["mean"] == share[48]
    assert entries["left_eta050"]["mean"] == pytest.approx((1 - share[:49]).prod())


def test_inversion_and_estimates():
    entries = walks.inversion_entries({20: (torch.tensor([0.1, 0.3]), torch.tensor([1.0]))})
    assert entries["decoded_s20"]["mean"] == pytest.approx(0.2)
    assert entries["encoded_s20"]["mean"] == 1
    images = normal(2, 1, 3, 8, 8) * torch.tensor([0.5, 1.0]).view(1, 2, 1, 1, 1)
    entries = walks.estimate_entries(images, (0.7, 1.0))
    assert entries["first_contrast_070"]["values"] == pytest.approx([0.5, 0.5])
    assert entries["first_detail_100"]["mean"] == pytest.approx(1)


def test_text_table_shows_intervals_where_there_are():
    entry = {"mean": 0.5, "low": 0.25, "high": 0.75}
    text = ddim.text_table({"a": entry, "b": entry | {"low": None}}, ["a", "b"])
    assert [line.split() for line in text.splitlines()] == [
        ["a", "0.500", "[0.250,", "0.750]"], ["b", "0.500"],
    ]  # fmt: skip
    long = "a_name_that_is_longer_than_any_other"
    lines = ddim.text_table({"a": entry, long: entry}, ["a", long]).splitlines()
    assert len({line.index("[") for line in lines}) == 1  # columns stand below each other
