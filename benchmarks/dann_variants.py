"""What `dann_trials` trains: rows with one part changed, and other shares of the digits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hw2lib.datasets.augment import Handling
from hw2lib.datasets.digits import DigitDomain
from hw2lib.datasets.pairs import Problem, Unlabelled, part, supervised
from hw2lib.experiments.dann import Trained, train
from hw2lib.experiments.dann_rows import PLAIN_INPUTS, ROWS, Row
from hw2lib.studies.dann import class_shares

ALL_LOSSES = ROWS["dann_self_training"]
DANN = ROWS["dann"]


def _without(*losses: str) -> dict[str, float]:
    return {name: weight for name, weight in ALL_LOSSES.losses.items() if name not in losses}


Variant = tuple[str, dict, Row]  # row and setting of its records, and what is trained
VARIANTS: list[Variant] = [
    # One part left out of everything
    ("everything", {}, ALL_LOSSES),
    ("not standardised", {}, replace(ALL_LOSSES, off=("standardise",))),
    ("no intensity changes", {}, replace(ALL_LOSSES, off=("intensity",))),
    ("no geometry", {}, replace(ALL_LOSSES, off=("geometry",))),
    ("no blur", {}, replace(ALL_LOSSES, off=("blur",))),
    ("no thickness", {}, replace(ALL_LOSSES, off=("thickness",))),
    ("no distractors", {}, replace(ALL_LOSSES, off=("distractors",))),
    ("no repainting", {}, replace(ALL_LOSSES, off=("repaint",))),
    ("shared batch statistics", {}, replace(ALL_LOSSES, separate=False)),
    ("no adversarial loss", {}, replace(ALL_LOSSES, losses=_without("adversarial"))),
    ("no teacher", {}, replace(ALL_LOSSES, losses=_without("teacher"))),
    ("no entropy and balance", {}, replace(ALL_LOSSES, losses=_without("entropy", "balance"))),
    # The source loss annealed (`Row.label_end`)
    *(
        ("self-training", {"label_end": end}, replace(ROWS["self_training"], label_end=end))
        for end in (0.05, 0.0)
    ),
    # How much the pseudo-labels of the teacher weigh
    *(
        ("everything", more, replace(ALL_LOSSES, losses={**ALL_LOSSES.losses, **more}))
        for more in ({"teacher": 0.3}, {"teacher": 3.0})
    ),
    # The adversarial loss alone, weaker and stronger; at 0 only the batch statistics adapt
    *(
        ("adversarial loss alone", losses, replace(DANN, losses=losses))
        for losses in ({"adversarial": lam} for lam in (0.0, 0.1, 0.3, 1.0))
    ),
    ("adversarial loss alone", {"adversarial": 0.3, "ramp": False}, replace(DANN, ramp=False)),
    ("source only, augmented", {}, ROWS["source_augmented"]),
]


def rates_of(name: str, row: Row) -> list[Variant]:
    """The row, and with half and with twice its learning rate: all rows get the same care."""
    return [
        (name, {}, row),
        *((name, {"lr_factor": f}, replace(row, lr=f * row.lr)) for f in (0.5, 2)),
    ]


RATES = rates_of("everything", ALL_LOSSES)
PLAIN_ROWS: list[Variant] = [  # without augmentation: why the plain source row is where it is
    *rates_of("source only, plain", ROWS["source_only"]),
    ("source only, plain, standardised", {}, replace(
        ROWS["source_only"], off=tuple(group for group in PLAIN_INPUTS if group != "standardise")
    )),
    ("plain, own batch statistics", {},
     replace(DANN, losses={"adversarial": 0.0}, off=PLAIN_INPUTS)),
    ("plain DANN", {}, replace(DANN, off=PLAIN_INPUTS)),
]  # fmt: skip
CEILING_RATES = rates_of("target's labels", ROWS["target_only"])  # on `validated`


def name_of(variant: Variant) -> str:
    """The folder of a variant's trainings, one a seed."""
    name, setting, _ = variant
    return "-".join(re.findall(r"[\w.]+", f"{name} {setting}"))


def those_that_change(
    variants: Sequence[Variant], handling: tuple[Handling, Handling]
) -> list[Variant]:
    """Without those that turn off what the augmentation of both domains does not have."""
    return [
        variant
        for variant in variants
        if not variant[2].off or any(h.without(*variant[2].off) != h for h in handling)
    ]


def ablation(
    problem: Problem,
    seeds: Sequence[int],
    steps: int,
    out: str | Path,
    variants: Sequence[Variant] = VARIANTS,
) -> list[tuple[str, dict, list[Trained]]]:
    """Row, setting and one training a seed of `steps` steps; what is finished in `out` is taken up.

    Variants that change nothing are left out, see `those_that_change`.
    """
    rows = []
    for variant in those_that_change(variants, problem.handling):
        name, setting, row = variant
        folder, row = Path(out) / name_of(variant), replace(row, steps=steps)
        trained = [train(row, problem, s, folder / f"seed-{s}", resume=True) for s in seeds]
        rows.append((name, setting, trained))
    return rows


def validated(problem: Problem, target: DigitDomain) -> Problem:
    """`supervised`, with a tenth of the target's training images held out to choose by."""
    whole = supervised(problem, target)
    n = len(whole.source) * 9 // 10
    held = part(whole.source, slice(n, None))
    return replace(whole, source=part(whole.source, slice(n)), held=held)


def matched(problem: Problem, labels: Tensor) -> Problem:
    """The same problem with as many source images of each digit as have the target's shares.

    labels (N,) of the target's training images: no method without them could do this; it shows
    what the difference of the shares costs.
    """
    shares = torch.from_numpy(class_shares(labels))
    have = torch.bincount(problem.source.labels, minlength=10)
    keep = (shares * (have / shares.clamp(min=1e-9)).min()).round().long()  # of each digit
    chosen = [torch.nonzero(problem.source.labels == k).squeeze(1)[: keep[k]] for k in range(10)]
    return replace(problem, source=part(problem.source, torch.cat(chosen).sort().values))


def shifted(problem: Problem, labels: Tensor, keep: float = 0.1) -> Problem:
    """The same problem with only the share `keep` of the target's digits 5 to 9.

    labels (N,) of the target's training images: used to make the experiment, seen by no row.
    """
    rare = torch.nonzero(labels >= 5).squeeze(1)
    dropped = rare[torch.arange(len(rare)) >= round(keep * len(rare))]
    chosen = torch.ones(len(labels), dtype=torch.bool)
    chosen[dropped] = False
    return replace(problem, target=Unlabelled(problem.target.images[chosen]))
