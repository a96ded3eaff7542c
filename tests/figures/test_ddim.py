"""The face study's figures: drawn without error, readable, and showing what they were given."""

import numpy as np
import pytest
import torch
from helpers.pictures import images, render, ticks

from hw2lib.figures import ddim
from hw2lib.interpolation import WAYS


def entry(mean, half=0.1):
    return {"values": [mean], "mean": mean, "low": mean - half, "high": mean + half, "n": 8,
            "unit": "distance"}  # fmt: skip


def lines(ax):
    return {line.get_label(): line.get_ydata() for line in ax.lines}


def plain_ticks(ax):
    """Texts of the y axis that are in sight."""
    low, high = ax.get_ylim()
    return [t.get_text() for t in ax.get_yticklabels() if low <= t.get_position()[1] <= high]


def test_quality_table_has_a_curve_an_eta_and_its_marks():
    cells = {(n, eta): entry(1 + eta + n / 100) for n in (10, 50) for eta in (0.0, 1.0)}
    fig = ddim.quality_table(cells, {"real faces": 0.5}, "distance")
    render(fig)
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [r"$\eta$ = 0", r"$\eta$ = 1"]
    curve = ax.containers[1].lines[0]
    assert curve.get_ydata().tolist() == [2.1, 2.5]
    assert "real faces" in [t.get_text() for t in ax.texts]
    assert plain_ticks(ax)[:2] == ["0.5", "0.7"]


def test_movement_curve_shows_each_noise_and_the_mean():
    moved = {0.0: torch.zeros(3, 2), 1.0: torch.tensor([[0.2, 0.4], [0.4, 0.4], [0.5, 0.5]])}
    fig = ddim.movement_curve(moved, torch.tensor([0.6]))
    render(fig)
    found = lines(fig.axes[0])
    assert found["mean over noises"].tolist() == pytest.approx([0, 0.4])
    assert sum(len(line.get_xdata()) == 2 for line in fig.axes[0].lines) == 5


def test_noise_shares_has_both_sides():
    curves = {0.5: np.array([0.1, 0.2]), 1.0: np.array([0.4, 0.8])}
    fig = ddim.noise_shares(curves, {0.5: np.array([0.9, 0.7]), 1.0: np.array([0.6, 0.1])})
    render(fig)
    left, right = fig.axes
    assert lines(left)[r"$\eta$ = 1"].tolist() == [0.4, 0.8]
    assert lines(right)[r"$\eta$ = 0.5"].tolist() == [0.9, 0.7]


def test_gap_curves_are_means_over_pairs():
    gaps = {how: torch.tensor([[0.1, 0.3], [0.3, 0.5]]) + k for k, how in enumerate(WAYS)}
    fig = ddim.gap_curves(gaps, (0.0, 0.5, 1.0))
    render(fig)
    np.testing.assert_allclose(lines(fig.axes[0])["lerp"], [1.2, 1.4], rtol=1e-6)
    assert fig.axes[0].lines[0].get_xdata().tolist() == [0.25, 0.75]


def test_grids_name_rows_and_columns():
    fig = ddim.scale_grid(images(2, 3, 3, 8, 8), (0.5, 0.71, 1.0), ["00", "01"])
    render(fig)
    assert ticks(fig.axes[0].get_xticklabels()) == ["0.5", "0.71", "1"]
    assert ticks(fig.axes[0].get_yticklabels()) == ["00", "01"]


def test_inversion_curve_has_both_errors():
    errors = {10: (torch.tensor([0.2, 0.4]), torch.tensor([0.5, 0.7])),
              50: (torch.tensor([0.1, 0.1]), torch.tensor([0.2, 0.2]))}  # fmt: skip
    fig = ddim.inversion_curve(errors)
    render(fig)
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), [0.3, 0.1], rtol=1e-6)
    np.testing.assert_allclose(fig.axes[1].lines[0].get_ydata(), [0.6, 0.2], rtol=1e-6)
    assert plain_ticks(fig.axes[1]) == ["0.2", "0.3", "0.5"]


def test_eta_grid():
    etas, noises = [0, 0.25, 0.5, 0.75, 1], ["00", "01", "02", "03"]
    grid = images(4, 5, 3, 64, 64)
    fig = ddim.eta_grid(grid, etas, noises)
    render(fig)
    assert ticks(fig.axes[0].get_yticklabels()) == noises
    render(ddim.eta_grid([list(row) for row in grid], etas, noises))
    with pytest.raises(ValueError, match="number of"):
        ddim.eta_grid(grid, etas[:4], noises)


def test_norm_curve_shows_theory_and_measurement():
    alphas = np.linspace(0, 1, 11)
    fig = ddim.norm_curve(alphas, np.full(11, 111.0), 111 * np.hypot(1 - alphas, alphas))
    render(fig)
    theory, slerp, lerp = fig.axes[0].lines
    assert theory.get_ydata().min() == pytest.approx(np.sqrt(0.5))
    assert np.allclose(slerp.get_ydata(), 1)
    assert lerp.get_ydata()[5] == pytest.approx(np.sqrt(0.5))
