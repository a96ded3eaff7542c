"""Figures: drawn without error, readable at 700 pixels, and showing what they were given."""

import numpy as np
import pytest
import torch
from helpers.pictures import images, render, ticks

from hw2lib.figures import base, cfdg, ddim
from hw2lib.metrics import accuracy_metric, metric


def test_notebooks_show_a_figure_as_a_picture():
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(base.loss_curve([3.0, 2.0, 1.0]))
    assert data["image/png"].startswith(b"\x89PNG")


def test_to_array():
    x = torch.tensor([-1.0, 0.0, 2.0])[:, None, None].expand(3, 2, 2)
    assert base.to_array(x)[0, 0].tolist() == [0.0, 0.5, 1.0]
    assert base.to_array(torch.full((3, 2, 2), 255, dtype=torch.uint8)).max() == 1.0


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
    same = cfdg.digit_grid(grey.view(10, 10, 3, 28, 28)).axes[0].images[0].get_array()
    assert np.array_equal(canvas, same)


def test_reverse_strip():
    states = list(images(6, 3, 28, 28))
    fig = cfdg.reverse_strip(states, states[::-1], [999, 800, 600, 400, 200, "end"])
    render(fig)
    labels = ticks(fig.axes[0].get_xticklabels())
    assert (labels[0], labels[-1]) == ("t = 999", "end")
    assert len(fig.axes[0].get_yticks()) == 2
    with pytest.raises(ValueError, match="must be equal"):
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


def test_strip():
    alphas = [i / 10 for i in range(11)]
    fig = base.strip(images(11, 3, 64, 64), alphas)
    render(fig)
    assert ticks(fig.axes[0].get_xticklabels()) == [f"{a:g}" for a in alphas]
    render(base.strip(images(2, 11, 3, 64, 64), alphas, rows=["slerp", "lerp"]))
    with pytest.raises(ValueError, match="must be equal"):
        base.strip(images(3, 3, 64, 64), alphas)


def test_eta_grid():
    etas, noises = [0, 0.25, 0.5, 0.75, 1], ["00", "01", "02", "03"]
    grid = images(4, 5, 3, 64, 64)
    fig = ddim.eta_grid(grid, etas, noises)
    render(fig)
    assert ticks(fig.axes[0].get_yticklabels()) == noises
    render(ddim.eta_grid([list(row) for row in grid], etas, noises))
    with pytest.raises(ValueError, match="noises"):
        ddim.eta_grid(grid, etas[:4], noises)


def test_norm_curve_shows_theory_and_measurement():
    alphas = np.linspace(0, 1, 11)
    fig = ddim.norm_curve(alphas, np.full(11, 111.0), 111 * np.hypot(1 - alphas, alphas))
    render(fig)
    theory, slerp, lerp = fig.axes[0].lines
    assert theory.get_ydata().min() == pytest.approx(np.sqrt(0.5))
    assert np.allclose(slerp.get_ydata(), 1)
    assert lerp.get_ydata()[5] == pytest.approx(np.sqrt(0.5))


def legend(fig):
    return ticks(fig.axes[0].get_legend().get_texts())


def test_loss_curve():
    render(base.loss_curve([1 / (i + 1) for i in range(500)]))
    fig = base.loss_curve({"label": [1.0, 0.5], "domain": [0.0, 0.2]})
    render(fig)
    assert fig.axes[0].get_yscale() == "linear"  # a zero has no logarithm
    assert legend(fig) == ["label", "domain"]
    constant = base.loss_curve([2.0] * 100).axes[0].lines[1]
    assert np.allclose(constant.get_ydata(), 2)
    assert constant.get_xdata()[0] == 1.5


def test_confusion():
    matrix = torch.eye(10, dtype=torch.int64) * 97
    fig = cfdg.confusion(matrix)
    render(fig)
    assert [t.get_text() for t in fig.axes[0].texts].count("97") == 10


def test_accuracy_table():
    table = base.accuracy_table({
        "source": {"SVHN": accuracy_metric([440], n=1600), "USPS": None},
        "DANN": {"SVHN": metric([0.5], 10, "accuracy")},
    })  # fmt: skip
    assert table.splitlines() == [
        "| | SVHN | USPS |",
        "|---|---|---|",
        "| source | 27.50 (25.4 to 29.7) | not run |",
        "| DANN | 50.00 | not run |",
    ]


def test_architecture(monkeypatch, capsys):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    if base.shutil.which("dot"):
        graph = base.architecture(model, torch.zeros(2, 4), depth=1)
        svg = graph.pipe(format="svg").decode()
        assert "Linear" in svg
        assert "ReLU" in svg
    monkeypatch.setattr(base.shutil, "which", lambda program: None)
    assert base.architecture(model, torch.zeros(2, 4)) is None
    assert capsys.readouterr().out.count("\n") == 1


def test_solver_curve_has_a_line_for_each_solver_and_the_real_images():
    families = {"DDIM": {10: 4.0, 20: 2.0}, "DDPM": {1000: 1.5}}
    fig = cfdg.solver_curve(families, 0.5, "Fréchet distance")
    render(fig)
    ax = fig.axes[0]
    assert [line.get_label() for line in ax.lines] == ["DDIM", "DDPM", "real images"]
    assert ax.lines[0].get_xydata().tolist() == [[10, 4], [20, 2]]
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_distance_histogram_shows_shares_over_common_bins():
    distances = {"samples": torch.rand(50), "held out": 2 * torch.rand(200)}
    fig = cfdg.distance_histogram(distances, "distance")
    render(fig)
    _, labels = fig.axes[0].get_legend_handles_labels()
    assert labels == list(distances)
    tops = [patch.get_xy()[:, 1].max() for patch in fig.axes[0].patches]
    assert max(tops) < 1
