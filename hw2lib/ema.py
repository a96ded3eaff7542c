"""The running average of the weights, which is what is kept of a training."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """ema <- d ema + (1 - d) model with d = min(decay, (1 + step) / (10 + step)).

    Buffers (batch statistics) are averaged too where they are floating point.
    """
    d = min(decay, (1 + step) / (10 + step))
    average = list(ema.parameters()) + list(ema.buffers())
    current = list(model.parameters()) + list(model.buffers())
    pairs = list(zip(average, current, strict=True))
    floating = [(a, c.detach()) for a, c in pairs if a.is_floating_point()]
    torch._foreach_lerp_(*map(list, zip(*floating, strict=True)), 1 - d)  # few launches on a GPU
    for a, c in pairs:
        if not a.is_floating_point():
            a.copy_(c)
