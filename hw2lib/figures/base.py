"""What all figures share: their look, grids of images, and the figures that no experiment owns.

One function a figure, drawn in one style; all return a matplotlib Figure. Figures are 7 inches wide
with text of 10 points and more, so that they read well in a 700 pixel column, and have a white
ground, so that they read the same in the dark theme. Images come as uint8 or as floats in [-1, 1],
always (..., 3, H, W); entries are those of result files.
"""

import io
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor, nn

if TYPE_CHECKING:
    from pandas import DataFrame
    from pandas.io.formats.style import Styler

# Words for the names of rows, scores and settings; else their own with blanks for "_".
TITLES = {
    "p_drop": "labels dropped, p", "frechet": "Fréchet distance", "a_distance": "A-distance",
    "kernel": "kernel distance", "eta": "η", "alpha": "α", "ddim": "DDIM", "ddpm": "DDPM",
    "dpmpp": "DPM-Solver++(2M)", "drawn": "generated", "real": "real images",
    "blurred": "real, blurred", "other noise": "another noise",
}  # fmt: skip

WIDTH = 7.0
# Okabe and Ito's colours (told apart by colour-blind readers too), filled up to ten.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7",
    "#56B4E9", "#8C564B", "#7F7F7F", "#BCBD22", "#222222",
)  # fmt: skip
styled = rc_context(  # stands over every function that draws
    {
        "font.size": 11,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


class Picture(Figure):
    """A Figure that notebooks show as a cell's value, once, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=150)  # scaled down in the page: sharp text
        return stream.getvalue()


def new_axes(
    height: float, columns: int = 1, rows: int = 1, **options
) -> tuple[Figure, list[Axes]]:
    """A new white figure, `height` inches high, and its axes row by row; options as in
    `Figure.subplots`."""
    fig = Picture(figsize=(WIDTH, height), layout="constrained", facecolor="white", dpi=100)
    return fig, list(fig.subplots(rows, columns, squeeze=False, **options).flat)


def to_array(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) uint8 or [-1, 1] -> (..., H, W, 3) floats in [0, 1]."""
    images = torch.as_tensor(images).detach().cpu()
    if images.dtype != torch.uint8:
        images = (images.float().clamp(-1, 1) + 1) * 127.5
    return (images.float() / 255).movedim(-3, -1).numpy()


@styled
def labelled_grid(
    images: Tensor,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_title: str = "",
    column_title: str = "",
) -> Figure:
    """Images (rows, columns, 3, H, W) with labels at the left and on top; [] for no labels."""
    rows, columns, _, h, w = images.shape
    fig, (ax,) = new_axes(min(9.0, (WIDTH - 0.6) * rows * h / (columns * w) + 0.5))
    gap = max(1, round(0.06 * w))
    space = ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0))
    x = np.pad(to_array(images), space, constant_values=1).swapaxes(1, 2)  # (R, H, C, W, 3)
    x = x.reshape(rows * (h + gap), columns * (w + gap), 3)[:-gap, :-gap]
    ax.imshow(x, interpolation="nearest")
    ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[], ylabel=row_title, xlabel=column_title)
    if len(row_labels):
        ax.set_yticks(np.arange(rows) * (h + gap) + (h - 1) / 2, row_labels)
    if len(column_labels):
        ax.set_xticks(np.arange(columns) * (w + gap) + (w - 1) / 2, column_labels)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    return fig


def interval_bars(entries: Sequence[dict]) -> np.ndarray | None:
    """Lengths (2, N) of the intervals below and above the means; None where there are none."""
    if any(e["low"] is None for e in entries):
        return None
    return np.array([[e["mean"] - e["low"], e["high"] - e["mean"]] for e in entries]).T


def strip(images: Tensor, alphas: Sequence[float], rows: Sequence[str]) -> Figure:
    """Images (rows, N, 3, H, W) side by side under their alphas, each row with its name."""
    return labelled_grid(images, rows, [f"{a:g}" for a in alphas], column_title=r"$\alpha$")


def log_log(ax: Axes, x: Sequence[int]) -> None:
    """Logarithmic axes with plain numbers: the x given, and several y in each decade."""
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(x, [str(n) for n in x])
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
    ax.yaxis.set_major_formatter("{x:g}")


def titled(table: "DataFrame", caption: str, names: Mapping[str, str] = TITLES) -> "Styler":
    """A table as a notebook shows it: with a caption, in words (`names` those of its rows), and
    without numbers of lines and without row, score or target where all lines have the same."""
    from pandas.io.formats.style import Styler

    same = [c for c in table if c in ("row", "score", "target") and table[c].nunique() == 1]
    table = table.drop(columns=same if len(table) > 1 else []).rename(columns=_words)
    shown = Styler(table, uuid=f"{crc32(caption.encode())}", cell_ids=False)
    shown.set_caption(caption).set_table_attributes('class="dataframe"')
    return shown.format(lambda value: _shown(value, names)).hide(axis="index")


def _words(name: str) -> str:
    return TITLES.get(name, name.replace("_", " "))


def _shown(value: object, names: Mapping[str, str]) -> str:
    """Four digits of a number, whole ones as they are; names and intervals of steps in words."""
    if isinstance(value, list):
        return " to ".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return names.get(value) or _words(value)


@styled
def confusions(matrices: Mapping[str, object], rows: str = "true digit") -> Figure:
    """One or two confusion matrices side by side; percent of each row's images.

    matrices: title -> counts (10, 10), columns: the digit read. Darkness grows with the square root
    of the share, so that errors of a few percent can be seen; below half a percent a cell is left
    blank, and so is a row without images. Raises ValueError for other shapes and numbers.
    """
    arrays = {title: np.asarray(m, np.float64) for title, m in matrices.items()}
    shapes = [a.shape for a in arrays.values()]
    if not 1 <= len(arrays) <= 2 or set(shapes) != {(10, 10)}:
        raise ValueError(f"matrices {shapes}; one or two of (10, 10) are needed")
    shades = LinearSegmentedColormap.from_list("shades", ["white", "#08306B"])
    fig, axes = new_axes(WIDTH / 2 + 0.5 if len(arrays) == 2 else 5.6, len(arrays))
    for ax, (title, counts) in zip(axes, arrays.items(), strict=True):
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        ax.pcolormesh(np.sqrt(shares), cmap=shades, vmin=0, vmax=1, edgecolors="0.85", lw=0.5)
        for (i, j), share in np.ndenumerate(shares):
            if share >= 0.005:
                ax.text(
                    j + 0.5, i + 0.5, f"{100 * share:.0f}", ha="center", va="center", fontsize=10,
                    color="white" if share > 0.44 else "black",  # equal contrast there
                )  # fmt: skip
        ax.set(title=title, xlabel="digit read", aspect="equal", ylim=(10, 0))
        ax.set_xticks(np.arange(10) + 0.5, range(10))
        ax.set_yticks(np.arange(10) + 0.5, range(10))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel(f"{rows}, percent of its images")
    return fig


@styled
def distance_histogram(distances: Mapping[str, Tensor], x: str) -> Figure:
    """Histograms (shares) of several sets of distances over common bins; `x` names the axis."""
    import seaborn

    values = {name: np.asarray(d, float) for name, d in distances.items()}
    fig, (ax,) = new_axes(3.6)
    seaborn.histplot(
        values, bins=40, binrange=(0, max(d.max() for d in values.values())), stat="probability",
        common_norm=False, element="step", alpha=0.35, palette=COLOURS[: len(values)], ax=ax,
    )  # fmt: skip
    ax.set(xlabel=x, ylabel="share of images", xlim=(0, None))
    return fig


@styled
def loss_curve(losses: Sequence[float]) -> Figure:
    """Loss by step, its running mean in full colour."""
    fig, (ax,) = new_axes(3.6)
    running_mean(ax, np.arange(1, len(losses) + 1), np.asarray(losses, float), COLOURS[0])
    ax.set(xlabel="step", ylabel="loss", yscale="log" if min(losses) > 0 else "linear")
    return fig


def running_mean(ax: Axes, step: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Values drawn faint, their mean over 2 % of the run in full colour."""
    taps = np.ones(window := max(1, len(values) // 50)) / window
    ax.plot(step, values, color=colour, alpha=0.2, lw=0.8)
    # A mean belongs to the middle of its window.
    middle, mean = (np.convolve(x, taps, "valid") for x in (step, values))
    ax.plot(middle, mean, color=colour)


def architecture(model: nn.Module, *inputs: Tensor, depth: int = 2):
    """Drawing of a model by torchview, a graphviz graph that notebooks show as a picture.

    inputs: what `model` is called with. Without graphviz's program `dot` it prints one line that
    says so and returns None: a drawing must not stop a report.
    """
    if shutil.which("dot") is None:
        print("figures.architecture: no drawing, graphviz's program `dot` is not installed")
        return None
    from torchview import draw_graph

    drawn = draw_graph(model, list(inputs), depth=depth, device="cpu", expand_nested=True)
    graph = drawn.visual_graph
    graph.attr(bgcolor="white")
    graph.graph_attr.pop("size", None)  # dot rounds the scale for it, and cuts two edges off
    return graph
