"""Every figure of the report, one function each; all return a matplotlib Figure.

Figures are 7 inches wide with text of 10 points and more, so that they read well in a 700 pixel
column, and have a white ground, so that they read the same in the dark theme. Images come as uint8
or as floats in [-1, 1], always (..., 3, H, W).
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor, nn

WIDTH = 7.0
# Okabe and Ito's colours (told apart by colour-blind readers too), filled up to ten.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7",
    "#56B4E9", "#8C564B", "#7F7F7F", "#BCBD22", "#222222",
)  # fmt: skip
STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


class Picture(Figure):
    """A Figure that notebooks show as a cell's value, once, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=150)  # scaled down in the page: sharp text
        return stream.getvalue()


def new_figure(height: float) -> Figure:
    """An empty white figure of the report's width, `height` inches high."""
    return Picture(figsize=(WIDTH, height), layout="constrained", facecolor="white", dpi=100)


def to_array(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) uint8 or [-1, 1] -> (..., H, W, 3) floats in [0, 1]."""
    images = torch.as_tensor(images).detach().cpu()
    if images.dtype != torch.uint8:
        images = (images.float().clamp(-1, 1) + 1) * 127.5
    return (images.float() / 255).movedim(-3, -1).numpy()


def _mosaic(ax: Axes, images: Tensor, gap: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
    """Draw images (rows, columns, 3, H, W) as one; returns the rows' and the columns' centres."""
    x = to_array(images)
    rows, columns, h, w, _ = x.shape
    space = max(1, round(gap * w))
    canvas = np.ones((rows * (h + space) - space, columns * (w + space) - space, 3), np.float32)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (h + space), j * (w + space)
            canvas[top : top + h, left : left + w] = x[i, j]
    ax.imshow(canvas, interpolation="nearest")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    down = np.arange(rows) * (h + space) + (h - 1) / 2
    return down, np.arange(columns) * (w + space) + (w - 1) / 2


def labelled_grid(
    images: Tensor, row_labels: Sequence[str], column_labels: Sequence[str]
) -> Figure:
    """Images (rows, columns, 3, H, W) with labels at the left and on top; [] for no labels."""
    rows, columns, _, h, w = images.shape
    with rc_context(STYLE):
        fig = new_figure(min(9.0, (WIDTH - 0.6) * rows * h / (columns * w) + 0.5))
        ax = fig.add_subplot()
        down, across = _mosaic(ax, images)
        if len(row_labels):
            ax.set_yticks(down, row_labels)
        if len(column_labels):
            ax.set_xticks(across, column_labels)
            ax.xaxis.tick_top()
        ax.tick_params(length=0)
    return fig


# --- P1: digits -----------------------------------------------------------------------------


def digit_grid(images: Tensor) -> Figure:
    """One row a digit, one column a noise that its ten digits share.

    images: (digits, columns, 3, H, W), or (100, 3, H, W) row by row.
    """
    if images.ndim == 4:
        images = images.unflatten(0, (10, -1))
    rows, columns = images.shape[:2]
    fig = labelled_grid(images, [str(d) for d in range(rows)], [str(c + 1) for c in range(columns)])
    fig.axes[0].set(ylabel="digit asked for", xlabel="noise, the same down a column")
    fig.axes[0].xaxis.set_label_position("top")
    return fig


def reverse_strip(
    x_t: Sequence[Tensor], x0: Sequence[Tensor], steps: Sequence[int | str]
) -> Figure:
    """The reverse process: the state x_t above, the model's guess of x_0 then below.

    x_t, x0: images (3, H, W), one for each time step in `steps`; a name stands for itself.
    """
    if not len(x_t) == len(x0) == len(steps):
        raise ValueError(f"{len(x_t)} states, {len(x0)} guesses, {len(steps)} steps; must be equal")
    images = torch.stack([torch.stack(list(x_t)), torch.stack(list(x0))])
    return labelled_grid(
        images, ["$x_t$", r"$\hat x_0$"], [t if isinstance(t, str) else f"t = {t}" for t in steps]
    )


def confusion(matrix) -> Figure:
    """Heat map of counts (10, 10); rows: digit asked for (or true), columns: digit read."""
    import seaborn

    matrix = np.asarray(matrix)
    with rc_context(STYLE):
        fig = new_figure(5.6)
        ax = fig.add_subplot()
        seaborn.heatmap(
            matrix, ax=ax, annot=True, fmt="d", cmap="Blues", cbar=False, square=True,
            linewidths=0.5, annot_kws={"size": 10},
        )  # fmt: skip
        ax.set(xlabel="digit read", ylabel="digit asked for")
        ax.tick_params(length=0, rotation=0)
    return fig


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
    with rc_context(STYLE):
        fig = new_figure(4.6)
        axes = fig.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
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
            ax.set(xlabel=x)
            ax.set_title(title, fontsize=11)
        axes[0].set(ylabel="read as asked")
        shown["real images"] = star
        fig.legend(shown.values(), shown, frameon=False, loc="outside lower center", ncols=2)
    return fig


def solver_curve(families: Mapping[str, Mapping[int, float]], real: float, y: str) -> Figure:
    """Quality against network evaluations, both on logarithmic axes, a line for each solver.

    families: solver -> evaluations of one sample -> the score named `y`; real: that of real images.
    """
    with rc_context(STYLE):
        fig = new_figure(4.2)
        ax = fig.add_subplot()
        for (name, points), colour, mark in zip(families.items(), COLOURS, "os^v", strict=False):
            ax.plot(list(points), list(points.values()), marker=mark, color=colour, label=name)
        ax.axhline(real, color="#222222", lw=1, ls="--", label="real images")
        ax.set(xscale="log", yscale="log", xlabel="network evaluations for one sample", ylabel=y)
        taken = sorted({n for points in families.values() for n in points})
        ax.set_xticks(taken, [str(n) for n in taken])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter("{x:g}")
        ax.legend(frameon=False)
    return fig


def distance_histogram(distances: Mapping[str, Tensor], x: str) -> Figure:
    """Outlined histograms (shares) of several sets of distances over common bins."""
    values = {name: np.asarray(d, float) for name, d in distances.items()}
    bins = np.linspace(0, max(d.max() for d in values.values()), 41)
    with rc_context(STYLE):
        fig = new_figure(3.6)
        ax = fig.add_subplot()
        for (name, d), colour in zip(values.items(), COLOURS, strict=False):
            ax.hist(d, bins, weights=np.full(len(d), 1 / len(d)), histtype="stepfilled",
                    alpha=0.35, color=colour)  # fmt: skip
            ax.hist(d, bins, weights=np.full(len(d), 1 / len(d)), histtype="step",
                    color=colour, lw=1.5, label=name)  # fmt: skip
        ax.set(xlabel=x, ylabel="share of images")
        ax.legend(frameon=False)
    return fig


def interval_bars(entries: Sequence[dict]) -> np.ndarray | None:
    """Lengths (2, N) of the intervals below and above the means; None where there are none."""
    if any(e["low"] is None for e in entries):
        return None
    return np.array([[e["mean"] - e["low"], e["high"] - e["mean"]] for e in entries]).T


# --- P2: faces ------------------------------------------------------------------------------


def strip(images: Tensor, alphas: Sequence[float], rows: Sequence[str] = ()) -> Figure:
    """Images (N, 3, H, W) side by side under their alphas, or several (`rows`, N, 3, H, W)."""
    images = torch.as_tensor(images)
    images = images[None] if images.ndim == 4 else images
    if images.shape[1] != len(alphas):
        raise ValueError(f"{images.shape[1]} images for {len(alphas)} alphas; must be equal")
    fig = labelled_grid(images, list(rows), [f"{alpha:g}" for alpha in alphas])
    fig.axes[0].set_xlabel(r"$\alpha$")
    fig.axes[0].xaxis.set_label_position("top")
    return fig


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


# --- P3: domain adaptation ------------------------------------------------------------------


def accuracy_table(rows: Mapping[str, Mapping[str, dict | None]]) -> str:
    """Markdown table of rows[row][column] = entry of a result file; in percent with intervals."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [_percent(row.get(column)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(entry: dict | None) -> str:
    if not entry:
        return "not run"
    text = f"{100 * entry['mean']:.2f}"
    if entry.get("low") is None:
        return text
    return f"{text} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"


# --- training and models --------------------------------------------------------------------


def loss_curve(losses: Sequence[float] | Mapping[str, Sequence[float]], log: bool = True) -> Figure:
    """Loss by step, its running mean in full colour; several runs as {name: losses}."""
    runs = losses if isinstance(losses, Mapping) else {"loss": losses}
    with rc_context(STYLE):
        fig = new_figure(3.6)
        ax = fig.add_subplot()
        for colour, (name, values) in zip(COLOURS, runs.items(), strict=False):
            values = np.asarray(values, float)
            window = max(1, len(values) // 50)
            smooth = np.convolve(values, np.ones(window) / window, "valid")
            ax.plot(np.arange(1, len(values) + 1), values, color=colour, alpha=0.2, lw=0.8)
            # A mean belongs to the middle of its window.
            ax.plot(np.arange(len(smooth)) + (window + 1) / 2, smooth, color=colour, label=name)
        if log and all(min(values) > 0 for values in runs.values()):
            ax.set_yscale("log")
        ax.set(xlabel="step", ylabel="loss")
        if len(runs) > 1:
            ax.legend(frameon=False)
    return fig


def architecture(model: nn.Module, *inputs: Tensor, depth: int = 2, name: str = "model"):
    """Drawing of a model by torchview, a graphviz graph that notebooks show as a picture.

    inputs: what `model` is called with. Without graphviz's program `dot` it prints one line that
    says so and returns None: a drawing must not stop a report.
    """
    if shutil.which("dot") is None:
        print("figures.architecture: no drawing, graphviz's program `dot` is not installed")
        return None
    from torchview import draw_graph

    graph = draw_graph(
        model, input_data=list(inputs), depth=depth, graph_name=name, device="cpu",
        expand_nested=True, hide_inner_tensors=True, save_graph=False,
    ).visual_graph  # fmt: skip
    graph.attr(bgcolor="white")
    return graph
