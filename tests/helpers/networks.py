"""Networks that are small enough for tests."""

import torch
from torch import nn


def network():
    """Convolution and batch norm: weights of four axes, and buffers, one of them an integer."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))
