"""Networks that are small enough for tests."""

import torch
from torch import nn


def network():
    """Convolution and batch norm: weights of four axes, and buffers, one of them an integer."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether the weights of both are equal."""
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(x, y) for x, y in zip(*(s.values() for s in states), strict=True))
