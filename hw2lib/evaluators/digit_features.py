"""The digit features: a second network, in whose features digits are compared with real ones.

    net = load()                                        # the shipped weights
    real = Reference.of(net.embed(domain.test.images), n=1000)
    compare(net.embed(samples), real)                   # frechet, kernel, precision, recall

The judge scores what a digit says and is blind, by design, to colour and contrast. The features
must see both: from one vector this network reads the digit and paints the image again at 7x7
pixels. It shares neither layers, nor augmentation, nor training draws with the judge. Settings of
the digit model were chosen by its distances to training images; recorded are those to test images.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib.datasets.digits import DigitDomain, to_float
from hw2lib.device import device
from hw2lib.evaluators.base import Evaluator, Scoring
from hw2lib.metrics import accuracy_metric, frechet_distance, kernel_distance, precision_recall
from hw2lib.training import TrainConfig

FEATURES = 64
PAINTING = 1.0  # weight of the 7x7 image's squared error beside the cross-entropy


class DigitFeatures(Scoring):
    """CNN on plain pixels, without normalisation of the image; 64 features of (B, 3, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        layers: list[nn.Module] = []
        for c_in, c_out in zip(widths, widths[1:], strict=False):  # 14x14, 7x7, 4x4
            layers += [nn.Conv2d(c_in, c_out, 5, stride=2, padding=2), nn.GroupNorm(8, c_out)]
            layers += [nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, FEATURES))
        self.digit = nn.Linear(FEATURES, 10)
        self.painter = nn.Linear(FEATURES, 3 * 7 * 7)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 10) and the image as seen at 7x7 (B, 3, 7, 7), linear in the features."""
        features = self.features(x)
        return self.digit(features), self.painter(features).unflatten(1, (3, 7, 7))


DIGIT_FEATURES = Evaluator(
    "digit-features", "yardstick", DigitFeatures,
    {
        "quick": TrainConfig(150, 64, lr=2e-3, schedule="cosine", warmup=20, ema=0.98, seed=1),
        "full": TrainConfig(2800, 64, lr=2e-3, schedule="cosine", warmup=100, ema=0.99, seed=1),
    },
)  # fmt: skip
load = DIGIT_FEATURES.load


def train(domain: DigitDomain, out: str | Path, **options: Any) -> Path:
    """Train on `domain.train`, test once on `domain.test`; options as in `Evaluator.train`. The
    header has the accuracy, and the share of the 7x7 images' variance that the features explain."""
    digits, test, where = domain.train, domain.test, device()
    images = digits.images.to(where)

    def loss(net: nn.Module, size: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(digits), (size,), generator=generator)
        x = to_float(images[index.to(where)])
        logits, painted = net(x)
        error = F.mse_loss(painted, F.avg_pool2d(x, 4))
        return F.cross_entropy(logits, digits.labels[index].to(where)) + PAINTING * error

    @torch.inference_mode()
    def measure(net: DigitFeatures) -> dict:
        answers = [net(x) for x in net.batches(test.images)]
        logits, seen = (torch.cat(parts).cpu() for parts in zip(*answers, strict=True))
        small = F.avg_pool2d(to_float(test.images), 4)
        explained = 1 - (seen - small).square().mean() / (small - small.mean(0)).square().mean()
        return {
            "domain": domain.name,
            "test_accuracy": accuracy_metric([logits.argmax(1) == test.labels]),
            "test_variance_explained": round(float(explained), 4),
        }

    return DIGIT_FEATURES.train(domain, loss, measure, out, **options)


@dataclass(frozen=True)
class Reference:
    """Features of real images: all, and the held ones for all that goes from point to point."""

    features: Tensor  # (N, D)
    held: Tensor  # (n, D), a random choice of the rows

    @classmethod
    def of(cls, features: Tensor, n: int, seed: int = 0) -> Self:
        """Of real features (N, D); the choice follows from `seed`."""
        if n > len(features):
            raise ValueError(f"{n} of {len(features)} real images cannot be chosen")
        order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
        return cls(features, features[order[:n]])


def compare(features: Tensor, real: Reference) -> dict[str, float]:
    """How samples' features (M, D) lie to the real ones.

    frechet: distance to all real images, comparable at equal M alone; kernel: distance to the held
    ones; 0 is best for both. precision: share of samples among the held images; recall: share of
    the held images among samples.
    """
    precision, recall = precision_recall(real.held, features)
    return {
        "frechet": frechet_distance(features, real.features),
        "kernel": kernel_distance(features, real.held),
        "precision": precision,
        "recall": recall,
    }
