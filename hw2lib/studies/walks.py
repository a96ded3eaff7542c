"""Walks between two faces, measured over many pairs; faces turned back to noise; weak noise.

Faces come from a `studies.ddim.Sampler`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hw2lib.device import device
from hw2lib.interpolation import WAYS, path
from hw2lib.io.results import record
from hw2lib.metrics import detail, metric
from hw2lib.samplers import encode
from hw2lib.studies.ddim import Sampler, distance

ALPHAS = tuple(k / 10 for k in range(11))
FIRST_PAIR = 2000  # number of the first noise; those of the other studies are smaller


@dataclass(frozen=True)
class Walk:
    """One way between P pairs of noises at A alphas: norms (P, A), images (P, A, 3, H, W)."""

    norms: Tensor
    images: Tensor

    @property
    def gaps(self) -> Tensor:
        """Distance of neighbouring images, (P, A - 1)."""
        return distance(self.images[:, 1:], self.images[:, :-1])

    @property
    def length(self) -> Tensor:
        """Way from the first image to the last, (P,)."""
        return self.gaps.sum(1)

    @property
    def unevenness(self) -> Tensor:
        """The longest gap over their mean, (P,); 1 for even steps."""
        return self.gaps.amax(1) / self.gaps.mean(1)

    @property
    def half_way(self) -> dict[str, Tensor]:
        """norm, detail and contrast (P,) at alpha = .5, as shares of the mean of the ends."""
        seen = {"norm": self.norms, **looks(self.images)}
        return {of: x[:, x.shape[1] // 2] / x[:, [0, -1]].mean(1) for of, x in seen.items()}


def looks(images: Tensor) -> dict[str, Tensor]:
    """detail and contrast (P, A) of images (P, A, 3, H, W)."""
    fine = detail(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return {"detail": fine, "contrast": images.flatten(2).std(dim=2)}


def walks(
    draw: Sampler, noises: Tensor, ways: Sequence[str] = WAYS, steps: int | None = None
) -> dict[str, Walk]:
    """Each way between noises 0 and 1, 2 and 3, .. of (2 P, 3, H, W) at ALPHAS, in `steps` or the
    sampler's own number of steps."""
    pairs = noises.unflatten(0, (-1, 2))
    found = {}
    for how in ways:
        x = torch.stack([path(a, b, ALPHAS, how) for a, b in pairs])  # (P, A, 3, H, W)
        images = draw(x.flatten(0, 1), steps=steps).unflatten(0, x.shape[:2])
        found[how] = Walk(x.flatten(2).norm(dim=2), images)
    return found


def walk_records(found: Mapping[str, Walk]) -> list[dict]:
    """How even each way is, and its state half-way; one value a pair.

    relative_..: over that of slerp between the same two noises;
    apart: distance of the images half-way from those of slerp.
    """
    records, arc = [], found["slerp"]
    for way, walk in found.items():
        half, middle = {"alpha": 0.5}, walk.images.shape[1] // 2
        measured = [
            *((of, share, "ratio", half) for of, share in walk.half_way.items()),
            ("length", walk.length, "distance", {}),
            ("unevenness", walk.unevenness, "ratio", {}),
        ]
        if way != "slerp":
            apart = distance(walk.images[:, middle], arc.images[:, middle])
            measured += [
                ("relative_length", walk.length / arc.length, "ratio", {}),
                ("relative_unevenness", walk.unevenness / arc.unevenness, "ratio", {}),
                ("apart", apart, "distance", half),
            ]
        for score, values, unit, setting in measured:
            entry = metric(values.tolist(), 1, unit)
            records.append(record("walk", score, entry, way=way, **setting))
    return records


def pair_noises(draw: Sampler, pairs: int) -> Tensor:
    """Noises (2 pairs, 3, side, side) that no other study starts from."""
    return draw.starts(range(FIRST_PAIR, FIRST_PAIR + 2 * pairs))


@torch.no_grad()
def first_estimates(draw: Sampler, noise: Tensor, scales: Sequence[float]) -> Tensor:
    """(N, scales, 3, H, W): the estimate of x_0, not clipped, at t = 981 for noise (N, 3, H, W)
    times each scale: what the network sees in an input that is too weak or too strong."""
    noise = noise.to(device())
    return torch.stack([draw.denoiser(scale * noise, 981)[0] for scale in scales], 1).cpu()


def code(draw: Sampler, images: Tensor, steps: int = 50) -> Tensor:
    """Noises (N, 3, H, W) that the ODE leads to from images float (N, 3, H, W)."""

    def make() -> Tensor:
        return encode(draw.denoiser, images.to(device()), steps).cpu()

    return draw.kept(("encode", steps), images, make)


def inversion(draw: Sampler, n: int, steps: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """steps -> (error of the face decoded again (N,), error of its noise as a share of its norm).

    The faces are those of 50 steps from `n` noises; they are encoded and decoded with `steps`.
    """
    start = draw.starts(range(n))
    images = draw(start)
    found = {}
    for n_steps in steps:
        noise = code(draw, images, n_steps)
        again = draw(noise, steps=n_steps)
        missed = (noise - start).flatten(1).norm(dim=1) / start.flatten(1).norm(dim=1)
        found[n_steps] = distance(again, images), missed
    return found


def inversion_records(found: Mapping[int, tuple[Tensor, Tensor]]) -> list[dict]:
    """Of `inversion`, one value a face."""
    return [
        record("inversion", score, metric(errors.tolist(), 1, unit), steps=n)
        for n, both in found.items()
        for score, errors, unit in zip(
            ("face_error", "noise_error"), both, ("distance", "ratio"), strict=True
        )
    ]


def estimate_records(images: Tensor, scales: Sequence[float]) -> list[dict]:
    """Contrast and detail of first estimates (N, scales, 3, H, W), as shares of those at scale 1;
    one value a noise."""
    one = list(scales).index(1.0)
    return [
        record("first estimate", score, metric((x[:, k] / x[:, one]).tolist(), 1, "ratio"),
               scale=scale)
        for score, x in looks(images).items()
        for k, scale in enumerate(scales)
    ]  # fmt: skip
