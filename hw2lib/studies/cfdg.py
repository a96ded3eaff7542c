"""A fair account of guidance: labels dropped in training against guidance in sampling.

    records = study("quick", {0.0: [0], 0.1: [0]})  # seeds of each p_drop
    one(records, "samples", "accuracy", p_drop=0.1, w=2)

Every share of labels dropped in training (p_drop) meets every strength of guidance (w). Choices
were made by samples' scores against real training images; what is recorded is scored against test
images, which no choice has seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from hw2lib.datasets import digits
from hw2lib.datasets.digits import DigitDomain, to_float
from hw2lib.device import precision
from hw2lib.evaluators import digit_features, judge
from hw2lib.evaluators.digit_features import DigitFeatures, Reference, compare
from hw2lib.evaluators.judge import Judge
from hw2lib.experiments import cfdg
from hw2lib.experiments.recipe import Preset, run_folder
from hw2lib.io.cache import kept
from hw2lib.io.parameters import choose
from hw2lib.io.results import one, record, select
from hw2lib.metrics import accuracy_metric, background_spread, metric, nearest_distances
from hw2lib.samplers import time_steps

PLAIN = {"steps": 20, "solver": "ddim"}
STRENGTHS: tuple[dict, ...] = (
    *({"w": w, **PLAIN} for w in (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)),
    {"w": 1.0, **PLAIN, "interval": (300, 900)},
    {"w": cfdg.DEFAULT.w, "steps": cfdg.DEFAULT.steps, "solver": cfdg.SOLVER},
)
TRAININGS = {"full": "study"}  # where the preset of the models has another name
SAMPLES = {"quick": 50, "full": 1000}  # a cell and seed
SOLVERS = {"ddim": "DDIM", "dpmpp": "DPM-Solver++(2M)", "ddpm": "DDPM"}
_PAIRS = [("ddim", n) for n in (5, 10, 20, 50, 100)] + [("dpmpp", n) for n in (5, 10, 20, 50)]
CASES: dict[str, list[tuple[str, int, int]]] = {  # solver, steps, samples
    "quick": [(*pair, 20) for pair in _PAIRS if pair[1] <= 10],
    # DDPM takes all T steps, and too long for 1000 samples.
    "full": [*((*pair, 1000) for pair in _PAIRS), ("ddim", 100, 100), ("ddpm", 1000, 100)],
}
UNITS = {"accuracy": "accuracy", "frechet": "distance", "kernel": "distance",
         "evaluations": "number", "images_seen": "number"}  # fmt: skip
Scores = dict[str, float]


@dataclass(frozen=True)
class Scorer:
    """Scores n samples: accuracy, frechet, kernel, precision, recall, spread."""

    judge: Judge
    features: DigitFeatures
    real: Reference

    @classmethod
    def load(cls, real: Tensor, n: int) -> Self:
        """With the shipped networks, against real images (N, 3, 28, 28), n of them held."""
        features = digit_features.load()
        return cls(judge.load(), features, Reference.of(features.embed(real), n))

    def __call__(self, images: Tensor, labels: Tensor) -> Scores:
        """images (N, 3, 28, 28) uint8 that should show labels (N,)."""
        read = self.judge.predict(images)
        return {
            "accuracy": (read == labels).double().mean().item(),
            **compare(self.features.embed(images), self.real),
            "spread": background_spread(images, labels),
        }


def scored(row: str, scores: Sequence[Scores], n: int, **setting) -> list[dict]:
    """A record of each score; scores: those of one seed after the other, n images each."""
    records = []
    for score in scores[0]:
        values, unit = [of_seed[score] for of_seed in scores], UNITS.get(score, "share")
        entry = metric(values, n, unit)
        if unit == "accuracy":
            entry = accuracy_metric([value * n for value in values], n)
        records.append(record(row, score, entry, **setting))
    return records


def real_images(
    domain: DigitDomain, scorer: Scorer, n: int, seeds: Sequence[int], **setting
) -> list[dict]:
    """Records of n real training images, drawn by each seed: no model can be expected to do
    better."""
    scores = []
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(domain.train), generator=g)[:n]
        scores.append(scorer(domain.train.images[chosen], domain.train.labels[chosen]))
    return scored("real", scores, n, **setting)


def sampled_scores(
    model: cfdg.DigitNet, header: dict, scorer: Scorer, n: int, folder: Path, **how
) -> Scores:
    """Scores of n samples, as many of each digit, drawn as cfdg.Sampling(**how) says; kept in the
    folder, and taken from there."""

    def make() -> Scores:
        labels = torch.arange(10).repeat_interleave(n // 10)
        images = cfdg.sample_digits(
            model, header, labels, range(len(labels)), cfdg.Sampling(**how), progress=True
        )
        return scorer(images, labels)

    key = {"n": n, "trained": header["train"], "images_seen": header["images_seen"], **how}
    found, _ = kept("scores", {**key, "precision": precision()}, make, folder)
    return {score: value.item() for score, value in found.items()}


def study(
    preset: str | Preset,
    seeds: Mapping[float, Sequence[int]],
    *,
    data: str = "auto",
    n: int | None = None,
    strengths: Sequence[dict] = STRENGTHS,
    out: str | Path | None = None,
) -> list[dict]:
    """Train one model for each p_drop and each of its seeds, sample and score it at each strength.

    seeds: p_drop -> training seeds, which are the seeds of the samples too. n: samples a cell, by
    default as many as the preset's name asks for. Each model lies in `out/p{100 p_drop}-s{seed}`
    with its scores beside it: what is finished there is not made anew.
    """
    name = preset if isinstance(preset, str) else "quick"
    if isinstance(preset, str):
        preset = choose(cfdg.DIGIT_PRESETS, TRAININGS.get(preset, preset))
    n, domain = n or SAMPLES[name], digits.load("mnistm", data)
    scorer = Scorer.load(domain.test.images, n)
    base, records = Path(out) if out else run_folder("guidance", preset, domain), []
    for p_drop, its_seeds in seeds.items():
        cells: list[list[Scores]] = [[] for _ in strengths]
        for seed in its_seeds:
            folder = base / f"p{100 * p_drop:g}-s{seed}"
            this = replace(preset, p_drop=p_drop, train=replace(preset.train, seed=seed))
            cfdg.train_digits(this, data=data, out=folder, resume=True)
            model, header = cfdg.load_digit_unet(folder / "weights.safetensors")
            for cell, strength in zip(cells, strengths, strict=True):
                scores = sampled_scores(model, header, scorer, n, folder, **strength, seed=seed)
                cell.append({"images_seen": header["images_seen"], **scores})
        for cell, strength in zip(cells, strengths, strict=True):
            records += scored("samples", cell, n, p_drop=p_drop, **strength)
    return records


def guidance_curves(records: Sequence[dict], x: str) -> dict[str, dict]:
    """Panels of `figures.cfdg.guidance_curve`: title -> name of a curve -> strength -> (record of
    the score `x`, record of accuracy)."""
    panels: dict[str, dict] = {}
    for up in select(records, "samples", "accuracy"):
        s, name = up["setting"], "all the way"
        strength = f"{s['w']:g}"
        if "interval" in s:
            name = "only t = {} to {}".format(*s["interval"])
        elif s["solver"] == cfdg.SOLVER:
            name, strength = f"default, w = {strength}", ""
        curves = panels.setdefault(f"labels dropped: p = {s['p_drop']:g}", {})
        curves.setdefault(name, {})[strength] = one(records, "samples", x, **s), up
    return panels


def recall_of_real(records: Sequence[dict], **setting) -> dict:
    """Record of the samples' recall as a share of that of real images, seed by seed."""
    ours, theirs = one(records, "samples", "recall", **setting), one(records, "real", "recall")
    shares = [a / b for a, b in zip(ours["values"], theirs["values"], strict=True)]
    return record("samples", "recall_of_real", metric(shares, ours["n"], "share"), **setting)


def evaluations(n_train: int, steps: int, w: float, interval: tuple[int, int] | None = None) -> int:
    """Passes of the network for one sample: two at each guided time step, one at the others."""
    first, last = interval or (0, n_train)
    times = time_steps(n_train, steps)
    return len(times) + sum(first <= t <= last for t in times) * (w != 0)


def solver_study(
    model: cfdg.DigitNet,
    header: dict,
    domain: DigitDomain,
    scorer: Scorer,
    cases: Sequence[tuple[str, int, int]],
    *,
    w: float,
    out: str | Path,
    seed: int = 0,
) -> list[dict]:
    """Records of samples from the same noises, and of as many real images; cases: (solver, steps,
    samples). Scores are kept in the folder `out`."""
    records = []
    for solver, steps, n in cases:
        how = {"solver": solver, "steps": steps}
        scores = sampled_scores(model, header, scorer, n, Path(out), **how, w=w, seed=seed)
        scores = {"evaluations": evaluations(header["n_train_steps"], steps, w), **scores}
        records += scored("samples", [scores], n, **how, samples=n)
    for n in sorted({n for _, _, n in cases}):
        records += real_images(domain, scorer, n, [seed], samples=n)
    return records


def solver_curves(records: Sequence[dict]) -> tuple[dict[str, dict[int, float]], float]:
    """Of the largest number of samples: solver -> evaluations -> Frechet distance, and that of
    real images."""
    most = max(r["setting"]["samples"] for r in records)
    families: dict[str, dict[int, float]] = {}
    for r in select(records, "samples", "frechet", samples=most):
        taken = one(records, "samples", "evaluations", **r["setting"])["mean"]
        families.setdefault(SOLVERS[r["setting"]["solver"]], {})[int(taken)] = r["mean"]
    return families, one(records, "real", "frechet", samples=most)["mean"]


def copies(
    row: str, samples: Tensor, domain: DigitDomain, features: DigitFeatures, **setting
) -> tuple[list[dict], dict[str, Tensor]]:
    """Do `samples` (N, 3, 28, 28) uint8 repeat training images? (After Meehan et al. 2020.)

    Returns records of nearer_in_pixels and nearer_in_features, the shares of samples that lie
    nearer to one of as many random training images than to any test image (.5: no nearer), and the
    distances (N,) of samples and of real test images, which no model has seen, to the nearest of
    all training images: root mean square over pixels in [-1, 1].
    """
    train, test = domain.train.images, domain.test.images
    g = torch.Generator().manual_seed(0)
    held = torch.randperm(len(test), generator=g)[: len(samples)]
    few = torch.randperm(len(train), generator=g)[: len(test)]

    def pixels(images: Tensor) -> Tensor:
        return to_float(images).flatten(1) / images[0].numel() ** 0.5

    records = []
    for score, embed in (("nearer_in_pixels", pixels), ("nearer_in_features", features.embed)):
        x = embed(samples)
        to_train, to_test = (nearest_distances(x, embed(y)) for y in (train[few], test))
        nearer = (to_train < to_test).double().mean().item()
        records.append(record(row, score, metric([nearer], len(samples), "share"), **setting))
    every = pixels(train)
    return records, {
        "samples": nearest_distances(pixels(samples), every),
        "test images": nearest_distances(pixels(test[held]), every),
    }
