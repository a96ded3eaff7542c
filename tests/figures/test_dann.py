"""Figures of domain adaptation: each shows what it was given, in its place."""

import numpy as np
import pytest
import torch
from helpers.pictures import render, ticks

from hw2lib.figures import dann
from hw2lib.metrics import accuracy_metric


def test_embed_tsne_is_reproducible_and_keeps_neighbours():
    labels = np.arange(60) % 10
    features = np.random.default_rng(0).normal(size=(60, 80)) + labels[:, None]
    first = dann.embed_tsne(features, seed=3, perplexity=5)
    assert first.shape == (60, 2) and np.isfinite(first).all()
    again = dann.embed_tsne(torch.tensor(features), 3, perplexity=5)
    assert np.array_equal(first, again)
    distances = np.linalg.norm(first[:, None] - first, axis=2) + np.diag(np.full(60, np.inf))
    assert (abs(labels[distances.argmin(1)] - labels) <= 1).mean() > 0.9
    with pytest.raises(ValueError, match="too few"):
        dann.embed_tsne(features[:3])


@pytest.fixture
def planes(monkeypatch):
    """t-SNE is not run: a map is the first two features; what it was asked for is kept."""
    asked = []

    def embed(x):
        asked.append(len(x))
        return np.asarray(x)[:, :2]

    monkeypatch.setattr(dann, "embed_tsne", embed)
    return asked


def two_domains(n: int = 60):
    labels = torch.arange(n) % 10
    return torch.randn(n, 5), labels, ["MNIST-M"] * (n // 2) + ["SVHN"] * (n // 2)


def points(ax):
    """(place, colour) of every point, in an order of its own."""
    found = []
    for part in ax.collections:
        found += zip(part.get_offsets().tolist(), part.get_facecolors().tolist(), strict=False)
    return sorted(found)


def test_tsne_panels_show_the_same_points_by_class_and_by_domain(planes):
    x, labels, domains = two_domains()
    fig = dann.tsne_panels({"source only": x, "DANN": x + 9}, labels, domains)
    render(fig)
    by_class, by_domain, below, _ = fig.axes
    assert planes == [60, 60]
    for text in ("perplexity 19.6", "seed 0", "same 30 + 30 test images"):
        assert text in fig.get_supxlabel()
    assert [ax.get_ylabel() for ax in (by_class, below)] == ["source only", "DANN"]
    for ax, groups in ((by_class, labels.tolist()), (by_domain, domains)):
        drawn = points(ax)
        assert np.allclose([p for p, _ in drawn], sorted(x[:, :2].tolist()))
        colours = dict(zip(map(tuple, x[:, :2].tolist()), groups, strict=True))
        pairs = {(colours[tuple(place)], tuple(colour)) for place, colour in drawn}
        assert len(pairs) == len(set(groups))  # one colour a group, and no other
    legends = [ticks(ax.get_legend().get_texts()) for ax in fig.axes[2:]]
    assert legends == [[str(d) for d in range(10)], ["MNIST-M", "SVHN"]]


def test_tsne_panels_want_equally_many_of_two_domains(planes):
    x, labels, domains = two_domains()
    for some in ([*domains[:-1], "MNIST-M"], ["SVHN"] * 60, [*domains[:-1], "USPS"]):
        with pytest.raises(ValueError, match="equally many of two domains"):
            dann.tsne_panels({"DANN": x}, labels, some)
    for features, some in (({"DANN": x[:-1]}, labels), ({"DANN": x}, labels[:-1]), ({}, labels)):
        with pytest.raises(ValueError, match="features"):
            dann.tsne_panels(features, some, domains)


def test_tsne_panels_with_real_maps():
    x, labels, domains = two_domains()
    figure = dann.tsne_panels({"DANN": x}, labels, domains)
    render(figure)
    for axes in figure.axes:  # by class and by domain: the same points, each once
        assert sum(len(dots.get_offsets()) for dots in axes.collections) == len(x)


def history(n: int = 200) -> dict[str, list[float]]:
    t = np.arange(n)
    accuracy = 0.5 + 0.4 * np.exp(-t / 50)
    losses = 2 * np.exp(-t / 50)
    curves = {"step": t + 1, "label_loss": losses, "domain_accuracy": accuracy, "lambda": t / n}
    return {key: values.tolist() for key, values in curves.items()}


def test_training_curves_are_three_axes_over_the_same_steps():
    given = history()
    fig = dann.training_curves(given)
    render(fig)
    assert [ax.get_ylabel() for ax in fig.axes] == ["label loss", "domain accuracy", r"$\lambda$"]
    for ax, key in zip(fig.axes, list(given)[1:], strict=True):
        assert ax.lines[0].get_xydata().tolist() == [[k + 1, v] for k, v in enumerate(given[key])]
    smooth = fig.axes[1].lines[1].get_xydata()  # means of four belong to the middle of the four
    assert smooth[0].tolist() == pytest.approx([2.5, np.mean(given["domain_accuracy"][:4])])
    assert fig.axes[1].lines[2].get_ydata()[0] == 0.5
    assert fig.axes[1].get_ylim()[0] <= 0.4 and fig.axes[1].get_ylim()[1] >= 1


def test_training_curves_show_their_steps_and_name_what_is_missing():
    given = history(3)
    ax = dann.training_curves({**given, "step": [10, 20, 30]}).axes[2]
    assert ax.lines[0].get_xdata().tolist() == [10, 20, 30]
    zero = dann.training_curves({**given, "label_loss": [1, 0, 0]}).axes[0]
    assert zero.get_yscale() == "linear"  # a zero has no logarithm
    for losses, scale in (([2, 1, 0.5], "linear"), ([20, 1, 0.5], "log")):
        drawn = dann.training_curves({**given, "label_loss": losses}).axes[0]
        assert drawn.get_yscale() == scale
    with pytest.raises(KeyError, match="lambda"):
        dann.training_curves({key: given[key] for key in list(given)[:3]})
    with pytest.raises(ValueError, match="same first dimension"):
        dann.training_curves({**given, "lambda": [0.0]})


def test_accuracy_dots_show_means_and_intervals():
    rows = {
        "source only": {
            "svhn": accuracy_metric([438, 442], n=1600),
            "usps": accuracy_metric([80], n=100),
        },
        "DANN": {"svhn": accuracy_metric([1280], 1600), "usps": accuracy_metric([95], n=100)},
    }
    fig = dann.accuracy_dots(rows)
    render(fig)
    svhn, usps = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["SVHN", "USPS"]
    assert ticks(svhn.get_yticklabels()) == ["source only", "DANN"]
    assert svhn.get_ylim()[0] > svhn.get_ylim()[1]  # the first row on top
    assert ticks(svhn.texts) == [".275", ".800"] and ticks(usps.texts) == [".800", ".950"]
    entry = rows["source only"]["svhn"]
    (bars,) = (part.get_segments() for part in svhn.collections)
    assert len(bars) == 2
    assert np.allclose(bars[0], [[entry["low"], 0], [entry["high"], 0]])
    assert svhn.get_xlim()[0] < entry["low"] and svhn.get_xlim() == usps.get_xlim()


def test_features_that_are_all_alike_have_a_map():
    """scikit-learn's start by PCA ends in a segmentation fault."""
    for d in (2, 256):
        assert np.isfinite(dann.embed_tsne(np.ones((60, d)))).all()
