"""Ways from one noise to another: straight (lerp), along the sphere (slerp), and the straight one
with the sphere's norm (rescaled).

Two independent noises in d dimensions are nearly perpendicular with norms near sqrt(d): half-way
the straight one has .71 of the norm that a model knows. Along the sphere the norm stays.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

WAYS = ("slerp", "lerp", "rescaled")
PARALLEL = 1e-6  # radians; below this angle sin(theta) divides by rounding errors


def _check(a: Tensor, b: Tensor, alpha: float) -> None:
    if a.shape != b.shape:
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} differ")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha} is outside [0, 1]")


def lerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) a + alpha b, in float64; shape and type of `a`. alpha = 0 gives a, 1 gives b."""
    _check(a, b, alpha)
    return ((1 - alpha) * a.double() + alpha * b.double()).to(a.dtype)


def slerp(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """Spherical interpolation (Shoemake, 1985) of two tensors taken as flat vectors.

        (sin((1 - alpha) theta) a + sin(alpha theta) b) / sin(theta)

    theta: the angle between a and b. Computed in float64, returned in the type of `a`. Where the
    two are nearly parallel or opposite (or one is zero) no arc is defined: lerp instead.
    """
    _check(a, b, alpha)
    theta = angle(a, b)
    if min(theta, math.pi - theta) < PARALLEL:
        return lerp(a, b, alpha)
    left, right = math.sin((1 - alpha) * theta), math.sin(alpha * theta)
    return ((left * a.double() + right * b.double()) / math.sin(theta)).to(a.dtype)


def angle(a: Tensor, b: Tensor) -> float:
    """Angle in [0, pi] of two tensors taken as flat vectors; 0 if either is zero.

    2 atan2(|u - v|, |u + v|) of the unit vectors: exact for small angles, where acos is not.
    """
    u, v = a.double().flatten(), b.double().flatten()
    if not (u.norm() and v.norm()):
        return 0.0
    u, v = u / u.norm(), v / v.norm()
    return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))


def rescaled(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """lerp's direction with slerp's norm: the straight way without its loss of norm.

    The causal test: what still differs from slerp does not come from the norm. A zero lerp
    (opposite ends) has no direction and stays zero.
    """
    straight = lerp(a.double(), b.double(), alpha)
    norm = straight.norm()
    factor = slerp(a.double(), b.double(), alpha).norm() / norm if norm else 1.0
    return (straight * factor).to(a.dtype)


def path(a: Tensor, b: Tensor, alphas: Sequence[float], how: str = "slerp") -> Tensor:
    """All points (len(alphas), *a.shape) of the way from a to b; how: one of WAYS."""
    step = {"slerp": slerp, "lerp": lerp, "rescaled": rescaled}[how]
    return torch.stack([step(a, b, alpha) for alpha in alphas])
