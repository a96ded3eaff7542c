"""The feature network in which faces are compared: trained here, without labels, on faces alone.

    net = load()                                   # the shipped weights
    frechet_distance(net.embed(samples), net.embed(held_out))

64 numbers from one image, by three tasks that together ask for all that a viewer sees. Two heads
are linear and read back from the features

    the picture   the image at 16x16 pixels: colours, pose, light
    the texture   in each cell of an 8x8 grid, the strength of the finest and of the next coarser
                  detail: sharp or soft skin, hair, edges

and a third tells which of a batch's views show the same photograph, moved, mirrored and tinted
(instance discrimination, Chen et al. 2020, eq. 1): what makes a face this one. No network of this
project is tuned against it, and it is trained on the images that the face model is trained on,
never on the held-out ones.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib.datasets import faces
from hw2lib.datasets.augment import random_shift
from hw2lib.datasets.digits import to_float, to_uint8
from hw2lib.device import device
from hw2lib.evaluators.base import Evaluator, Scoring
from hw2lib.training import TrainConfig

FEATURES = 64
SAME, TEMPERATURE = 0.1, 0.2  # weight of the third task beside the others; sharpness of its softmax


class FaceFeatures(Scoring):
    """CNN on plain pixels, without normalisation of the image; 64 features of (B, 3, 64, 64)."""

    layout = torch.contiguous_format
    side, batch = faces.SIDE, 250

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out, kernel, stride in ((3, 64, 8, 4), (64, 128, 3, 2), (128, 192, 3, 2)):
            layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 3)]
            layers += [nn.GroupNorm(8, c_out), nn.SiLU()]  # 16x16, 8x8, 4x4
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192 * 16, FEATURES))
        self.picture = nn.Linear(FEATURES, 3 * 16 * 16)
        self.texture = nn.Linear(FEATURES, 2 * 8 * 8)
        self.identity = nn.Sequential(nn.Linear(FEATURES, 128), nn.SiLU(), nn.Linear(128, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Picture (B, 3, 16, 16), texture (B, 2, 8, 8), direction (B, 64) of length one."""
        f = self.features(x)
        picture = self.picture(f).unflatten(1, (3, 16, 16))
        texture = self.texture(f).unflatten(1, (2, 8, 8))
        return picture, texture, F.normalize(self.identity(f), dim=1)

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """As of every network that scores; images may be larger by a whole factor, and are averaged
        down. What a PNG file would hold is compared: 256 values."""
        factor = max(1, images.shape[-1] // self.side)
        if images.shape[1:] != (3, factor * self.side, factor * self.side):
            factor = 1  # what is refused below
        for part in images.split(self.batch):
            x = to_float(part if part.dtype == torch.uint8 else to_uint8(part))
            yield from super().batches(F.avg_pool2d(x, factor))


def texture(x: Tensor) -> Tensor:
    """Strength of detail (B, 2, 8, 8) of images (B, 3, 64, 64) in [-1, 1].

    Of grey values: what is lost by halving the resolution, and by halving it again; the logarithm
    of the root mean square in each cell.
    """
    grey, bands = x.mean(1, keepdim=True), []
    for cell in (8, 4):
        small = F.avg_pool2d(grey, 2)
        lost = grey - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        bands.append(F.avg_pool2d(lost.square(), cell).sqrt())
        grey = small
    return (torch.cat(bands, 1) + 0.01).log()


def view(images: Tensor, generator: torch.Generator) -> Tensor:
    """Floats (B, 3, 64, 64): uint8 images moved by up to 4 pixels, half of them mirrored, each
    colour made stronger or weaker and lighter or darker."""
    x = to_float(random_shift(images, generator, 4))
    mirrored = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
    x = torch.where(mirrored, x.flip(3), x)
    gain, offset = torch.rand(2, len(x), 3, 1, 1, generator=generator) - 0.5
    return x * (1 + 0.4 * gain) + 0.4 * offset


def same_loss(a: Tensor, b: Tensor) -> Tensor:
    """-log softmax that row i of a (B, D) finds row i of b among all others, both ways.

    -log(exp(a_i b_i / T) / sum_j exp(a_i b_j / T)), rows of length one, T the temperature.
    """
    likeness = a @ b.T / TEMPERATURE
    right = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(likeness, right) + F.cross_entropy(likeness.T, right)) / 2


FACE_FEATURES = Evaluator(
    "face-features", "face_features", FaceFeatures,
    {  # a step sees each image of its batch twice
        "quick": TrainConfig(60, 32, lr=2e-3, schedule="cosine", warmup=10, ema=0.9, seed=1),
        "full": TrainConfig(1200, 64, lr=2e-3, schedule="cosine", warmup=100, ema=0.99, seed=1),
    },
)  # fmt: skip
load = FACE_FEATURES.load


def train(data: faces.FaceSet, out: str | Path, **options: Any) -> Path:
    """Train on all but the held-out faces; options as in `Evaluator.train`.

    The header has what `tested` says of the held-out faces.
    """
    where, (images, held_out) = device(), faces.split(data)

    def loss(net: nn.Module, size: int, generator: torch.Generator) -> Tensor:
        some = images[torch.randint(len(images), (size,), generator=generator)]
        x = torch.cat([view(some, generator), view(some, generator)]).to(where)
        picture, details, directions = (answer.float() for answer in net(x))
        error = F.mse_loss(picture, F.avg_pool2d(x, 4)) + F.mse_loss(details, texture(x))
        return error + SAME * same_loss(*directions.chunk(2))

    def measure(net: FaceFeatures) -> dict:
        return {"held_out": len(held_out), **tested(net, held_out)}

    return FACE_FEATURES.train(data, loss, measure, out, **options)


@torch.inference_mode()
def tested(net: FaceFeatures, held_out: Tensor, seed: int = 0) -> dict[str, float]:
    """On held-out uint8 faces (N, 3, 64, 64): variance explained, and views found again."""
    where = net.picture.weight.device
    x = to_float(held_out).to(where)
    other = view(held_out, torch.Generator().manual_seed(seed)).to(where)
    answers = [net(part) for part in x.split(250)]
    picture, details, direction = (torch.cat(parts) for parts in zip(*answers, strict=True))
    seen = torch.cat([net(part)[2] for part in other.split(250)])
    found = (seen @ direction.T).argmax(1).cpu() == torch.arange(len(x))
    return {
        "picture_explained": _explained(picture, F.avg_pool2d(x, 4)),
        "texture_explained": _explained(details, texture(x)),
        "found_again": round(found.double().mean().item(), 4),
    }


def _explained(answer: Tensor, truth: Tensor) -> float:
    """1 - squared error / variance."""
    error = (answer - truth).square().mean() / (truth - truth.mean(0)).square().mean()
    return round(1 - error.item(), 4)
