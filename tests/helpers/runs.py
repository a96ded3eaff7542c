"""Trainings that take no time."""

import signal

import torch
from torch import nn

from hw2lib.training import TrainConfig

CFG = TrainConfig(steps=9, lr=0.01, warmup=3, ema=0.9, save_every_s=1e9)


def loss(model, step, generator):
    x = torch.randn(4, 1, 8, 8, generator=generator)
    return (model(x) - 1).square().mean()


def stopped_at(k, name=signal.SIGINT):
    """The loss of a run to which somebody sends a signal in its k-th step."""

    def loss_and_signal(model, step, generator):
        if step == k:
            signal.raise_signal(name)
        return loss(model, step, generator)

    return loss_and_signal


def same(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(x, y) for x, y in zip(*(s.values() for s in states), strict=True))
