"""Figures of the digits, in the manner of `base`: one function each, 7 inches wide."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from hw2lib.figures.base import COLOURS, interval_bars, labelled_grid, log_log, new_axes, styled


def digit_grid(images: Tensor) -> Figure:
    """Images (10 columns, 3, H, W): one row a digit, one column a noise that its digits share."""
    images = images.unflatten(0, (10, -1))
    columns = [str(c + 1) for c in range(images.shape[1])]
    titles = "digit asked for", "noise, the same down a column"
    return labelled_grid(images, list("0123456789"), columns, *titles)


def reverse_strip(
    x_t: Sequence[Tensor], x0: Sequence[Tensor], steps: Sequence[int | str]
) -> Figure:
    """The reverse process: the state x_t above, the model's guess of x_0 then below.

    x_t, x0: images (3, H, W), one for each time step in `steps`; a name stands for itself.
    """
    images = torch.stack([torch.stack(list(x_t)), torch.stack(list(x0))])
    return labelled_grid(
        images, ["$x_t$", r"$\hat x_0$"], [t if isinstance(t, str) else f"t = {t}" for t in steps]
    )


@styled
def guidance_curve(
    panels: Mapping[str, Mapping[str, Mapping[str, tuple[dict, dict]]]],
    real: tuple[float, float],
    x: str,
) -> Figure:
    """Accuracy against variety: a panel for each model, a curve for each way to guide it.

    panels: title -> name of a curve -> strength, written at its point -> (entry of the measure `x`,
    entry of accuracy), entries as in result files, their intervals drawn as crosses; real: the
    same two numbers of real images, a star. A name has one colour and mark in all panels.
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    looks = dict(zip(names, zip(COLOURS, "osDv^P", strict=False), strict=False))
    fig, axes = new_axes(4.6, len(panels), sharex=True, sharey=True)
    shown = {}
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, points in curves.items():
            colour, mark = looks[name]
            across, up = ([pair[i] for pair in points.values()] for i in (0, 1))
            shown[name], _, bars = ax.errorbar(
                [e["mean"] for e in across], [e["mean"] for e in up], marker=mark, capsize=0,
                xerr=interval_bars(across), yerr=interval_bars(up), color=colour, elinewidth=1,
            )  # fmt: skip
            for bar in bars:
                bar.set_alpha(0.35)
            for i, (strength, (a, b)) in enumerate(points.items()):
                above = i % 2  # neighbours' texts on different sides
                ax.annotate(
                    strength, (a["mean"], b["mean"]), (5, 4) if above else (-5, -4),
                    textcoords="offset points", fontsize=10, color=colour,
                    ha="left" if above else "right", va="bottom" if above else "top",
                )  # fmt: skip
        (star,) = ax.plot(*real, "*", color="#222222", markersize=13)
        ax.set(title=title, xlabel=x)
    axes[0].set(ylabel="accuracy")
    shown["real images"] = star
    fig.legend(shown.values(), shown, loc="outside lower center", ncols=2)
    return fig


@styled
def solver_curve(families: Mapping[str, Mapping[int, float]], real: float, y: str) -> Figure:
    """Quality against network evaluations, both on logarithmic axes, a line for each solver.

    families: solver -> evaluations of one sample -> the score named `y`; real: that of real images.
    """
    fig, (ax,) = new_axes(4.2)
    for (name, points), colour, mark in zip(families.items(), COLOURS, "os^v", strict=False):
        ax.plot(list(points), list(points.values()), marker=mark, color=colour, label=name)
    ax.axhline(real, color="#222222", lw=1, ls="--", label="real images")
    log_log(ax, sorted({n for points in families.values() for n in points}))
    ax.set(xlabel="network evaluations for one sample", ylabel=y)
    ax.legend()
    return fig
