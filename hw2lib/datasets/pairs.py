"""What an adaptation may see: labelled source images, and target images without any label.

    problem = load_problem("svhn")                # MNIST-M -> SVHN
    problem = make_problem(source, target)        # two DigitDomains of one's own

The labels of the target's training images are dropped while a problem is made, so that nothing can
use them; only `supervised`, the problem behind the row `target_only`, keeps them.
"""

from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from hw2lib.datasets import digits
from hw2lib.datasets.augment import HANDLING, PLAIN, Handling, prepare
from hw2lib.datasets.digits import DigitDomain, DigitSet
from hw2lib.device import device
from hw2lib.errors import check_known
from hw2lib.io.parameters import Target

SOURCE_OF = {"svhn": "mnistm", "usps": "mnistm", "mnistm": "mnist", "uci": "mnistm"}
TARGETS = get_args(Target)
HELD_OUT = 2000  # source images that no row trains on, at most a tenth of all: source validation


@dataclass(frozen=True)
class Unlabelled:
    """Images and nothing else: what adaptation gets of its target."""

    images: Tensor  # uint8 (N, 3, 28, 28)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Problem:
    """One adaptation: everything that training may use, and two test sets to report on."""

    name: str  # the target's
    source: DigitSet  # to train on
    held: DigitSet | None  # source images for validation; None: the row makes no choice
    target: Unlabelled  # to adapt to
    test: DigitSet  # of the target
    source_test: DigitSet
    handling: tuple[Handling, Handling]  # of source and target images
    channels: int  # 1: grey, 3: colour
    data: str  # "public", "course" or "embedded"
    domains: tuple[str, ...]  # one line on each domain
    sha256: dict[str, str]


def make_problem(
    source: DigitDomain,
    target: DigitDomain,
    handling: tuple[Handling, Handling] = (PLAIN, PLAIN),
    channels: int = 1,
) -> Problem:
    """The adaptation from one domain to another, the target's training labels dropped.

    handling: random changes of source and target images in training (see `augment`).
    """
    data = "embedded" if source.data == "embedded" else target.data
    n = len(source.train) - min(HELD_OUT, len(source.train) // 10)
    train, held = part(source.train, slice(n)), part(source.train, slice(n, None))
    return Problem(
        target.name, train, held, Unlabelled(target.train.images), target.test, source.test,
        handling, channels, data, (source.describe(), target.describe()),
        {**source.sha256, **target.sha256},
    )  # fmt: skip


def load_problem(target: str, data: str = "auto") -> Problem:
    """One of TARGETS, from the source that SOURCE_OF names.

    data: as in `digits.load`; "auto" takes the same kind for both domains.
    """
    source, goal = load_pair(target, data)
    return make_problem(source, goal, HANDLING[target], channels_for(target))


def supervised(problem: Problem, target: DigitDomain) -> Problem:
    """The same target, learnt with its labels: what `target_only` trains on."""
    return replace(problem, source=target.train, held=None, handling=(problem.handling[1],) * 2)


def load_pair(target: str, data: str = "auto") -> tuple[DigitDomain, DigitDomain]:
    """(source, target) domains with all labels; both of the same kind of data where `data` is
    "auto".

    UCI's digits are real everywhere. The embedded MNIST-M is made of them, so where there is no
    other their source is the stand-in for house numbers, drawn with fonts.
    """
    check_known("target", target, TARGETS)
    pair = tuple(digits.load(name, data) for name in (SOURCE_OF[target], target))
    if target == "uci" and pair[0].data == "embedded":
        pair = (replace(digits.load("svhn", "embedded"), name="fonts"), pair[1])
    elif data == "auto" and {"embedded"} < {domain.data for domain in pair}:
        pair = tuple(digits.load(domain.name, "embedded") for domain in pair)
    return pair


def channels_for(target: str) -> int:
    """MNIST-M's ink shows in colour, that of the others in grey."""
    return 3 if target == "mnistm" else 1


def part(data: DigitSet, which: slice | Tensor) -> DigitSet:
    """Some of the images, with what belongs to them."""
    masks = None if data.masks is None else data.masks[which]
    return DigitSet(data.images[which], data.labels[which], masks)


class Batches:
    """Random training batches of one set, handled, on the device.

    `data` is an Unlabelled or a DigitSet; only the latter's batches have labels.
    """

    def __init__(self, data: DigitSet | Unlabelled, handling: Handling, channels: int) -> None:
        self.data, self.handling, self.channels = data, handling, channels
        self.masks = getattr(data, "masks", None)

    def __call__(self, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """(handled, only standardised), both (B, C, 28, 28), and labels (B,) of a DigitSet."""
        index = torch.randint(len(self.data), (size,), generator=generator)
        where = device()
        images = self.data.images[index].to(where)
        masks = None if self.masks is None else self.masks[index].to(where)
        handled = prepare(images, self.handling, generator, masks=masks, channels=self.channels)
        plain = prepare(images, self.handling.still(), channels=self.channels)
        views = tuple(x.contiguous(memory_format=torch.channels_last) for x in (handled, plain))
        if isinstance(self.data, Unlabelled):
            return views
        return (*views, self.data.labels[index].to(where))
