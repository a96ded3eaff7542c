"""The judge: a small CNN that reads digits and thereby scores samples.

    net = load()                               # the shipped weights
    labels = net.predict(images)               # uint8 (N, 3, 28, 28) -> int64 (N,)
    score = score_folder("samples")            # files {digit}_NNN.png -> accuracy with intervals

It is trained on MNIST-M's training digits only, for a fixed number of steps, and kept as the last
weight average. Its own accuracy on real test digits is part of its weights file, since an accuracy
of samples means little without the accuracy on real images.

It reads each image and its negative, which show the same digit, and goes by the mean of the two:
decided after a first look at the test digits (book/models.md); nothing else was chosen by them.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib.datasets.augment import random_shift
from hw2lib.datasets.digits import SIDE, DigitDomain, DigitSet, to_float
from hw2lib.datasets.files import folder_of, of_user, opened, reading
from hw2lib.device import device
from hw2lib.errors import UserError
from hw2lib.evaluators.base import Evaluator, Scoring
from hw2lib.io.parameters import Count, Share
from hw2lib.io.weights import Header
from hw2lib.metrics import accuracy_metric
from hw2lib.training import TrainConfig

_NAME = re.compile(r"([0-9])_\d{3,}\.png")


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Judge(Scoring):
    """CNN with 0.39 M parameters; logits (B, 10) of images (B, 3, 28, 28) in [-1, 1].

    Each image is standardised by its own mean and deviation, so that brightness and contrast of
    the background do not matter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),  # (B, 12, 14, 14): half the time, and reads no worse
            _block(12, 32),
            _block(32, 64),
            nn.MaxPool2d(2),  # (B, 64, 7, 7)
            _block(64, 128),
            _block(128, 128),
            nn.MaxPool2d(2),  # (B, 128, 3, 3)
            nn.Flatten(),
            nn.Linear(128 * 9, 128),
            nn.ReLU(),
        )
        self.head = nn.Linear(128, 10)

    def features(self, x: Tensor) -> Tensor:
        """The penultimate layer (B, 128): the space of the Frechet distance and of precision."""
        mean = x.mean((1, 2, 3), keepdim=True)
        deviation = x.std((1, 2, 3), keepdim=True).clamp_min(0.02)  # an image of one colour
        return super().features((x - mean) / deviation)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    @torch.inference_mode()
    def predict(self, images: Tensor, views: int = 2) -> Tensor:
        """Labels int64 (N,) on the CPU of images (N, 3, 28, 28), uint8 or floats in [-1, 1].

        The largest log p(digit | x) + log p(digit | -x), -x being the negative of x; with one view
        log p(digit | x) alone, which shows what the second brings.
        """
        self.eval()
        signs = (1, -1)[:views]
        return torch.cat([
            sum(self(sign * x).log_softmax(1) for sign in signs).argmax(1).cpu()
            for x in self.batches(images)
        ])  # fmt: skip


class Accuracy(BaseModel):
    """On real test images, with its interval."""

    mean: Share
    low: Share
    high: Share
    n: Count


class JudgeHeader(Header):
    """What the header of the judge's weights holds."""

    test_accuracy: Accuracy


JUDGE = Evaluator(
    "judge", "judge", Judge,
    {  # full: 4.7 passes over 60,000 digits, some eight minutes on one idle core
        "quick": TrainConfig(200, 64, lr=2e-3, schedule="cosine", warmup=20, ema=0.98),
        "full": TrainConfig(2200, 128, lr=3e-3, schedule="cosine", warmup=100, ema=0.99),
    },
    JudgeHeader,
)  # fmt: skip
load = JUDGE.load


def train(domain: DigitDomain, out: str | Path, **options: Any) -> Path:
    """Train on `domain.train`, test once on `domain.test`; options as in `Evaluator.train`.

    The header has the test accuracy with its interval, in two views and in one.
    """
    digits, test, where = domain.train, domain.test, device()
    images = digits.images.to(where)

    def loss(net: nn.Module, size: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(digits), (size,), generator=generator)
        x = to_float(random_shift(images[index.to(where)], generator))
        # A digit stays the same digit in other colours and in negative: flip each image's sign
        # half of the time, and give its colour channels one order for the batch.
        sign = torch.randint(2, (size, 1, 1, 1), generator=generator) * 2 - 1
        order = torch.randperm(3, generator=generator)
        x = x[:, order] * sign.to(where)
        return F.cross_entropy(net(x), digits.labels[index].to(where), label_smoothing=0.05)

    def measure(judge: Judge) -> dict:
        both, one = (
            accuracy_metric([judge.predict(test.images, n) == test.labels]) for n in (2, 1)
        )
        return {"domain": domain.name, "test_accuracy": both, "test_accuracy_one_view": one}

    return JUDGE.train(domain, loss, measure, out, **options)


@dataclass(frozen=True)
class Score:
    """How often the judge reads the digit that was asked for."""

    accuracy: dict  # as in result files: values, mean, low, high, n, unit
    by_digit: dict[int, dict]  # the same for each digit that was asked for
    confusion: Tensor  # int64 (10, 10), rows: asked for, columns: read

    def text(self) -> str:
        """A table of plain text with 95 % intervals."""
        lines = ["digit     n  accuracy  95 % interval"]
        for name, m in {**self.by_digit, "all": self.accuracy}.items():
            interval = f"{m['low']:.3f} to {m['high']:.3f}"
            lines.append(f"{name:>5} {m['n']:>5}  {m['mean']:>8.3f}  {interval}")
        return "\n".join(lines)


def score(images: Tensor, labels: Tensor, judge: Judge | None = None) -> Score:
    """Score images (N, 3, 28, 28), uint8 or in [-1, 1], that were asked to show `labels` (N,)."""
    read = (judge or load()).predict(images)
    labels = labels.cpu().long()
    correct = read == labels
    asked = labels.unique().tolist()
    by_digit = {digit: accuracy_metric([correct[labels == digit]]) for digit in asked}
    confusion = torch.bincount(labels * 10 + read, minlength=100).reshape(10, 10)
    return Score(accuracy_metric([correct]), by_digit, confusion)


def score_folder(folder: str | Path, judge: Judge | None = None) -> Score:
    """Score the files `{digit}_NNN.png` (28x28 RGB) of `folder`.

    Raises UserError when the folder is missing or empty, or a file's name or content is wrong.
    """
    samples = read_folder(folder)
    return score(samples.images, samples.labels, judge)


def read_folder(folder: str | Path) -> DigitSet:
    """The images `{digit}_NNN.png` of a folder in the order of their names; errors as above."""
    folder = folder_of(folder, "one with files like 3_001.png")
    files = sorted(file for file in folder.iterdir() if of_user(file.name))
    if not files:
        raise UserError(f"folder {folder} is empty; it should hold files like 3_001.png")
    images, labels = [], []
    for file in files:
        match = _NAME.fullmatch(file.name)
        if not match:
            raise UserError(f"{file} is no sample's name; digit_number.png, as 3_001.png, is right")
        with reading(file, f"a picture of {SIDE}x{SIDE} pixels, RGB,"), opened(file) as image:
            if image.size != (SIDE, SIDE) or image.mode != "RGB":
                raise ValueError(f"it is {image.size[0]}x{image.size[1]} {image.mode}")
            images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        labels.append(int(match[1]))
    return DigitSet(torch.stack(images), torch.tensor(labels))
