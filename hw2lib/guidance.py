"""A fair account of guidance: labels dropped in training against guidance in sampling.

    cells = study("quick", seeds=[0], source="auto")
    cells[0.1, 2.0]["accuracy"]             # one value a seed

Published comparisons "with and without guidance" often change two things at once: whether labels
were dropped in training (p_drop), and whether guidance is used in sampling (w). Here every p_drop
meets every w, and every cell is scored in the same way: accuracy by the judge, and distances,
precision and recall in the features of the yardstick, which no choice was ever made by.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hw2lib import digits
from hw2lib.digits import DigitDomain
from hw2lib.experiments import (
    DIGIT_PRESETS,
    Preset,
    choose_preset,
    load_digit_unet,
    sample_digits,
    train_digits,
)
from hw2lib.judge import Judge, load_judge
from hw2lib.metrics import background_spread
from hw2lib.paths import atomic_write, runs_dir
from hw2lib.yardstick import Reference, Yardstick, compare, load_yardstick

P_DROPS = (0.0, 0.1)
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)  # w
SAMPLES = {"quick": 100, "full": 1000}  # a cell and seed
Cells = dict[tuple[float, float], dict[str, list[float]]]  # (p_drop, w) -> score -> one a seed


@dataclass(frozen=True)
class Scorer:
    """Scores n samples: accuracy, frechet, kernel, precision, recall, spread."""

    judge: Judge
    yardstick: Yardstick
    real: Reference

    @classmethod
    def load(cls, domain: DigitDomain, n: int) -> Scorer:
        """With the shipped networks; test images of `domain` are the real ones."""
        yardstick = load_yardstick()
        return cls(load_judge(), yardstick, Reference.of(yardstick.embed(domain.test.images), n))

    def __call__(self, images: Tensor, labels: Tensor) -> dict[str, float]:
        """images (N, 3, 28, 28) uint8 that should show labels (N,)."""
        read = self.judge.predict(images)
        return {
            "accuracy": (read == labels).double().mean().item(),
            **compare(self.yardstick.embed(images), self.real),
            "spread": background_spread(images, labels),
        }


def ceiling(domain: DigitDomain, scorer: Scorer, n: int, seed: int = 0) -> dict[str, float]:
    """The scores of n real training images: what no model can be expected to beat."""
    g = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(domain.train), generator=g)[:n]
    return scorer(domain.train.images[chosen], domain.train.labels[chosen])


def study(
    preset: str | Preset,
    seeds: Sequence[int],
    *,
    source: str = "auto",
    n: int | None = None,
    strengths: Sequence[float] = STRENGTHS,
    solver: dict | None = None,
    out: str | Path | None = None,
) -> Cells:
    """Train one model for each p_drop and seed, sample and score it at each strength.

    `n` samples a cell, by default as many as the preset's name asks for; `solver` holds
    sample_digits' settings. Each model lies in `out/p{100 p_drop}-s{seed}` with its scores beside
    it: what is finished there is taken up again, not made anew.
    """
    name = preset if isinstance(preset, str) else "quick"
    preset = choose_preset(DIGIT_PRESETS, preset) if isinstance(preset, str) else preset
    n, solver = n or SAMPLES[name], solver or {}
    domain = digits.load("mnistm", source)
    scorer = Scorer.load(domain, n)
    labels = torch.arange(10).repeat_interleave(n // 10)
    cells: Cells = {}
    for p_drop in P_DROPS:
        for seed in seeds:
            folder = Path(out or runs_dir() / f"guidance-{name}") / f"p{100 * p_drop:g}-s{seed}"
            this = replace(preset, p_drop=p_drop, train=replace(preset.train, seed=seed))
            train_digits(this, source=source, out=folder, resume=True)
            model, header = load_digit_unet(folder / "weights.safetensors")
            for w in strengths:
                asked = {"n": n, "images_seen": header["images_seen"], **solver}
                scores = _kept(folder / f"w{w:g}.json", asked)
                if scores is None:
                    images = sample_digits(
                        model, header, labels, range(n), w=w, seed=seed, progress=True, **solver
                    )
                    scores = scorer(images, labels)
                    _keep(folder / f"w{w:g}.json", asked, scores)
                cell = cells.setdefault((p_drop, w), {})
                for key, value in scores.items():
                    cell.setdefault(key, []).append(value)
    return cells


def _kept(file: Path, asked: dict) -> dict[str, float] | None:
    """Scores of an earlier run that asked for the same, if there are any."""
    if not file.is_file():
        return None
    kept = json.loads(file.read_text())
    return kept["scores"] if kept["asked"] == asked else None


def _keep(file: Path, asked: dict, scores: dict[str, float]) -> None:
    with atomic_write(file) as part:
        part.write_text(json.dumps({"asked": asked, "scores": scores}, indent=1))
