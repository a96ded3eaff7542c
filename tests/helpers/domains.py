"""Small made-up digit domains for the tests of adaptation."""

import torch

from hw2lib.datasets.digits import DigitDomain, DigitSet


def made_up(name: str, n: int = 80, masks: bool = False) -> DigitDomain:
    """A bar whose column tells its label, light on dark."""
    g = torch.Generator().manual_seed(len(name))
    labels = torch.arange(n) % 10
    mask = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    for i, label in enumerate(labels):
        mask[i, 0, 6:22, 4 + 2 * label : 6 + 2 * label] = 1
    noise = torch.randint(0, 60, (n, 3, 28, 28), generator=g, dtype=torch.uint8)
    images = torch.where(mask.bool(), 255 - noise, noise)
    part = DigitSet(images, labels, mask if masks else None)
    return DigitDomain(name, "embedded", part, part, {})
