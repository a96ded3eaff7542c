"""Figures of the faces, in the manner of `base`: one function each, 7 inches wide."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from hw2lib.figures.base import COLOURS, interval_bars, labelled_grid, log_log, new_axes, styled
from hw2lib.interpolation import WAYS

_WAY_COLOURS = dict(zip(WAYS, (COLOURS[0], COLOURS[3], COLOURS[2]), strict=True))


def eta_grid(images: Tensor, etas: Sequence[float], noises: Sequence[str]) -> Figure:
    """images[noise][eta] (N, E, 3, H, W): one row a noise file, one column an eta."""
    images = torch.stack([torch.stack(list(row)) for row in images])
    return labelled_grid(images, noises, [f"{eta:g}" for eta in etas], "noise", r"$\eta$")


def scale_grid(images: Tensor, scales: Sequence[float], rows: Sequence[str]) -> Figure:
    """images (rows, scales, 3, H, W): one column for each scale of the starting noise."""
    title = "norm of the input as a share of the right one"
    return labelled_grid(images, rows, [f"{scale:g}" for scale in scales], column_title=title)


@styled
def norm_curve(alphas: Sequence[float], slerp: Sequence[float], lerp: Sequence[float]) -> Figure:
    """Measured norms of the noise along both ways, as shares of the norm at alpha = 0.

    The line is the theory for two perpendicular noises, sqrt((1 - alpha)^2 + alpha^2).
    """
    slerp, lerp = (np.asarray(x, float) / float(x[0]) for x in (slerp, lerp))
    a = np.linspace(0, 1, 101)
    fig, (ax,) = new_axes(3.8)
    ax.plot(a, np.sqrt((1 - a) ** 2 + a**2), color=COLOURS[7], lw=1.5, zorder=1,
            label=r"theory $\sqrt{(1-\alpha)^2+\alpha^2}$")  # fmt: skip
    ax.plot(alphas, slerp, "o-", color=COLOURS[0], label="slerp, measured")
    ax.plot(alphas, lerp, "s", color=COLOURS[3], label="lerp, measured")
    ax.set(xlabel=r"$\alpha$", ylabel="norm / norm of the first noise")
    ax.set_ylim(min(0.6, lerp.min() - 0.05), max(1.1, slerp.max() + 0.05))
    ax.legend()
    return fig


@styled
def quality_table(
    cells: Mapping[tuple[int, float], dict], marks: Mapping[str, float], name: str
) -> Figure:
    """Entries of {(steps, eta): entry} as curves over the steps, one for each eta, their intervals
    as bars; `marks` are numbers to compare with, drawn as dashed lines with their names."""
    steps = sorted({n for n, _ in cells})
    etas = sorted({eta for _, eta in cells})
    fig, (ax,) = new_axes(4.2)
    for k, eta in enumerate(etas):
        entries = [cells[n, eta] for n in steps]
        x = np.array(steps) * 1.03 ** (k - (len(etas) - 1) / 2)  # bars beside each other
        ax.errorbar(x, [e["mean"] for e in entries], yerr=interval_bars(entries), marker="o",
                    color=COLOURS[k], capsize=2, label=rf"$\eta$ = {eta:g}")  # fmt: skip
    for name_of_mark, value in marks.items():
        ax.axhline(value, color="0.45", ls="--", lw=1)
        ax.annotate(name_of_mark, (1, value), (-4, 3), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", fontsize=10)  # fmt: skip
    log_log(ax, steps)
    ax.set(xlabel="steps", ylabel=name, xlim=(None, 1.7 * steps[-1]))  # room for the marks' names
    ax.legend(fontsize=10)
    return fig


@styled
def movement_curve(moved: Mapping[float, Tensor], other: Tensor) -> Figure:
    """Distance from the face of eta = 0: {eta: (noises, draws)}, one thin line a noise, the mean
    over all in full colour; `other` (noises,): the distance between faces of two noises."""
    etas = sorted(moved)
    values = torch.stack([moved[eta].mean(1) for eta in etas]).numpy()  # (etas, noises)
    fig, (ax,) = new_axes(3.6)
    ax.plot(etas, values, color=COLOURS[0], alpha=0.2, lw=0.8)
    ax.plot(etas, values.mean(1), "o-", color=COLOURS[0], lw=2, label="mean over noises")
    ax.axhline(other.mean().item(), color=COLOURS[3], ls="--", label="faces of two noises")
    ax.set(xlabel=r"$\eta$", ylabel=r"distance from the face of $\eta = 0$", ylim=(0, None))
    ax.set_xticks(etas)
    ax.legend(loc="lower right")
    return fig


@styled
def noise_shares(shares: Mapping[float, np.ndarray], left: Mapping[float, np.ndarray]) -> Figure:
    """Per step, for each eta: the share of noise replaced, and the share of the first left."""
    fig, axes = new_axes(3.6, 2)
    titles = ("share of the noise replaced", "share of the first noise left")
    for ax, title, curves in zip(axes, titles, (shares, left), strict=True):
        for colour, (eta, y) in zip(COLOURS, curves.items(), strict=False):
            ax.plot(np.arange(1, len(y) + 1), y, color=colour, label=rf"$\eta$ = {eta:g}")
        ax.set(title=title, xlabel="step", ylim=(0, 1.02))
    axes[0].legend(fontsize=10)
    return fig


def _mean_and_middle(ax: Axes, x: Sequence[float], values: Tensor, colour: str, name: str = ""):
    """Means of values (N, len(x)) over N, and a band that holds the middle half of them."""
    import seaborn

    seaborn.lineplot(
        x=np.tile(x, len(values)), y=values.flatten().numpy(), errorbar=("pi", 50), marker="o",
        markeredgecolor=colour, color=colour, label=name or None, err_kws={"lw": 0}, ax=ax,
    )  # fmt: skip


@styled
def gap_curves(gaps: Mapping[str, Tensor], alphas: Sequence[float]) -> Figure:
    """Distance of neighbouring images along each way, {way: (pairs, A - 1)}: mean over pairs, and
    a band that holds the middle half of them."""
    middle = (np.array(alphas[1:]) + np.array(alphas[:-1])) / 2
    fig, (ax,) = new_axes(3.6)
    for how, x in gaps.items():
        _mean_and_middle(ax, middle, x, _WAY_COLOURS[how], how)
    ax.set(xlabel=r"between two $\alpha$", ylabel="distance of neighbours", ylim=(0, None))
    return fig


@styled
def inversion_curve(errors: Mapping[int, tuple[Tensor, Tensor]]) -> Figure:
    """Error of the decoded face and of the noise over the steps, {steps: (faces, noises)}: mean,
    and a band that holds the middle half."""
    steps = sorted(errors)
    fig, axes = new_axes(3.2, 2)
    for k, (ax, name) in enumerate(zip(axes, ("decoded face", "noise found"), strict=True)):
        _mean_and_middle(ax, steps, torch.stack([errors[n][k] for n in steps], 1), COLOURS[k])
        log_log(ax, steps)  # afterwards: on logarithmic axes means would be geometric
        ax.set(xlabel="steps", ylabel="", title=f"error of the {name}")
    return fig
