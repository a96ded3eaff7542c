"""Stand-ins for the data sets, made without any file, so that everything runs anywhere.

They look roughly like what they stand for and are far easier; no number measured on them says
anything about the real data sets, and every page made from them says so.

    mnist    scikit-learn's handwritten digits (8x8), enlarged
    mnistm   the same over scikit-learn's two photographs, by the recipe of `mnistm`
    usps     the same, filling the frame, blurred as 16x16 scans are
    svhn     digits drawn with the fonts that matplotlib ships, coloured, with neighbours and noise
    faces    cartoon faces drawn with Pillow

scikit-learn's digits are in the order of their writers: the last 500 are for test, other writers
than most of the first. Photographs are cut in two, left for train and right for test.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torch.nn import functional as F

from hw2lib.datasets.mnistm import SIDE, blend

TEST = 500  # images of each test set
FONTS = ("Sans", "Sans-Bold", "Sans-Oblique", "Sans-BoldOblique", "Serif", "Serif-Bold",
         "Serif-Italic", "SansMono", "SansMono-Bold", "SansMono-Oblique")  # fmt: skip
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # images, labels, masks


@cache
def digits(name: str, parts: tuple[str, ...] = ("train", "test")) -> tuple[Arrays, ...]:
    """Parts of a domain: images uint8 (N, 3, 28, 28), labels int64 (N,), masks or None of each."""
    make = {"mnist": _mnist, "mnistm": _mnistm, "usps": _usps, "svhn": _svhn}[name]
    return tuple(make(part) for part in parts)


def scans() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits, writer by writer: float (1797, 8, 8) in [0, 1], int64 (1797,)."""
    from sklearn.datasets import load_digits  # here, so that training needs no scikit-learn

    data = load_digits()
    return data.images / 16, data.target.astype(np.int64)


def _scans(part: str) -> tuple[Tensor, np.ndarray]:
    where = slice(None, -TEST) if part == "train" else slice(-TEST, None)
    images, labels = scans()
    return torch.from_numpy(images[where]).float()[:, None], labels[where]


def _warp(images: Tensor, seed: int) -> Tensor:
    """Small random rotation, shear, scale and shift of each image, float (N, C, H, W)."""
    rng = np.random.default_rng(seed)
    n = len(images)
    angle, shear = rng.uniform(-0.17, 0.17, n), rng.uniform(-0.15, 0.15, n)
    scale, shift = rng.uniform(0.9, 1.15, n), rng.uniform(-0.1, 0.1, (2, n))
    sin, cos = np.sin(angle), np.cos(angle)
    rows = [[cos * scale, (shear - sin) * scale, shift[0]], [sin * scale, cos * scale, shift[1]]]
    theta = torch.from_numpy(np.array(rows).transpose(2, 0, 1)).float()  # (N, 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _glyphs(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits in MNIST's manner: 20x20 in a frame of 28x28, clear edges; train has each 3 times."""
    scans, labels = _scans(part)
    times = 3 if part == "train" else 1
    images = F.interpolate(scans, (20, 20), mode="bicubic", align_corners=False)
    images = F.pad(images, (4, 4, 4, 4)).repeat(times, 1, 1, 1)
    images = _warp(images, seed=10 if part == "train" else 11)
    images = ((images - 0.35) * 2.5).clamp(0, 1)  # a bicubic edge is soft, a pen's is not
    return (images * 255).round().to(torch.uint8)[:, 0].numpy(), np.tile(labels, times)


def _mnist(part: str) -> Arrays:
    glyphs, labels = _glyphs(part)
    return np.repeat(glyphs[:, None], 3, axis=1), labels, None


def _mnistm(part: str) -> Arrays:
    from sklearn.datasets import load_sample_images

    glyphs, labels = _glyphs(part)
    half = slice(None, 320) if part == "train" else slice(320, None)
    photos = [photo[:, half] for photo in load_sample_images().images]  # (427, 320, 3) each
    images, masks = blend(glyphs, photos, seed=20 if part == "train" else 21)
    return images, labels, masks


def _usps(part: str) -> Arrays:
    scans, labels = _scans(part)
    images = F.interpolate(scans, (16, 16), mode="bicubic", align_corners=False)
    images = _warp(images, seed=30 if part == "train" else 31).clamp(0, 1)
    images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return np.repeat((images * 255).round().to(torch.uint8).numpy(), 3, axis=1), labels, None


def _svhn(part: str) -> Arrays:
    count = 2000 if part == "train" else TEST
    rng = np.random.default_rng(40 if part == "train" else 41)
    labels = rng.permutation(np.arange(count) % 10).astype(np.int64)
    fonts = _fonts((20, 23, 26))
    frames = np.empty((count, SIDE, SIDE), np.uint8)
    for i, digit in enumerate(labels):
        frame = Image.new("L", (SIDE, SIDE))
        draw, font = ImageDraw.Draw(frame), fonts[rng.integers(len(fonts))]
        gap = int(rng.integers(15, 20))
        for offset in (-gap, 0, gap):  # house numbers have neighbours left and right
            if offset == 0 or rng.random() < 0.5:
                sign = digit if offset == 0 else rng.integers(10)
                draw.text((14 + offset, 14), str(sign), fill=255, font=font, anchor="mm")
        frames[i] = np.asarray(frame)
    ink = _warp(torch.from_numpy(frames)[:, None].float() / 255, int(rng.integers(1 << 30))).numpy()
    paper = rng.uniform(0.1, 0.9, (count, 3, 1, 1))
    step = rng.uniform(0.3, 0.6, (count, 1, 1, 1)) * np.where(paper.mean(1) < 0.5, 1, -1)[:, None]
    pen = paper + step + rng.normal(0, 0.1, (count, 3, 1, 1))
    slope = rng.normal(0, 0.15, (count, 1, 2, 1)) @ np.ones((1, SIDE))  # light falls unevenly
    ramp = np.linspace(-1, 1, SIDE)
    light = slope[:, :, :1] * ramp + slope[:, :, 1:] * ramp[:, None]
    images = paper * (1 - ink) + pen * ink + light + rng.normal(0, 0.04, (count, 3, SIDE, SIDE))
    return (images.clip(0, 1) * 255).round().astype(np.uint8), labels, None


def _fonts(sizes: tuple[int, ...]) -> list[ImageFont.FreeTypeFont]:
    """matplotlib's DejaVu fonts in these sizes."""
    from matplotlib import get_data_path

    folder = Path(get_data_path()) / "fonts" / "ttf"
    files = [str(folder / f"DejaVu{name}.ttf") for name in FONTS]
    return [ImageFont.truetype(file, size) for file in files for size in sizes]


SKIN = ((255, 224, 196), (241, 194, 156), (224, 172, 125), (198, 134, 92), (141, 85, 54))
HAIR = ((32, 26, 24), (74, 48, 34), (120, 76, 40), (190, 150, 90), (150, 150, 154))


def faces(count: int = 512, side: int = 64) -> np.ndarray:
    """Drawn faces, uint8 (count, 3, side, side); image i is the same whatever the count."""
    pictures = [np.asarray(_face(np.random.default_rng([50, i]), side)) for i in range(count)]
    return np.stack(pictures).transpose(0, 3, 1, 2).copy()


def _face(rng: np.random.Generator, side: int) -> Image.Image:
    """Background, hair, neck, head, eyes, brows, nose, mouth - in units of 1/100 of the side."""
    zoom = 2 * side / 100  # twice the size, for smooth edges
    image = Image.new("RGB", (2 * side, 2 * side), tuple(int(v) for v in rng.integers(90, 230, 3)))
    draw = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, rx: float, ry: float, fill) -> None:
        draw.ellipse([zoom * v for v in (x - rx, y - ry, x + rx, y + ry)], fill=fill)

    skin, hair = SKIN[rng.integers(len(SKIN))], HAIR[rng.integers(len(HAIR))]
    shirt = tuple(int(v) for v in rng.integers(40, 220, 3))
    shade = tuple(int(v * 0.8) for v in skin)
    x, y = rng.normal(50, 2), rng.normal(54, 2)
    wide, tall, eye = rng.uniform(21, 26), rng.uniform(27, 32), rng.uniform(8.5, 11)
    length = rng.uniform(0, 26) if rng.random() < 0.5 else 0.0  # long hair falls beside the face
    ellipse(x, y - 8 + length / 2, wide + 6, tall + length / 2 + 1, hair)
    ellipse(x, 108, 42, 22, shirt)
    ellipse(x, y + tall - 2, 10, 16, shade)
    ellipse(x, y, wide, tall, skin)
    ellipse(x + rng.normal(0, 6), y - tall + 4, wide * 0.85, rng.uniform(7, 11), hair)
    look = rng.normal(0, 1.2)
    for sign in (-1, 1):
        ellipse(x + sign * eye, y - 5, 5, rng.uniform(2.5, 3.5), (250, 250, 250))
        ellipse(x + sign * eye + look, y - 5, 2.4, 2.6, (50, 36, 30))
        brow = [x + sign * eye - 5, y - 12, x + sign * eye + 5, y - 12 + rng.normal(0, 1)]
        draw.line([zoom * v for v in brow], fill=hair, width=round(2 * zoom))
    ellipse(x, y + 4, 2.6, 4, shade)
    smile, lips = rng.uniform(4, 10), (190, 70, 72)
    box = [zoom * v for v in (x - 9, y + 14 - smile, x + 9, y + 14 + smile)]
    draw.chord(box, 20, 160, fill=lips)
    image = image.filter(ImageFilter.GaussianBlur(1))
    return image.resize((side, side), Image.Resampling.BOX)
