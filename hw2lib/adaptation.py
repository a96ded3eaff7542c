"""Gradient reversal, and what a network may learn from beside the source's labels.

    LOSSES["mine"] = lambda step, weight: weight * ...      # then Row(losses={"mine": 0.1})

One function for each loss: it gets the state of one training step and its weight now, and returns
a scalar to add. Sources: DANN, Ganin et al. (2016); mean teacher, Tarvainen and Valpola (2017)
and French et al. (2018); information maximisation, Krause et al. (2010) and Liang et al. (2020).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hw2lib.models.dann_net import TARGET, DomainHead, Network

THRESHOLD = 0.9  # confidence from which a teacher's label is used


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def gradient_reversal(x: Tensor, strength: float = 1.0) -> Tensor:
    """x forwards; -strength times the gradient backwards."""
    return _Reversal.apply(x, strength)


@dataclass
class Step:
    """One step of a row that adapts: features (B, 256), logits (B, 10), images (B, C, 28, 28)."""

    network: Network
    teacher: Network  # a running average of `network`
    labels: Tensor  # (B,) of the source images
    source: Tensor  # their features
    target: Tensor  # features of target images, which have no labels
    logits: Tensor  # of the target images
    plain: Tensor  # the same target images without random changes


Loss = Callable[[Step, float], Tensor]


def domain_loss(head: DomainHead, source: Tensor, target: Tensor, lam: float) -> Tensor:
    """L_d of features (B, 256) with the reversal in front; source is 1, target 0."""
    s = head(gradient_reversal(source, lam))
    t = head(gradient_reversal(target, lam))
    return F.binary_cross_entropy_with_logits(
        s, torch.ones_like(s)
    ) + F.binary_cross_entropy_with_logits(t, torch.zeros_like(t))


def adversarial(step: Step, weight: float) -> Tensor:
    """The domain head learns at full speed; lambda = `weight` is in the reversal alone."""
    return domain_loss(step.network.domain_head, step.source, step.target, weight)


def teacher(step: Step, weight: float) -> Tensor:
    """Cross entropy to the teacher's label where that is confident, over all target images."""
    with torch.no_grad():
        confidence, guess = step.teacher(step.plain, TARGET).softmax(1).max(1)
    taught = F.cross_entropy(step.logits, guess, reduction="none")
    return weight * (taught * (confidence > THRESHOLD)).mean()


def entropy(step: Step, weight: float) -> Tensor:
    """Mean entropy of each target image's prediction: it should be decided."""
    return weight * entropy_and_balance(step.logits)[0]


def balance(step: Step, weight: float) -> Tensor:
    """Minus the entropy of the mean prediction: all digits should occur."""
    return weight * entropy_and_balance(step.logits)[1]


def entropy_and_balance(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(mean entropy of each image, minus the entropy of the mean) of target logits (B, 10).

    Minus their sum is the mutual information of image and label that the network claims.
    """
    p = logits.softmax(1)
    mean = p.mean(0)
    return -(p * logits.log_softmax(1)).sum(1).mean(), (mean * (mean + 1e-6).log()).sum()


LOSSES: dict[str, Loss] = {
    "adversarial": adversarial,
    "teacher": teacher,
    "entropy": entropy,
    "balance": balance,
}
