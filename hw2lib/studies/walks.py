"""Walks between two faces, measured over many pairs; faces turned back to noise; weak noise.

Faces come from a `studies.ddim.Sampler`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hw2lib.diffusion import to_x0_and_eps
from hw2lib.interpolation import WAYS, path
from hw2lib.metrics import detail, metric
from hw2lib.samplers import encode
from hw2lib.studies.ddim import (
    Entries,
    Sampler,
    distance,
    percent,
)

ALPHAS = tuple(k / 10 for k in range(11))
FIRST_PAIR = 2000  # number of the first noise; those of the other studies are smaller
MIDDLE = slice(4, 7)  # alpha .4, .5, .6


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

    def half_way(self, of: str) -> Tensor:
        """(P,) "norm", "detail" or "contrast" at alpha = .5, as a share of the mean of the ends."""
        if of == "norm":
            x = self.norms
        elif of == "detail":
            x = detail(self.images.flatten(0, 1)).unflatten(0, self.norms.shape)
        else:
            x = self.images.flatten(2).std(dim=2)
        return x[:, x.shape[1] // 2] / x[:, [0, -1]].mean(1)


def walks(
    draw: Sampler, noises: Tensor, ways: Sequence[str] = WAYS, alphas: Sequence[float] = ALPHAS
) -> dict[str, Walk]:
    """Each way between noises 0 and 1, 2 and 3, .. of (2 P, 3, H, W)."""
    pairs = noises.unflatten(0, (-1, 2))
    found = {}
    for how in ways:
        x = torch.stack([path(a, b, list(alphas), how) for a, b in pairs])  # (P, A, 3, H, W)
        images = draw(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        found[how] = Walk(x.flatten(2).norm(dim=2), images)
    return found


def walk_metrics(found: dict[str, Walk]) -> dict[str, dict]:
    """Entries of a result file: half-way, and how even the way is; one value a pair.

    relative_..: over that of slerp between the same two noises;
    apart: distance of the images half-way from those of slerp.
    """
    entries = {}
    for how, walk in found.items():
        measured = {f"{of}_{how}_mid": (walk.half_way(of), "ratio")
                    for of in ("norm", "detail", "contrast")}  # fmt: skip
        measured[f"length_{how}"] = walk.length, "distance"
        measured[f"unevenness_{how}"] = walk.unevenness, "ratio"
        if how != "slerp":
            arc, middle = found["slerp"], walk.images.shape[1] // 2
            measured[f"relative_length_{how}"] = walk.length / arc.length, "ratio"
            measured[f"relative_unevenness_{how}"] = walk.unevenness / arc.unevenness, "ratio"
            apart = distance(walk.images[:, middle], arc.images[:, middle])
            measured[f"apart_{how}_mid"] = apart, "distance"
        for key, (values, unit) in measured.items():
            entries[key] = metric(values.tolist(), 1, unit)
    return entries


def pair_noises(draw: Sampler, pairs: int) -> Tensor:
    """Noises (2 pairs, 3, side, side) that no other study starts from."""
    return draw.starts(range(FIRST_PAIR, FIRST_PAIR + 2 * pairs))


@torch.no_grad()
def first_estimates(draw: Sampler, noise: Tensor, scales: Sequence[float]) -> Tensor:
    """(N, scales, 3, H, W): the estimate of x_0, not clipped, at t = 981 for noise (N, 3, H, W)
    times each scale: what the network sees in an input that is too weak or too strong."""
    t, ab = 981, draw.schedule.alpha_bar
    columns = []
    for scale in scales:
        x = scale * noise
        output = draw.predict(x, torch.full((len(x),), t))
        columns.append(to_x0_and_eps(ab[t], draw.header["prediction"], x, output, clip=False)[0])
    return torch.stack(columns, 1)


def code(draw: Sampler, images: Tensor, n_steps: int = 50) -> Tensor:
    """Noises (N, 3, H, W) that the ODE leads to from images float (N, 3, H, W)."""

    def make() -> Tensor:
        return encode(
            draw.predict, images, draw.schedule, n_steps, prediction=draw.header["prediction"]
        )

    return draw.kept(("encode", n_steps), images, make)


def inversion(draw: Sampler, n: int, steps: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """steps -> (error of the face decoded again (N,), error of its noise as a share of its norm).

    The faces are those of 50 steps from `n` noises; they are encoded and decoded with `steps`.
    """
    start = draw.starts(range(n))
    images = draw(start)
    found = {}
    for n_steps in steps:
        noise = code(draw, images, n_steps)
        again = draw(noise, n_steps=n_steps)
        missed = (noise - start).flatten(1).norm(dim=1) / start.flatten(1).norm(dim=1)
        found[n_steps] = distance(again, images), missed
    return found


# --- as entries of the result file ---------------------------------------------------------------


def inversion_entries(found: Mapping[int, tuple[Tensor, Tensor]]) -> Entries:
    """decoded_s50: error of the faces decoded again; encoded_s50: of their noise, as a share."""
    entries = {}
    for n, (face_error, noise_error) in found.items():
        entries[f"decoded_s{n}"] = metric(face_error.tolist(), 1, "distance")
        entries[f"encoded_s{n}"] = metric(noise_error.tolist(), 1, "ratio")
    return entries


def estimate_entries(images: Tensor, scales: Sequence[float]) -> Entries:
    """first_contrast_070, first_detail_070: of the first estimates (N, scales, 3, H, W), as shares
    of those at scale 1; one value a noise."""
    contrast = images.flatten(2).std(dim=2)  # (N, scales)
    fine = detail(images.flatten(0, 1)).unflatten(0, contrast.shape)
    one, entries = list(scales).index(1.0), {}
    for name, x in (("contrast", contrast), ("detail", fine)):
        for k, scale in enumerate(scales):
            values = (x[:, k] / x[:, one]).tolist()
            entries[f"first_{name}_{percent(scale)}"] = metric(values, 1, "ratio")
    return entries
