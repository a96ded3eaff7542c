"""The methods of the tables as configurations: what each learns from, and how.

    ROWS["dann"]                                   # the report's second row
    replace(ROWS["dann"], losses={"adversarial": 1.0})
    with_settings(ROWS["dann"], {"steps": "500", "adversarial": "0.1"})     # from `--set`

All methods have the same network, the same number of steps and the same batch, except the report's
own form, which has the report's.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from hw2lib.adaptation import LOSSES
from hw2lib.datasets.augment import GROUPS
from hw2lib.errors import UserError, check_known
from hw2lib.io.parameters import Count, NonNegative, Positive, Share, Size, listed, settings, valid
from hw2lib.training import LrSchedule, TrainConfig

ANNEALED = (0.3, 0.7)  # shares of the steps between which the label loss falls to `label_end`
MASKED = ("thickness", "distractors", "repaint")  # augmentation that needs the digits' masks


@settings
class Row:
    """One method of training; every field may differ from method to method."""

    title: str
    labels: Literal["source", "target"] = "source"  # whose labels
    # Of LOSSES -> weight at the end; all of them are 0 where none is named
    losses: Mapping[str, NonNegative] = Field(default_factory=dict)
    label_end: Share = 1.0  # weight of the label loss at the end; it begins with 1
    ramp: bool = True  # weights grow as 2 / (1 + exp(-10 p)) - 1; else they are constant
    off: listed(Literal[tuple(GROUPS)]) = ()  # groups of augmentation that are turned off
    separate: bool = True  # source and target have batch statistics of their own
    frozen_after: Share = 1.0  # share of steps after which batch statistics stay as they are
    steps: Count = 4800
    batch_size: Annotated[int, Field(ge=2, le=2**16)] = 64  # of each domain
    lr: Positive = 4e-3
    schedule: LrSchedule = "cosine"
    weight_decay: NonNegative = 1e-4
    save_every_s: NonNegative = 120.0  # seconds between checkpoints; no part of what a row is

    def __post_init__(self) -> None:
        for name in self.losses:
            check_known("loss", name, LOSSES)
        if self.losses and self.labels == "target":
            raise UserError("losses are for rows that learn from the source's labels")
        if self.label_end < 1 and not self.losses:
            raise UserError(f"label_end={self.label_end} needs other losses; 1 is right")

    @property
    def adapts(self) -> bool:
        """Whether it sees target images."""
        return bool(self.losses)

    def train(self, seed: int = 0) -> TrainConfig:
        """The settings of the training loop."""
        return TrainConfig(
            self.steps, self.batch_size, self.lr, self.schedule, self.weight_decay,
            min(50, self.steps // 5), 5.0, seed=seed, save_every_s=self.save_every_s,
        )  # fmt: skip

    def weight(self, loss: str, progress: float) -> float:
        """Weight of a loss after the share `progress` of the steps."""
        return self.losses[loss] * (ramp(progress) if self.ramp else 1.0)

    def label_weight(self, progress: float) -> float:
        """Weight of the label loss after the share `progress` of the steps: 1, then a straight
        line to `label_end`, which is reached before the end."""
        begin, end = ANNEALED
        return 1 - (1 - self.label_end) * min(1.0, max(0.0, (progress - begin) / (end - begin)))

    def settings(self) -> dict[str, Any]:
        """What makes the row what it is, in JSON's types."""
        apart = ("title", "save_every_s")
        return {key: value for key, value in asdict(self).items() if key not in apart}


def ramp(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: from 0 at p = 0 to 1 at p = 1 (Ganin et al., 2016)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


SELF_TRAINING = {"teacher": 1.0, "entropy": 0.1, "balance": 0.1}
PLAIN_INPUTS = tuple(GROUPS)  # off: images as they are, x -> 4 x - 2
EPOCHS = 20  # of the report, with 60,000 source images in batches of 128
REPORT = Row(
    "the report's form", losses={"adversarial": 0.31}, ramp=False, separate=False,
    off=("standardise", "intensity", "blur", *MASKED), steps=EPOCHS * 60_000 // 128,
    batch_size=128, lr=1e-4, schedule="constant", weight_decay=0.0,
)  # fmt: skip

ROWS = {
    "source_only": Row("source only, plain", off=PLAIN_INPUTS, separate=False),
    "source_augmented": Row("source only, augmented", separate=False),
    "dann": Row("DANN", losses={"adversarial": 0.3}),
    "best_adaptation": Row("best adaptation", losses=SELF_TRAINING, label_end=0.05),
    "target_only": Row("target only", labels="target", separate=False),
    "dann_no_masks": Row("DANN, no masks", losses={"adversarial": 0.3}, off=MASKED),
    "self_training": Row("self-training", losses=SELF_TRAINING),
    "dann_self_training": Row(
        "DANN and self-training", losses={"adversarial": 0.3, **SELF_TRAINING}
    ),
    "dann_self_training_no_masks": Row(
        "DANN and self-training, no masks", losses={"adversarial": 0.3, **SELF_TRAINING}, off=MASKED
    ),
    "best_no_masks": Row(
        "best adaptation, no masks", losses=SELF_TRAINING, label_end=0.05, off=MASKED
    ),
    "report_form": REPORT,
    "report_form_frozen": replace(
        REPORT, title="the report's form, batch norm frozen", frozen_after=1 / EPOCHS
    ),
}  # fmt: skip
TABLE = ("source_only", "dann", "target_only")  # the report's own three rows
APART = {  # rows with a result file of their own, by `benchmarks/dann_apart.py`
    "report-form": ("report_form_frozen", "report_form"),
    "no-masks": ("best_no_masks",),
}
MAIN = ("source_only", "source_augmented", "dann", "best_adaptation", "target_only")
PRESETS = get_args(Size)
QUICK_STEPS = {"svhn": 300, "usps": 150, "mnistm": 198, "uci": 300}  # until adaptation shows
QUICK_BATCH = 32
QUICK_OFF = ("blur", "distractors")  # too hard for so few steps


def rows_for(target: str, preset: str) -> tuple[str, ...]:
    """The rows of a target's table. From MNIST to MNIST-M there are no masks that could be left
    out."""
    if preset == "quick":
        return MAIN
    without = ("no_masks",) if target == "mnistm" else ()
    apart = {name for group in APART.values() for name in group}
    return tuple(name for name in ROWS if name not in apart and not name.endswith(without))


def row_for(name: str, preset: str = "full", target: str = "svhn") -> Row:
    """A row of ROWS at a preset, whose quick form is a target's; UserError for an unknown name,
    preset or target."""
    check_known("target", target, QUICK_STEPS)
    check_known("row", name, ROWS)
    check_known("preset", preset, PRESETS)
    if preset == "full":
        return ROWS[name]
    off = tuple(dict.fromkeys(ROWS[name].off + QUICK_OFF))
    return replace(ROWS[name], steps=QUICK_STEPS[target], batch_size=QUICK_BATCH, off=off)


def with_settings(row: Row, values: Mapping[str, Any]) -> Row:
    """`row` with fields or weights of losses changed; texts are read as the field's type. A row
    without losses keeps none, so that one setting serves several rows. UserError for an unknown key
    or a value that is not allowed."""
    names = [f.name for f in fields(Row) if f.name not in ("title", "labels", "losses")]
    weights = {key: valid(key, text, NonNegative) for key, text in values.items() if key in LOSSES}
    rest = {key: text for key, text in values.items() if key not in LOSSES}
    for key in values:
        check_known("setting", key, [*names, *LOSSES])
    return replace(row, **rest, losses={**row.losses, **weights} if row.adapts else row.losses)
