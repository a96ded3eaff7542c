"""Figures as the book shows them, and a picture of a digit."""

import io

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image


def images(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def render(fig: Figure) -> np.ndarray:
    """Pixels of the figure as the book shows it; checks what holds for every figure."""
    assert isinstance(fig, Figure)
    assert fig.get_figwidth() * fig.dpi == 700
    stream = io.BytesIO()
    fig.savefig(stream, format="png")
    texts = [t for t in fig.findobj(lambda a: hasattr(a, "get_fontsize")) if t.get_text()]
    assert min((t.get_fontsize() for t in texts), default=10) >= 9.5
    pixels = np.asarray(Image.open(stream).convert("RGB"))
    assert (pixels[0] == 255).all()  # white ground, so that a dark page does not swallow text
    return pixels


def ticks(labels):
    return [label.get_text() for label in labels]


def seven(side: int = 28) -> np.ndarray:
    """uint8 (side, side): a light 7 on a dark ground, from 0 to 255."""
    x = np.zeros((side, side), np.uint8)
    a, b = side // 5, side // 8
    x[a : a + b, a:-a] = 255
    x[a:-a, -a - b : -a] = 200
    return x
