"""A fair account of guidance: labels dropped in training against guidance in sampling.

    cells = study("quick", {0.0: [0], 0.1: [0]})  # seeds of each p_drop
    cells[0.1, "w = 2"]["accuracy"]         # one value a seed

Published comparisons "with and without guidance" often change two things at once: whether labels
were dropped in training (p_drop), and whether guidance is used in sampling (w). Here every p_drop
meets every w, and every cell is scored in the same way: accuracy by the judge, and distances,
precision and recall in the features of the yardstick.

Choices (of the model, of the strength and its interval) were made by samples' scores against real
training images; what is recorded is scored against test images, which no choice has seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hw2lib.datasets import digits
from hw2lib.datasets.digits import DigitDomain, to_float
from hw2lib.evaluators.digit_features import Reference, Yardstick, compare, load_yardstick
from hw2lib.evaluators.judge import Judge, load_judge
from hw2lib.experiments.cfdg import (
    DIGIT_PRESETS,
    GUIDANCE,
    SOLVER,
    STEPS,
    DigitNet,
    load_digit_unet,
    sample_digits,
    train_digits,
)
from hw2lib.experiments.recipe import Preset, choose_preset, run_folder
from hw2lib.io.paths import atomic_write
from hw2lib.metrics import accuracy_metric, background_spread, metric, nearest_distances
from hw2lib.samplers import time_steps

STRENGTHS = {
    **{f"w = {w:g}": {"w": w} for w in (0.0, 0.5, 1.0, 1.5, 2.0, 4.0)},
    "w = 1 at t = 300 to 900": {"w": 1.0, "interval": (300, 900)},
    "by default": {"w": GUIDANCE, "n_steps": STEPS, "solver": SOLVER},
}
PLAIN = {"n_steps": 20, "solver": "ddim"}  # of the strengths that do not say otherwise
TRAININGS = {"full": "study"}  # where the preset of the models has another name
SAMPLES = {"quick": 100, "full": 1000}  # a cell and seed
Scores = dict[str, list[float]]  # score -> one value a seed
Cells = dict[tuple[float, str], Scores]  # by p_drop and the strength's name


@dataclass(frozen=True)
class Scorer:
    """Scores n samples: accuracy, frechet, kernel, precision, recall, spread."""

    judge: Judge
    yardstick: Yardstick
    real: Reference

    @classmethod
    def load(cls, real: Tensor, n: int) -> Scorer:
        """With the shipped networks, against real images (N, 3, 28, 28), n of them held."""
        yardstick = load_yardstick()
        return cls(load_judge(), yardstick, Reference.of(yardstick.embed(real), n))

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """images (N, 3, 28, 28) uint8 that should show labels (N,)."""
        read = self.judge.predict(images)
        return {
            "accuracy": (read == labels).double().mean().item(),
            **compare(self.yardstick.embed(images), self.real),
            "spread": background_spread(images, labels),
        }


def ceiling(domain: DigitDomain, scorer: Scorer, n: int, seeds: Sequence[int]) -> Scores:
    """The scores of n real training images, drawn by each seed: no model can be expected to do
    better."""
    rows = []
    for seed in seeds:
        g = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(domain.train), generator=g)[:n]
        rows.append(scorer(domain.train.images[chosen], domain.train.labels[chosen]))
    return {score: [row[score] for row in rows] for score in rows[0]}


def study(
    preset: str | Preset,
    seeds: Mapping[float, Sequence[int]],
    *,
    data: str = "auto",
    n: int | None = None,
    strengths: dict[str, dict] | None = None,
    solver: dict | None = None,
    out: str | Path | None = None,
) -> Cells:
    """Train one model for each p_drop and each of its seeds, sample and score it at each strength.

    seeds: p_drop -> training seeds, which are the seeds of the samples too. The answer holds the
    number of training images beside the scores.
    `n` samples a cell, by default as many as the preset's name asks for; `strengths` are named
    settings of sample_digits (by default STRENGTHS), `solver` holds those that they do not name
    (by default PLAIN).
    Each model lies in `out/p{100 p_drop}-s{seed}` with its scores beside it: what is finished
    there is taken up again, not made anew.
    """
    name = preset if isinstance(preset, str) else "quick"
    if isinstance(preset, str):
        preset = choose_preset(DIGIT_PRESETS, TRAININGS.get(preset, preset))
    n, solver, strengths = n or SAMPLES[name], solver or PLAIN, strengths or STRENGTHS
    domain = digits.load("mnistm", data)
    scorer = Scorer.load(domain.test.images, n)
    labels = torch.arange(10).repeat_interleave(n // 10)
    base = Path(out) if out else run_folder("guidance", preset, domain)
    cells: Cells = {}
    for p_drop, its_seeds in seeds.items():
        for seed in its_seeds:
            folder = base / f"p{100 * p_drop:g}-s{seed}"
            this = replace(preset, p_drop=p_drop, train=replace(preset.train, seed=seed))
            train_digits(this, data=data, out=folder, resume=True)
            model, header = load_digit_unet(folder / "weights.safetensors")
            for strength, guidance in strengths.items():
                options = {**solver, **guidance, "seed": seed}
                scores = kept(
                    folder / f"{strength.replace(' ', '')}.json",
                    {"n": n, "images_seen": header["images_seen"], **options},
                    partial(sampled_scores, model, header, labels, scorer, **options),
                )
                cell = cells.setdefault((p_drop, strength), {})
                for key, value in {"images": header["images_seen"], **scores}.items():
                    cell.setdefault(key, []).append(value)
    return cells


def means(rows: dict[str, Scores]) -> dict[str, dict[str, float]]:
    """row -> score -> mean over seeds."""
    return {
        row: {score: sum(values) / len(values) for score, values in scores.items()}
        for row, scores in rows.items()
    }


def as_metrics(rows: dict[str, Scores], n: int) -> dict[str, dict]:
    """Entries "row: score" of a result file, each value of n samples or of the row's "samples"."""
    units = {"accuracy": "accuracy", "frechet": "distance", "kernel": "distance",
             "evaluations": "number", "samples": "number",
             "images": "number"}  # fmt: skip
    entries = {}
    for row, scores in rows.items():
        drawn = int(scores.get("samples", [n])[0])
        for score, values in scores.items():
            unit = units.get(score, "share")
            counts = [value * drawn for value in values]
            entries[f"{row}: {score}"] = (
                accuracy_metric(counts, drawn)
                if unit == "accuracy"
                else metric(values, drawn, unit)
            )
    return entries


def sampled_scores(
    model: DigitNet, header: dict, labels: Tensor, scorer: Scorer, **options
) -> dict[str, float]:
    """Scores of one sample for each label (N,), drawn with sample_digits' `options`."""
    images = sample_digits(model, header, labels, range(len(labels)), progress=True, **options)
    return scorer(images, labels)


def kept(file: Path, asked: dict, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The scores in `file` if an earlier run asked for the same, else those of `make`, kept."""
    asked = json.loads(json.dumps(asked))  # tuples become lists, as in the file
    if file.is_file():
        found = json.loads(file.read_text())
        if found["asked"] == asked:
            return found["scores"]
    scores = make()
    with atomic_write(file) as part:
        part.write_text(json.dumps({"asked": asked, "scores": scores}, indent=1))
    return scores


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
