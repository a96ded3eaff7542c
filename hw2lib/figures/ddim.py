"""Figures of the faces, in the manner of `base`: one function each, 7 inches wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter
from torch import Tensor

from hw2lib.figures.base import (
    COLOURS,
    STYLE,
    WIDTH,
    Picture,
    interval_bars,
    labelled_grid,
    new_figure,
)
from hw2lib.interpolation import WAYS


def eta_grid(images: Tensor, etas: Sequence[float], noises: Sequence[str]) -> Figure:
    """images[noise][eta] (N, E, 3, H, W): one row a noise file, one column an eta."""
    images = torch.stack([torch.stack(list(row)) for row in images])
    if images.shape[:2] != (len(noises), len(etas)):
        raise ValueError(
            f"images {tuple(images.shape[:2])} for {len(noises)} noises and {len(etas)} etas"
        )
    fig = labelled_grid(images, list(noises), [f"{eta:g}" for eta in etas])
    fig.axes[0].set(xlabel=r"$\eta$", ylabel="noise")
    fig.axes[0].xaxis.set_label_position("top")
    return fig


def norm_curve(alphas: Sequence[float], slerp: Sequence[float], lerp: Sequence[float]) -> Figure:
    """Measured norms of the noise along both ways, as shares of the norm at alpha = 0.

    The line is the theory for two perpendicular noises, sqrt((1 - alpha)^2 + alpha^2).
    """
    slerp, lerp = (np.asarray(x, float) / float(x[0]) for x in (slerp, lerp))
    a = np.linspace(0, 1, 101)
    with rc_context(STYLE):
        fig = new_figure(3.8)
        ax = fig.add_subplot()
        ax.plot(a, np.sqrt((1 - a) ** 2 + a**2), color=COLOURS[7], lw=1.5, zorder=1,
                label=r"theory $\sqrt{(1-\alpha)^2+\alpha^2}$")  # fmt: skip
        ax.plot(alphas, slerp, "o-", color=COLOURS[0], label="slerp, measured")
        ax.plot(alphas, lerp, "s", color=COLOURS[3], label="lerp, measured")
        ax.set(xlabel=r"$\alpha$", ylabel="norm / norm of the first noise")
        ax.set_ylim(min(0.6, lerp.min() - 0.05), max(1.1, slerp.max() + 0.05))
        ax.legend(frameon=False)
    return fig


_WAY_COLOURS = dict(zip(WAYS, (COLOURS[0], COLOURS[3], COLOURS[2]), strict=True))


def _axes(columns: int = 1, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    fig = Picture(figsize=(WIDTH, height), layout="constrained", facecolor="white", dpi=100)
    return fig, list(np.ravel(fig.subplots(1, columns)))


def quality_table(
    cells: Mapping[tuple[int, float], dict], marks: Mapping[str, float], name: str
) -> Figure:
    """Entries of {(steps, eta): entry} as curves over the steps, one for each eta, their intervals
    as bars; `marks` are numbers to compare with, drawn as dashed lines with their names."""
    steps = sorted({n for n, _ in cells})
    etas = sorted({eta for _, eta in cells})
    with rc_context(STYLE):
        fig, (ax,) = _axes(height=4.2)
        for k, eta in enumerate(etas):
            entries = [cells[n, eta] for n in steps]
            x = np.array(steps) * 1.03 ** (k - (len(etas) - 1) / 2)  # bars beside each other
            ax.errorbar(x, [e["mean"] for e in entries], yerr=interval_bars(entries), marker="o",
                        color=COLOURS[k], capsize=2, label=rf"$\eta$ = {eta:g}")  # fmt: skip
        for name_of_mark, value in marks.items():
            ax.axhline(value, color="0.45", ls="--", lw=1)
            ax.annotate(name_of_mark, (1, value), (-4, 3), xycoords=("axes fraction", "data"),
                        textcoords="offset points", ha="right", fontsize=10)  # fmt: skip
        ax.set(xscale="log", yscale="log", xlabel="steps", ylabel=name)
        ax.set_xlim(None, 1.7 * steps[-1])  # room for the marks' names
        ax.set_xticks(steps, [str(n) for n in steps])
        _plain_numbers(ax)
        ax.legend(frameon=False, fontsize=10)
    return fig


def _plain_numbers(ax: Axes) -> None:
    """Numbers in place of powers of ten on a logarithmic y axis, several in each decade."""
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def movement_curve(moved: Mapping[float, Tensor], other: Tensor) -> Figure:
    """Distance from the face of eta = 0: {eta: (noises, draws)}, one thin line a noise, the mean
    over all in full colour; `other` (noises,): the distance between faces of two noises."""
    etas = sorted(moved)
    values = torch.stack([moved[eta].mean(1) for eta in etas]).numpy()  # (etas, noises)
    with rc_context(STYLE):
        fig, (ax,) = _axes()
        ax.plot(etas, values, color=COLOURS[0], alpha=0.2, lw=0.8)
        ax.plot(etas, values.mean(1), "o-", color=COLOURS[0], lw=2, label="mean over noises")
        ax.axhline(other.mean().item(), color=COLOURS[3], ls="--", label="faces of two noises")
        ax.set(xlabel=r"$\eta$", ylabel=r"distance from the face of $\eta = 0$", ylim=(0, None))
        ax.set_xticks(etas)
        ax.legend(frameon=False, loc="lower right")
    return fig


def noise_shares(shares: Mapping[float, np.ndarray], left: Mapping[float, np.ndarray]) -> Figure:
    """Per step, for each eta: the share of noise drawn anew, and the share of the first left."""
    with rc_context(STYLE):
        fig, axes = _axes(2)
        for ax, curves in zip(axes, (shares, left), strict=True):
            for colour, (eta, y) in zip(COLOURS, curves.items(), strict=False):
                ax.plot(np.arange(1, len(y) + 1), y, color=colour, label=rf"$\eta$ = {eta:g}")
            ax.set(xlabel="step", ylim=(0, 1.02))
        axes[0].set_title("share of the noise drawn anew", fontsize=11)
        axes[1].set_title("share of the first noise left", fontsize=11)
        axes[0].legend(frameon=False, fontsize=10)
    return fig


def gap_curves(gaps: Mapping[str, Tensor], alphas: Sequence[float]) -> Figure:
    """Distance of neighbouring images along each way, {way: (pairs, A - 1)}: mean over pairs, and
    a band that holds the middle half of them."""
    middle = (np.array(alphas[1:]) + np.array(alphas[:-1])) / 2
    with rc_context(STYLE):
        fig, (ax,) = _axes()
        for how, x in gaps.items():
            low, high = np.quantile(x.numpy(), [0.25, 0.75], axis=0)
            ax.fill_between(middle, low, high, color=_WAY_COLOURS[how], alpha=0.12, lw=0)
            ax.plot(middle, x.mean(0).numpy(), "o-", color=_WAY_COLOURS[how], label=how)
        ax.set(xlabel=r"between two $\alpha$", ylabel="distance of neighbours", ylim=(0, None))
        ax.legend(frameon=False)
    return fig


def scale_grid(images: Tensor, scales: Sequence[float], rows: Sequence[str]) -> Figure:
    """images (rows, scales, 3, H, W): one column for each scale of the starting noise."""
    fig = labelled_grid(images, list(rows), [f"{scale:g}" for scale in scales])
    fig.axes[0].set_xlabel("norm of the input as a share of the right one")
    fig.axes[0].xaxis.set_label_position("top")
    return fig


def labelled_rows(images: Tensor, rows: Sequence[str], columns: Sequence[str] = ()) -> Figure:
    """images (rows, N, 3, H, W) with a name beside each row and, if given, over each column."""
    return labelled_grid(images, list(rows), list(columns))


def nearest_histogram(distances: Mapping[str, Tensor]) -> Figure:
    """Distances to the nearest training face, one histogram for each set of faces."""
    high = max(x.max().item() for x in distances.values())
    with rc_context(STYLE):
        fig, (ax,) = _axes()
        for colour, (name, x) in zip(COLOURS, distances.items(), strict=False):
            ax.hist(x.numpy(), bins=np.linspace(0, high, 41), density=True, histtype="stepfilled",
                    color=colour, alpha=0.45, label=name)  # fmt: skip
        ax.set(xlabel="distance to the nearest training face", ylabel="density", xlim=(0, None))
        ax.legend(frameon=False)
    return fig


def inversion_curve(errors: Mapping[int, tuple[Tensor, Tensor]]) -> Figure:
    """Error of the decoded face and of the noise over the steps, {steps: (faces, noises)}: mean,
    and a band that holds the middle half."""
    steps = sorted(errors)
    with rc_context(STYLE):
        fig, axes = _axes(2, 3.2)
        for k, (ax, name) in enumerate(zip(axes, ("decoded face", "noise found"), strict=True)):
            x = np.stack([errors[n][k].numpy() for n in steps])
            low, high = np.quantile(x, [0.25, 0.75], axis=1)
            ax.fill_between(steps, low, high, color=COLOURS[k], alpha=0.2, lw=0)
            ax.plot(steps, x.mean(1), "o-", color=COLOURS[k])
            ax.set(xscale="log", yscale="log", xlabel="steps", title=f"error of the {name}")
            ax.set_xticks(steps, [str(n) for n in steps])
            _plain_numbers(ax)
    return fig
