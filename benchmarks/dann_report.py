"""What the report's number to USPS rests on: its form, changed one part at a time and all together.

    python benchmarks/dann_report.py [--seeds 3] [--record]

Each training has a tenth of the report's steps, in batches of 64, at ten times its learning rate;
the first line tells what that does to the recorded form (`dann_apart`). With --record the numbers
become data/results/dann-report-causes.json. Finished trainings are taken up again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import Any

from dann_apart import arguments
from dann_trials import STEPS, measured
from dann_variants import name_of

from hw2lib.datasets.augment import HANDLING, PLAIN, Handling
from hw2lib.datasets.pairs import Problem, load_problem
from hw2lib.experiments.dann import Trained, train
from hw2lib.experiments.dann_rows import REPORT, ROWS, Row
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir

TARGET, SEEDS, SHORTER = "usps", 3, 10
FORM = replace(REPORT, steps=STEPS, batch_size=64, lr=SHORTER * REPORT.lr)
FALLING = replace(FORM, schedule="stairs")  # at the report's 5, 10 and 15 of 20 epochs
FROZEN = replace(FALLING, frozen_after=ROWS["report_form_frozen"].frozen_after)
ROTATED = Handling(rotation=10, shift=2)  # cropped at random after a border of two pixels
ALL = {"handling": (ROTATED, PLAIN)}


@dataclass(frozen=True)
class Cell:
    """One method, on the task with some fields of the problem changed."""

    name: str  # row of its records
    row: Row
    changes: dict[str, Any] = field(default_factory=dict)


CELLS = [
    Cell("as recorded, shorter", FORM),
    Cell("target as it is", FORM, {"handling": (HANDLING[TARGET][0], PLAIN)}),
    Cell("source rotated and cropped", FORM, {"handling": (ROTATED, HANDLING[TARGET][1])}),
    Cell("falling learning rate", FALLING),
    Cell("all together", FALLING, ALL),
    Cell("all together, batch norm frozen", FROZEN, ALL),
]


def train_cell(cell: Cell, problem: Problem, seed: int) -> Trained:
    """One training on the problem with the cell's changes, or the finished one."""
    folder = runs_dir() / "dann-report-causes" / TARGET / name_of((cell.name, {}, cell.row))
    changed = replace(problem, **cell.changes)
    return train(cell.row, changed, seed, folder / f"seed-{seed}", resume=True)


def main() -> None:
    args = arguments(argparse.ArgumentParser(description=__doc__.splitlines()[0]), seeds=SEEDS)
    problem = load_problem(TARGET)
    records, settings, seconds = [], {}, 0.0
    for cell in CELLS:
        trained = [train_cell(cell, problem, s) for s in range(args.seeds)]
        seconds += sum(t.seconds for t in trained)
        records += measured(problem, cell.name, trained)
        handling = [vars(h) for h in trained[0].problem.handling]
        settings[cell.name] = {**cell.row.settings(), "handling": handling}
    print(results.table(records).to_string())
    if args.record:
        results.write(
            "dann-report-causes", preset="full", seeds=list(range(args.seeds)), seconds=seconds,
            records=records, settings=settings, directory=RESULTS,
            data={"source": problem.data, "sha256": problem.sha256},
        )  # fmt: skip


if __name__ == "__main__":
    main()
