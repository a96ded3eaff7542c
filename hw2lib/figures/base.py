"""What all figures share: their look, grids of images, and the figures that no experiment owns.

One function a figure; all return a matplotlib Figure. Figures are 7 inches wide with text of 10
points and more, so that they read well in a 700 pixel column, and have a white ground, so that
they read the same in the dark theme. Images come as uint8 or as floats in [-1, 1], always
(..., 3, H, W); entries are those of result files.
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
