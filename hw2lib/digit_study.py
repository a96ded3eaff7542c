"""Two questions to a digit model: how few steps will do, and does it copy?

`solver_study` scores samples of three solvers against the network evaluations they took, `copies`
looks for the nearest training image of each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hw2lib.datasets.digits import DigitDomain, to_float
from hw2lib.evaluators.digit_features import Yardstick
from hw2lib.experiments.cfdg import DigitNet
from hw2lib.guidance import Scorer, Scores, kept, sampled_scores
from hw2lib.metrics import nearest_distances
from hw2lib.samplers import time_steps

Cases = dict[str, tuple[str, int, int]]  # name -> (solver, steps, samples)
_PAIRS = {
    **{f"DDIM, {n} steps": ("ddim", n) for n in (5, 10, 20, 50, 100)},
    **{f"DPM-Solver++(2M), {n} steps": ("dpmpp", n) for n in (5, 10, 20, 50)},
}
CASES: dict[str, Cases] = {
    "quick": {name: (*case, 20) for name, case in _PAIRS.items() if case[1] <= 10},
    "full": {
        **{name: (*case, 1000) for name, case in _PAIRS.items()},
        # DDPM takes all T steps, and too long for 1000 samples.
        "DDIM, 100 steps, fewer samples": ("ddim", 100, 100),
        "DDPM, all 1000 steps": ("ddpm", 1000, 100),
    },
}


def evaluations(
    n_train: int, n_steps: int, w: float, interval: tuple[int, int] | None = None
) -> int:
    """Passes of the network for one sample: two at each guided time step, one at the others."""
    first, last = interval or (0, n_train)
    times = time_steps(n_train, n_steps)
    return len(times) + sum(first <= t <= last for t in times) * (w != 0)


def solver_study(
    model: DigitNet,
    header: dict,
    scorer: Scorer,
    cases: Cases,
    *,
    guidance: dict,
    out: str | Path,
    seed: int = 0,
) -> dict[str, Scores]:
    """case -> scores of samples from the same noises, their number and the evaluations of each.

    guidance: `w` and `interval` of sample_digits. Scores are kept in the folder `out`: what is
    there is not made anew.
    """
    rows = {}
    for name, (solver, n_steps, n) in cases.items():
        labels = torch.arange(10).repeat_interleave(n // 10)
        options = {**guidance, "n_steps": n_steps, "solver": solver, "seed": seed}
        taken = evaluations(header["n_train_steps"], n_steps, **guidance)
        scores = kept(
            Path(out) / f"{solver}-{n_steps}-{n}.json",
            {"n": n, "trained": header["train"], "images_seen": header["images_seen"], **options},
            partial(sampled_scores, model, header, labels, scorer, **options),
        )
        counts = {"evaluations": taken, "samples": n}
        rows[name] = {score: [value] for score, value in {**counts, **scores}.items()}
    return rows


@dataclass(frozen=True)
class Copies:
    """Distances to the nearest training image, root mean square over pixels in [-1, 1], and how
    often a sample lies nearer to training images than to as many held-out ones."""

    samples: Tensor  # (N,)
    held_out: Tensor  # (M,), of real test images, which no model has seen
    nearer_in_pixels: float  # share of samples; .5: training images are no nearer than others
    nearer_in_features: float  # the same in the yardstick's features


def copies(samples: Tensor, domain: DigitDomain, yardstick: Yardstick, seed: int = 0) -> Copies:
    """Do `samples` (N, 3, 28, 28) uint8 repeat training images? (After Meehan et al. 2020.)

    The nearest of all training images is always nearer than the nearest of fewer test images, so
    the shares compare with a random choice of the training images, as many as there are held out.
    """
    train, test = domain.train.images, domain.test.images
    g = torch.Generator().manual_seed(seed)
    held = torch.randperm(len(test), generator=g)[: len(samples)]
    few = torch.randperm(len(train), generator=g)[: len(test)]
    n_pixels = samples[0].numel()

    def pixels(images: Tensor) -> Tensor:
        return to_float(images).flatten(1) / n_pixels**0.5

    def nearer(embed) -> float:
        x = embed(samples)
        to_train, to_test = (nearest_distances(x, embed(y)) for y in (train[few], test))
        return (to_train < to_test).double().mean().item()

    every = pixels(train)
    return Copies(
        nearest_distances(pixels(samples), every),
        nearest_distances(pixels(test[held]), every),
        nearer(pixels),
        nearer(yardstick.embed),
    )
