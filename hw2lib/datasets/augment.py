"""Random changes of training images, vectorised: no per-image Python.

`prepare` is what happens to a digit before the DANN network sees it: edits of the source digit,
warp, blur, standardisation, intensity, noise, in this order. Evaluation only standardises. A big
part of what is called adaptation is done here, so every row of the table gets the same treatment of
each domain (see `experiments.dann`).

Everything random is drawn from the generator that is passed in, a CPU generator.
"""

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

Range = tuple[float, float]


@dataclass(frozen=True)
class Handling:
    """Ranges of the augmentation of one domain; the defaults only standardise."""

    standardise: bool = True  # each image by its own mean and deviation; else x -> 4 x - 2
    zoom: Range = (1.0, 1.0)  # magnification of the height
    aspect: Range = (1.0, 1.0)  # width over height
    rotation: float = 0.0  # +- degrees
    shear: float = 0.0  # +-
    shift: float = 0.0  # +- pixels
    blur: float = 0.0  # largest; 1: deviation of 1 pixel, 2: of 2.2 pixels
    flip: float = 0.0  # probability of a sign flip after standardisation
    scale: Range = (1.0, 1.0)  # contrast after standardisation
    offset: float = 0.0  # +- after standardisation
    noise: float = 0.0  # largest standard deviation
    # Edits of the digit itself. The first two need the stroke mask.
    thickness: float = 0.0  # probability of a stroke one pixel thicker or thinner
    neighbours: float = 0.0  # probability of another digit at each side
    repaint: float = 0.0  # probability of free colours for digit and ground
    plates: float = 0.0  # probability that a repainted digit lies on a plate
    glyphs: bool = False  # digits white on black: their brightness is the mask that repaint needs

    def still(self) -> Self:
        """Nothing random: what evaluation sees."""
        return Handling(standardise=self.standardise)

    def without(self, *groups: str) -> Self:
        """The same with some of GROUPS turned off."""
        off = {name: _OFF[name] for group in groups for name in GROUPS[group]}
        return replace(self, **off)


GROUPS = {  # what an experiment turns off together
    "standardise": ("standardise",),
    "intensity": ("flip", "scale", "offset", "noise"),
    "geometry": ("zoom", "aspect", "rotation", "shear", "shift"),
    "blur": ("blur",),
    "thickness": ("thickness",),
    "distractors": ("neighbours",),
    "repaint": ("repaint", "glyphs", "plates"),
}
_OFF = {field.name: field.default for field in fields(Handling)} | {"standardise": False}
PLAIN = Handling()

_LOOK = {"blur": 1.0, "flip": 0.5, "scale": (0.5, 1.5), "offset": 0.3}
_TARGET = Handling(zoom=(0.9, 1.1), aspect=(0.95, 1.05), rotation=4, shear=0.08, shift=2, **_LOOK)
_SOURCE = Handling(zoom=(0.95, 1.5), rotation=10, shear=0.2, shift=2.5, thickness=0.3, **_LOOK)
# target -> (handling of the source, handling of the target), the same in all rows. How the ranges
# came about, and how blind that was to test images, is told in book/dann-appendix.md.
HANDLING = {
    "svhn": (
        replace(
            _SOURCE, zoom=(0.6, 1.5), aspect=(0.65, 1.0), blur=2.0, neighbours=0.5, repaint=0.8,
            plates=0.5, noise=0.15,
        ),
        replace(_TARGET, noise=0.15),
    ),
    # Not repainted, by the information of the DANN row, which fell under it.
    "usps": (replace(_SOURCE, aspect=(0.8, 1.2)), _TARGET),
    "mnistm": (replace(_TARGET, repaint=0.8, glyphs=True), _TARGET),
}  # fmt: skip
HANDLING["uci"] = HANDLING["usps"]  # frozen so before its first run


def standardise(x: Tensor) -> Tensor:
    """(x - mean) / (sd + .02) over each image; x (B, C, H, W) in [0, 1]."""
    mean = x.mean((1, 2, 3), keepdim=True)
    sd = (x - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
    return (x - mean) / (sd + 0.02)


def prepare(
    images: Tensor,
    handling: Handling = PLAIN,
    generator: torch.Generator | None = None,
    *,
    masks: Tensor | None = None,
    channels: int = 1,
) -> Tensor:
    """uint8 (B, 3, 28, 28), or uint8 masks beside it, -> network input (B, channels, 28, 28); one
    channel is the mean of the colours."""
    x = images.float().div_(255)  # [0, 1]
    x = x.mean(1, keepdim=True) if channels == 1 else x
    if handling == handling.still():
        return scaled(x, handling)
    x = edit(x, None if masks is None else masks > 0, handling, generator)
    x = warp(x, handling, generator)
    if handling.blur:
        strength = uniform(generator, len(x), (0, handling.blur)).to(x)
        x = x + strength.clamp(max=1) * (smooth(x) - x)
        if handling.blur > 1:
            x = x + (strength - 1).clamp(min=0) * (smooth(x, 2) - x)
    return intensity(scaled(x, handling), handling, generator)


def scaled(x: Tensor, handling: Handling) -> Tensor:
    """[0, 1] -> mean near 0 and deviation near 1, by each image or by one rule for all."""
    return standardise(x) if handling.standardise else 4 * x - 2


# --- edits of the source digit -----------------------------------------------------------------


def edit(x: Tensor, mask: Tensor | None, handling: Handling, generator: torch.Generator) -> Tensor:
    """Change stroke, neighbours and colours of the digits x (B, C, 28, 28) in [0, 1].

    MNIST-M shows 1 - photo inside the stroke and the photo outside, so a changed stroke is made by
    inverting the pixels where the old and the new mask (B, 1, 28, 28) differ. Without a mask only
    the colours of `glyphs` can be changed.
    """
    photo, alpha = None, x[:, :1]
    if mask is not None:
        photo = torch.where(mask, 1 - x, x)
        mask = _thicker(mask, handling, generator)
        mask = _with_neighbours(mask, handling, generator)
        x = torch.where(mask, 1 - photo, photo)
        alpha = mask.to(x)
    if not handling.repaint or (mask is None and not handling.glyphs):
        return x
    painted = repaint(x, alpha, photo, handling.plates, generator)
    return torch.where(chosen(generator, len(x), handling.repaint).to(x.device), painted, x)


def _thicker(mask: Tensor, handling: Handling, generator: torch.Generator) -> Tensor:
    """Half of the chosen strokes grow by a pixel, the others shrink."""
    if not handling.thickness:
        return mask
    m = mask.float()
    grown = F.max_pool2d(m, (1, 2), 1, (0, 1))[..., :28]
    grown = F.max_pool2d(grown, (2, 1), 1, (1, 0))[..., :28, :] > 0
    thin = -F.max_pool2d(-m, (1, 2), 1, (0, 1))[..., :28] > 0
    thin = torch.where(thin.sum((1, 2, 3), keepdim=True) > 20, thin, mask)  # keep thin digits
    bigger = chosen(generator, len(mask), 0.5).to(mask.device)
    pick = chosen(generator, len(mask), handling.thickness).to(mask.device)
    return torch.where(pick, torch.where(bigger, grown, thin), mask)


def _with_neighbours(mask: Tensor, handling: Handling, generator: torch.Generator) -> Tensor:
    """Other strokes of the batch 9 to 18 pixels to the left and to the right, each with the
    probability `neighbours`, never over the digit or touching it."""
    if not handling.neighbours:
        return mask
    n, width = len(mask), mask.shape[-1]
    near = F.max_pool2d(mask.float(), 3, 1, 1) > 0
    full = mask
    for side in (-1, 1):
        other = mask[torch.randperm(n, generator=generator).to(mask.device)]
        distance = torch.randint(9, 19, (n, 1), generator=generator)
        column = (torch.arange(width) - distance * side).to(mask.device)  # (B, 28): its origin
        inside = ((column >= 0) & (column < width))[:, None, None]
        index = column.clamp(0, width - 1)[:, None, None].expand_as(mask)
        pick = chosen(generator, n, handling.neighbours).to(mask.device)
        full = full | (other.gather(3, index) & inside & ~near & pick)
    return full


def repaint(
    x: Tensor, alpha: Tensor, photo: Tensor | None, plates: float, generator: torch.Generator
) -> Tensor:
    """alpha * ink + (1 - alpha) * ground + texture, with free ink and ground for each image.

    The texture is the weakened photo (B, C, H, W) where there is one, else random (`clouds`).
    A share `plates` has another free colour outside a plate around the middle.
    """
    n, channels, size = len(x), x.shape[1], x.shape[-2:]
    ink, ground, outside = (
        torch.rand(n, channels, 1, 1, generator=generator).to(x) for _ in range(3)
    )
    if plates:
        off = ~plate(n, size[0], generator).to(x.device) & chosen(generator, n, plates).to(x.device)
        ground = torch.where(off, outside, ground)
    if photo is not None:
        texture = uniform(generator, n, (0, 0.6)).to(x) * (photo - photo.mean((2, 3), keepdim=True))
        return (alpha * ink + (1 - alpha) * ground + texture).clamp(0, 1)
    # The ink of glyphs is soft; a threshold makes it bold and sharp.
    bold = (alpha > uniform(generator, n, (0, 0.7)).to(x)).to(x)
    alpha = torch.where(chosen(generator, n, 0.5).to(x.device), bold, alpha)
    within, around = (clouds(n, channels, size[0], generator).to(x) for _ in range(2))
    one = chosen(generator, n, 0.5).to(x.device)  # the same texture under the ink and around it
    within = torch.where(one, around, within)
    return (alpha * (ink + within) + (1 - alpha) * (ground + around)).clamp(0, 1)


def clouds(n: int, channels: int, size: int, generator: torch.Generator) -> Tensor:
    """(n, channels, size, size) random textures around 0: noise at five scales, each with its own
    strength in each image, from smooth shading to grain."""
    total = torch.zeros(n, channels, size, size)
    for cells in (3, 5, 9, 15, size):
        # Mostly shading: the colours of a surface change less than its brightness.
        field = torch.randn(n, 1, cells, cells, generator=generator)
        field = field + 0.3 * torch.randn(n, channels, cells, cells, generator=generator)
        strength = 0.3 * torch.rand(n, 1, 1, 1, generator=generator) ** 2
        total += strength * F.interpolate(field, (size, size), mode="bilinear", align_corners=True)
    return total


def plate(n: int, size: int, generator: torch.Generator) -> Tensor:
    """bool (n, 1, size, size), true on a plate: |u / a|^p + |v / b|^p <= 1 around the middle,

    with half axes a, b of 8 to 16 pixels and p = 2 (an ellipse) or 16 (all but a rectangle)."""
    u = torch.arange(size) - (size - 1) / 2
    a, b = uniform(generator, n, (8, 16)), uniform(generator, n, (8, 16))
    p = torch.where(chosen(generator, n, 0.5), 2.0, 16.0)
    return (u.view(1, 1, 1, -1) / a).abs() ** p + (u.view(1, 1, -1, 1) / b).abs() ** p <= 1


# --- geometry and intensity --------------------------------------------------------------------


def warp(x: Tensor, handling: Handling, generator: torch.Generator) -> Tensor:
    """Zoom, aspect, rotation, shear and shift in one bilinear resampling, edges reflected."""
    n = len(x)

    def draw(low: float, high: float) -> Tensor:
        return uniform(generator, n, (low, high)).flatten()

    height = draw(*handling.zoom)
    width = height * draw(*handling.aspect)
    angle = torch.deg2rad(draw(-handling.rotation, handling.rotation))
    shear = draw(-handling.shear, handling.shear)
    pixel = 2 / x.shape[-1]  # the image reaches from -1 to 1
    across, down = (pixel * draw(-handling.shift, handling.shift) for _ in range(2))
    cos, sin = angle.cos(), angle.sin()
    # Where each output pixel comes from: rotate, shear, then undo the zoom.
    theta = torch.stack([
        cos / width, (shear * cos - sin) / width, across,
        sin / height, (shear * sin + cos) / height, down,
    ], 1).view(n, 2, 3).to(x)  # fmt: skip
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def smooth(x: Tensor, step: int = 1) -> Tensor:
    """Binomial filter of 5x5 pixels `step` apart (deviation `step` pixels), edges reflected."""
    tap = torch.tensor([1.0, 4, 6, 4, 1], device=x.device, dtype=x.dtype) / 16
    channels = x.shape[1]
    x = F.pad(x, (2 * step,) * 4, mode="reflect")
    for shape in ((1, 1, 1, 5), (1, 1, 5, 1)):
        kernel = tap.view(shape).repeat(channels, 1, 1, 1)
        x = F.conv2d(x, kernel, groups=channels, dilation=step)
    return x


def intensity(x: Tensor, handling: Handling, generator: torch.Generator) -> Tensor:
    """sign * scale * x + offset + noise on standardised images x (B, C, H, W)."""
    n = len(x)
    factor = uniform(generator, n, handling.scale)
    factor = torch.where(chosen(generator, n, handling.flip), -factor, factor)
    x = x * factor.to(x) + uniform(generator, n, (-handling.offset, handling.offset)).to(x)
    if handling.noise:
        sigma = uniform(generator, n, (0, handling.noise)).to(x)
        x = x + sigma * torch.randn(x.shape, generator=generator).to(x)
    return x


def uniform(generator: torch.Generator, n: int, limits: Range) -> Tensor:
    """(n, 1, 1, 1) uniform between the limits, on the CPU."""
    low, high = limits
    return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)


def chosen(generator: torch.Generator, n: int, probability: float) -> Tensor:
    """(n, 1, 1, 1) bool, each true with the probability, on the CPU."""
    return torch.rand(n, 1, 1, 1, generator=generator) < probability


# --- for generators and evaluators ----------------------------------------------------------------


def random_shift(images: Tensor, generator: torch.Generator, shift: int = 2) -> Tensor:
    """Shift each image by up to `shift` pixels in each direction, edges repeated.

    images (B, 3, 28, 28), uint8 or float, any device; same type and device out. The shifts come
    from `generator` (CPU), so that a resumed training draws the same ones.
    """
    b, c, h, w = images.shape
    offset = torch.randint(-shift, shift + 1, (2, b, 1), generator=generator).to(images.device)
    rows = (torch.arange(h, device=images.device) + offset[0]).clamp(0, h - 1)  # (B, H)
    columns = (torch.arange(w, device=images.device) + offset[1]).clamp(0, w - 1)  # (B, W)
    batch = torch.arange(b, device=images.device)[:, None, None, None]
    channel = torch.arange(c, device=images.device)[:, None, None]
    return images[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def exchange_backgrounds(images: Tensor, masks: Tensor, generator: torch.Generator) -> Tensor:
    """Each digit on the background of another of the batch: as many images of the recipe again.

    images uint8 (B, 3, 28, 28) of MNIST-M with masks (B, 1, 28, 28). Ink is the background with
    every bit turned (see `mnistm`): turned back it gives the background under the digit.
    """
    ink = masks * 255
    backgrounds = images ^ ink  # (B, 3, 28, 28)
    return backgrounds[torch.randperm(len(images), generator=generator)] ^ ink
