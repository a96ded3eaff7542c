"""Figures: drawn without error, readable at 700 pixels, and showing what they were given."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.pictures import images, render, ticks

from hw2lib.figures import base


def test_notebooks_show_a_figure_as_a_picture():
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(base.loss_curve([3.0, 2.0, 1.0]))
    assert data["image/png"].startswith(b"\x89PNG")


def test_to_array():
    x = torch.tensor([-1.0, 0.0, 2.0])[:, None, None].expand(3, 2, 2)
    assert base.to_array(x)[0, 0].tolist() == [0.0, 0.5, 1.0]
    assert base.to_array(torch.full((3, 2, 2), 255, dtype=torch.uint8)).max() == 1.0


def test_strip():
    alphas = [i / 10 for i in range(11)]
    fig = base.strip(images(2, 11, 3, 64, 64), alphas, ["slerp", "lerp"])
    render(fig)
    assert ticks(fig.axes[0].get_xticklabels()) == [f"{a:g}" for a in alphas]
    assert ticks(fig.axes[0].get_yticklabels()) == ["slerp", "lerp"]
    with pytest.raises(ValueError, match="number of"):
        base.strip(images(1, 3, 3, 64, 64), alphas, ["slerp"])


def test_loss_curve():
    fig = base.loss_curve([1 / (i + 1) for i in range(500)])
    render(fig)
    assert fig.axes[0].get_yscale() == "log"
    assert base.loss_curve([1.0, 0.0]).axes[0].get_yscale() == "linear"  # zero has no logarithm
    constant = base.loss_curve([2.0] * 100).axes[0].lines[1]
    assert np.allclose(constant.get_ydata(), 2)
    assert constant.get_xdata()[0] == 1.5


def test_a_table_has_its_caption_and_titles_in_words():
    table = pd.DataFrame({
        "p_drop": [0, 0.1], "images_seen": [300800, 1200], "interval": ["", [300, 900]],
        "frechet": [0.123456, 1.0],
    }).astype(object)  # fmt: skip
    html = base.titled(table, "What guidance gives.").to_html()
    assert "<caption>What guidance gives.</caption>" in html
    assert re.findall(r"<th[^>]*>([^<]*)</th>", html) == [
        "labels dropped, p", "images seen", "interval", "Fréchet distance",
    ]  # fmt: skip
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html) == [
        "0", "300,800", "", "0.1235", "0.1", "1,200", "300 to 900", "1",
    ]  # fmt: skip
    assert html == base.titled(table, "What guidance gives.").to_html()  # no chance in its names


def test_a_table_names_its_rows_and_leaves_out_what_all_lines_share():
    lines = pd.DataFrame(
        {"row": ["dann", "drawn"], "score": "frechet", "solver": ["dpmpp", "ddim"]}
    )
    html = base.titled(lines, "Both.", {"dann": "DANN, ours"}).to_html()
    assert re.findall(r"<th[^>]*>([^<]*)</th>", html) == ["row", "solver"]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", html) == [
        "DANN, ours", "DPM-Solver++(2M)", "generated", "DDIM",
    ]  # fmt: skip
    alone = base.titled(lines[:1], "One.").to_html()  # says what it is
    assert re.findall(r"<td[^>]*>([^<]*)</td>", alone)[:2] == ["dann", "Fréchet distance"]


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


def test_confusions_show_shares_of_the_true_digit():
    counts = np.diag([3] * 9 + [0])
    counts[4] = 0
    counts[4, [4, 9, 7]] = 700, 299, 1  # a share below half a percent is blank
    fig = base.confusions({"source only": counts, "DANN": torch.eye(10).long()})
    render(fig)
    cells = {(int(t.get_position()[1]), int(t.get_position()[0])): t for t in fig.axes[0].texts}
    shades = fig.axes[0].collections[0].get_array()
    shown = {place: text.get_text() for place, text in cells.items()}
    assert shown == {**{(k, k): "100" for k in range(9)}, (4, 4): "70", (4, 9): "30"}
    assert shades[4, 9] == pytest.approx(0.299**0.5)
    assert np.isfinite(shades).all()  # no image of the 9
    assert (cells[4, 4].get_color(), cells[4, 9].get_color()) == ("white", "black")
    assert [ax.get_title() for ax in fig.axes] == ["source only", "DANN"]
    assert fig.axes[0].yaxis_inverted() and "true digit" in fig.axes[0].get_ylabel()
    one = base.confusions({"DANN": counts}, "digit asked for")
    render(one)
    assert "digit asked for" in one.axes[0].get_ylabel()
    for wrong in ({}, {"a": np.eye(9)}, dict.fromkeys("abc", counts)):
        with pytest.raises(ValueError, match="one or two of"):
            base.confusions(wrong)


def test_distance_histogram_shows_shares_over_common_bins():
    distances = {"samples": torch.rand(50), "held out": 2 * torch.rand(200)}
    fig = base.distance_histogram(distances, "distance")
    render(fig)
    assert ticks(fig.axes[0].get_legend().get_texts()) == list(distances)
    for shape in fig.axes[0].collections:
        steps = np.unique(shape.get_paths()[0].vertices, axis=0)
        assert 0 < steps[:, 1].max() < 1
