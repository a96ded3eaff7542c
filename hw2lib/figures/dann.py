"""Figures of domain adaptation, in the manner of `base`: one function each, 7 inches wide."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hw2lib.figures.base import COLOURS, interval_bars, new_axes, running_mean, styled

MARKS = ("o", "^")  # of the first and the second domain
PERPLEXITY = 30.0  # of a t-SNE, at most a third of the points
DOMAINS = {"mnist": "MNIST", "mnistm": "MNIST-M", "svhn": "SVHN", "usps": "USPS"}


def embed_tsne(features, seed: int = 0, perplexity: float = PERPLEXITY) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, 2008) of features (N, D) -> (N, 2); same seed, same map.

    Features of more than 50 dimensions are first projected on their 50 main directions.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    x = np.asarray(torch.as_tensor(features).detach().cpu(), dtype=np.float32)
    if len(x) <= 3:
        raise ValueError(f"{len(x)} points are too few for a map")
    init = "pca" if np.ptp(x, axis=0).any() else "random"  # equal points have no directions
    if init == "pca" and x.shape[1] > 50 and len(x) > 50:
        x = PCA(50, random_state=seed).fit_transform(x)
    perplexity = min(perplexity, (len(x) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init=init, random_state=seed).fit_transform(x)


@styled
def tsne_panels(features: Mapping[str, object], labels, domains: Sequence[str]) -> Figure:
    """t-SNE maps: one row for each network, by class on the left and by domain on the right.

    features: name of the network -> its features (N, D) of the same N images; labels: their N
    digits; domains: the name of the domain of each, of two domains with equally many images.
    Perplexity and numbers of images are written below. Each row is a map of its own: places and
    distances do not compare between rows.
    Raises ValueError where the numbers do not fit. Source: van der Maaten and Hinton (2008).
    """
    import seaborn

    labels, domains = np.asarray(torch.as_tensor(labels).cpu()), np.asarray(domains)
    names, counts = np.unique(domains, return_counts=True)
    names = list(dict.fromkeys(domains.tolist()))  # in the order in which they come
    if len(names) != 2 or counts[0] != counts[1]:
        found = dict(zip(names, counts.tolist(), strict=True))
        raise ValueError(f"images {found}; equally many of two domains are needed")
    sizes = {name: len(x) for name, x in features.items()}
    if not features or {*sizes.values(), len(labels)} != {len(domains)}:
        raise ValueError(f"features {sizes}, {len(labels)} labels, {len(domains)} domains")
    # In random order: else the last group would hide the others.
    order = np.random.default_rng(0).permutation(len(labels))
    fig, axes = new_axes(0.9 + 3.3 * len(features), 2, rows=len(features))
    axes = np.reshape(axes, (-1, 2))
    for (name, x), row in zip(features.items(), axes, strict=True):
        plane = embed_tsne(x)
        for ax, groups, kinds in zip(row, (labels, domains), (range(10), names), strict=True):
            seaborn.scatterplot(
                x=plane[order, 0], y=plane[order, 1], hue=groups[order], hue_order=kinds,
                style=domains[order], style_order=names, markers=MARKS, s=12, alpha=0.7,
                palette=list(COLOURS[: len(kinds)]), linewidth=0, legend=False, ax=ax,
            )  # fmt: skip
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color="0.8")
        row[0].set_ylabel(name)
    axes[0, 0].set_title("by class")
    axes[0, 1].set_title("by domain")
    _legend(axes[-1, 0], [(str(k), COLOURS[k], "o") for k in range(10)], 5)
    names = [DOMAINS.get(name, name) for name in names]
    _legend(axes[-1, 1], list(zip(names, COLOURS[:2], MARKS, strict=True)), 1)
    same = f"the same {counts[0]} + {counts[1]} test images in all panels"
    perplexity = min(PERPLEXITY, (len(labels) - 1) / 3)
    fig.supxlabel(f"t-SNE, perplexity {perplexity:g}, seed 0; {same}", fontsize=10)
    return fig


def _legend(ax: Axes, entries: Sequence[tuple[str, str, str]], columns: int) -> None:
    """Below the axes: (text, colour, mark) each."""
    handles = [ax.scatter([], [], color=c, s=40, marker=m, label=text) for text, c, m in entries]
    ax.legend(
        handles=handles, ncols=columns, loc="upper center",
        bbox_to_anchor=(0.5, -0.01), handletextpad=0.1, columnspacing=0.8, borderaxespad=0.2,
    )  # fmt: skip


@styled
def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Label loss, domain accuracy and lambda by step, three small axes below each other.

    history: "step", "label_loss", "domain_accuracy" (0..1 of both domains' images; 1/2 is chance)
    and "lambda", equally many values each. Losses and accuracies are drawn faint, their running
    means (2 % of the run) in full colour.
    Raises KeyError for a missing key, ValueError for unequal lengths.
    """
    step, loss, accuracy, strength = (
        np.asarray(history[key], float)
        for key in ("step", "label_loss", "domain_accuracy", "lambda")
    )
    fig, axes = new_axes(5.4, rows=3, sharex=True, height_ratios=(3, 3, 2))
    running_mean(axes[0], step, loss, COLOURS[0])
    if loss.max() > 10 * loss.min() > 0:  # a log axis has no plain ticks within a decade
        axes[0].set_yscale("log")
    running_mean(axes[1], step, accuracy, COLOURS[3])
    axes[1].set_ylim(min(0.4, accuracy.min()), 1.02)
    axes[1].axhline(0.5, color="0.5", lw=1, ls="--", zorder=1)
    beside = axes[1].get_yaxis_transform()  # x along the axes, y in the data
    axes[1].text(1.01, 0.5, "chance", transform=beside, va="center", fontsize=10, color="0.3")
    axes[2].plot(step, strength, color=COLOURS[2])
    axes[2].set_ylim(bottom=0)
    for ax, label in zip(axes, ("label loss", "domain accuracy", r"$\lambda$"), strict=True):
        ax.set_ylabel(label)
    axes[2].set_xlabel("step")
    fig.align_ylabels(axes)
    return fig


@styled
def accuracy_dots(rows: Mapping[str, Mapping[str, dict]]) -> Figure:
    """Accuracies as dots with their 95 % intervals: one line a method, one panel a target.

    rows: method -> target -> entry of a result file, of the same targets in each.
    All panels share one scale.
    """
    targets = list(next(iter(rows.values())))
    fig, axes = new_axes(1.1 + 0.48 * len(rows), len(targets), sharex=True, sharey=True)
    for ax, target, colour in zip(axes, targets, COLOURS, strict=False):
        entries = [row[target] for row in rows.values()]
        means, bars = [entry["mean"] for entry in entries], interval_bars(entries)
        ax.errorbar(means, range(len(rows)), xerr=bars, fmt="o", color=colour, ms=6, capsize=0)
        for y, x in enumerate(means):
            ax.annotate(f"{x:.3f}".removeprefix("0"), (x, y), (0, 6), ha="center", va="bottom",
                        textcoords="offset points", fontsize=10)  # fmt: skip
        ax.set_title(DOMAINS.get(target, target))
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    left = max(0.0, min(entry["low"] for row in rows.values() for entry in row.values()) - 0.06)
    axes[0].set(xlim=(left, 1.04), ylim=(len(rows) - 0.5, -0.7))
    axes[0].xaxis.set_major_locator(MaxNLocator(4 if len(targets) > 1 else 8))
    axes[0].xaxis.set_major_formatter("{x:g}")  # short: panels stand close
    axes[0].set_yticks(range(len(rows)), list(rows))
    axes[len(targets) // 2].set_xlabel("accuracy")
    return fig
