"""Figures of the digits: each shows what it was given, in its place."""

import pytest
import torch
from helpers.pictures import images, render, ticks

from hw2lib.figures import cfdg
from hw2lib.metrics import accuracy_metric, metric


def test_digit_grid_puts_each_image_in_its_place():
    # Image (digit, column) is grey of brightness digit / 10 + column / 100.
    grey = torch.arange(100).float().view(100, 1, 1, 1).expand(100, 3, 28, 28) / 50 - 1
    fig = cfdg.digit_grid(grey)
    render(fig)
    ax = fig.axes[0]
    canvas = ax.images[0].get_array()
    for digit, column in ((0, 0), (0, 9), (7, 3), (9, 9)):
        y, x = ax.get_yticks()[digit], ax.get_xticks()[column]
        assert canvas[int(y), int(x), 0] == pytest.approx((10 * digit + column) / 100, abs=1e-6)
    assert ticks(ax.get_yticklabels()) == [str(d) for d in range(10)]
    assert ticks(ax.get_xticklabels()) == [str(c) for c in range(1, 11)]


def test_reverse_strip():
    states = list(images(6, 3, 28, 28))
    fig = cfdg.reverse_strip(states, states[::-1], [999, 800, 600, 400, 200, "end"])
    render(fig)
    labels = ticks(fig.axes[0].get_xticklabels())
    assert (labels[0], labels[-1]) == ("t = 999", "end")
    assert len(fig.axes[0].get_yticks()) == 2
    with pytest.raises(ValueError, match="number of"):
        cfdg.reverse_strip(states, states, [0])


@pytest.mark.parametrize("seeds", [1, 3])
def test_guidance_curve_shows_each_strength_and_the_real_images(seeds):
    def pair(x, y):
        return metric([x + 0.01 * k for k in range(seeds)], 100, "share"), accuracy_metric(
            [round(100 * y) + k for k in range(seeds)], n=100
        )

    panels = {
        "labels dropped": {
            "all the way": {"0": pair(0.8, 0.6), "2": pair(0.6, 0.95)},
            "by default": {"1": pair(0.7, 0.9)},
        },
        "labels kept": {"all the way": {"0": pair(0.7, 0.7)}},
    }
    fig = cfdg.guidance_curve(panels, (0.85, 0.985), "recall")
    render(fig)
    for ax, (title, curves) in zip(fig.axes, panels.items(), strict=True):
        assert ax.get_title() == title
        *lines, star = [line for line in ax.lines if line.get_marker() not in ("None", "")]
        means = [[[x["mean"], y["mean"]] for x, y in c.values()] for c in curves.values()]
        assert [line.get_xydata().tolist() for line in lines] == means
        assert [t.get_text() for t in ax.texts] == [w for c in curves.values() for w in c]
        assert star.get_xydata().tolist() == [[0.85, 0.985]]
        points = len(ax.texts)
        crosses = sum(len(c.get_segments()) for c in ax.collections)
        assert crosses == (2 * points if seeds > 1 else points)  # one seed: accuracy's alone
    first, other = (ax.lines[0] for ax in fig.axes)
    assert first.get_color() == other.get_color()
    assert ticks(fig.legends[0].get_texts()) == ["all the way", "by default", "real images"]


def test_solver_curve_has_a_line_for_each_solver_and_the_real_images():
    families = {"DDIM": {10: 4.0, 20: 2.0}, "DDPM": {1000: 1.5}}
    fig = cfdg.solver_curve(families, 0.5, "Fréchet distance")
    render(fig)
    ax = fig.axes[0]
    assert [line.get_label() for line in ax.lines] == ["DDIM", "DDPM", "real images"]
    assert ax.lines[0].get_xydata().tolist() == [[10, 4], [20, 2]]
    assert ax.get_xscale() == ax.get_yscale() == "log"
