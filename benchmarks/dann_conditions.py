"""DANN under conditions that the chapter's tables do not have.

    python benchmarks/dann_conditions.py report-causes [--seeds 3] [--record]
    python benchmarks/dann_conditions.py reversal [--seeds 3] [--record]

report-causes: what the report's number to USPS rests on. The report's form is changed one part at a
time and all together. It has a tenth of the report's steps, in batches of 64, at ten times its
learning rate; the first line tells what that does to the recorded form.

reversal: where the reversal gains. One more row to UCI, and the gain over the training of the same
seed at lambda = 0 in all pairs of that kind, those recorded by `dann_trials` and `dann_uci`
among them.

With --record the numbers become data/results/dann-STUDY.json. Finished trainings are taken up
again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import Any

from dann_apart import arguments
from dann_trials import STEPS, measured
from dann_variants import DANN, name_of

from hw2lib.datasets.augment import HANDLING, PLAIN, Handling
from hw2lib.datasets.pairs import Problem, load_problem
from hw2lib.experiments.dann import Trained, train
from hw2lib.experiments.dann_rows import REPORT, ROWS, Row
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir
from hw2lib.io.results import one, record, select
from hw2lib.metrics import metric

SEEDS, SHORTER = 3, 10


@dataclass(frozen=True)
class Cell:
    """One method on one target."""

    target: str
    name: str  # row of its records
    row: Row
    setting: dict[str, Any] = field(default_factory=dict)  # of its records, beside the target
    changes: dict[str, Any] = field(default_factory=dict)  # fields of the problem


# --- the report's form ---------------------------------------------------------------------------

FORM = replace(REPORT, steps=STEPS, batch_size=64, lr=SHORTER * REPORT.lr)
FALLING = replace(FORM, schedule="stairs")  # at the report's 5, 10 and 15 of 20 epochs
FROZEN = {"frozen_after": ROWS["report_form_frozen"].frozen_after}  # the fault of its code
ROTATED = Handling(rotation=10, shift=2)  # cropped at random after a border of two pixels
ALL = {"handling": (ROTATED, PLAIN)}
REPORT_CELLS = [
    Cell("usps", "as recorded, shorter", FORM),
    Cell("usps", "target as it is", FORM, changes={"handling": (HANDLING["usps"][0], PLAIN)}),
    Cell("usps", "source rotated and cropped", FORM,
         changes={"handling": (ROTATED, HANDLING["usps"][1])}),
    Cell("usps", "falling learning rate", FALLING),
    Cell("usps", "all together", FALLING, changes=ALL),
    Cell("usps", "all together, batch norm frozen", replace(FALLING, **FROZEN),
         changes=ALL),
]  # fmt: skip

# --- the reversal --------------------------------------------------------------------------------

OWN = "augmented, own statistics"
REVERSAL_CELLS = [  # beside `dann_uci`: what domain-specific batch norm does there by itself
    Cell("uci", OWN, replace(DANN, losses={"adversarial": 0.0}, steps=STEPS), {"adversarial": 0}),
]
STUDIES = {"report-causes": REPORT_CELLS, "reversal": REVERSAL_CELLS}


def train_cell(study: str, cell: Cell, problem: Problem, seed: int) -> Trained:
    """One training on the problem with the cell's changes, or the finished one."""
    name = name_of((cell.name, cell.setting, cell.row))
    out = runs_dir() / f"dann-{study}" / cell.target / name / f"seed-{seed}"
    return train(cell.row, replace(problem, **cell.changes), seed, out, resume=True)


def gains(records: list[dict]) -> list[dict]:
    """What the reversal adds to the same method at lambda = 0, in points of accuracy, seed by seed:
    of the study's own `records`, and of those that `dann_trials` and `dann_uci` recorded."""
    causes, uci = (results.load(f"dann-{n}", RESULTS)["records"] for n in ("ablation", "uci"))
    lam = DANN.losses["adversarial"]
    found = []

    def add(name: str, above: dict, below: dict, lam: float) -> None:
        pairs = zip(above["values"], below["values"], strict=False)  # of the seeds that both have
        points = metric([100 * (a - b) for a, b in pairs], above["n"], "points")
        where = above["setting"]["target"]
        found.append(record(name, "gain", points, target=where, adversarial=lam))

    for where in ("svhn", "usps", "mnistm"):
        below, above = (one(causes, row, "accuracy", target=where)
                        for row in ("plain, own batch statistics", "plain DANN"))  # fmt: skip
        add("plain, own statistics", above, below, lam)
    for where in ("svhn", "usps"):
        alone = select(causes, "adversarial loss alone", "accuracy", target=where)
        below, *above = (one(alone, "adversarial loss alone", "accuracy", adversarial=weight)
                         for weight in (0, 0.1, 0.3, 1))  # fmt: skip
        for one_of in above:
            add(OWN, one_of, below, one_of["setting"]["adversarial"])
    below = one(records, OWN, "accuracy", target="uci", adversarial=0)
    add(OWN, one(uci, "dann", "accuracy", target="uci"), below, lam)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    args = arguments(parser, seeds=SEEDS)
    cells = STUDIES[args.study]
    problems = {t: load_problem(t) for t in dict.fromkeys(cell.target for cell in cells)}
    records, settings, seconds = [], {}, 0.0
    for cell in cells:
        problem = problems[cell.target]
        trained = [train_cell(args.study, cell, problem, seed) for seed in range(args.seeds)]
        seconds += sum(t.seconds for t in trained)
        records += measured(problem, cell.name, trained, **cell.setting)
        name = f"{cell.target}: {name_of((cell.name, cell.setting, cell.row))}"
        handling = [vars(h) for h in trained[0].problem.handling]
        settings[name] = {**cell.row.settings(), "handling": handling}
        print(results.table(records[-3:]).to_string(header=False), flush=True)
    if args.study == "reversal":
        records += gains(records)
    print(results.table(records).to_string())
    if args.record:
        results.write(
            f"dann-{args.study}", preset="full", seeds=list(range(args.seeds)), seconds=seconds,
            records=records, settings=settings, directory=RESULTS,
            data={"source": problem.data,
                  "sha256": {k: v for p in problems.values() for k, v in p.sha256.items()}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
