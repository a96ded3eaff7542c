"""Where the reversal gains: plain images, shared batch statistics or none, weak or long.

    python benchmarks/dann_reversal.py svhn mnistm uci [--seeds 3] [--record]

Each training is set beside the one of the same seed at lambda = 0, where the domain head learns and
the extractor does not listen. With --record the numbers become data/results/dann-reversal.json.
Finished trainings are taken up again. Records, by target, adversarial (lambda) and steps:

    ROW  accuracy, information, validation  one value a seed
    ROW  gain                               over lambda = 0, in points of accuracy, one a seed
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dann_apart import arguments
from dann_trials import STEPS, measured
from dann_variants import DANN, name_of

from hw2lib.datasets.pairs import Problem, load_problem
from hw2lib.experiments.dann import Trained, train
from hw2lib.experiments.dann_rows import PLAIN_INPUTS, Row
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir
from hw2lib.io.results import one, record, select
from hw2lib.metrics import metric

TARGETS, SEEDS, LONGER = ("svhn", "mnistm", "uci"), 3, 5
OWN, SHARED, NO_NORM = "augmented, own statistics", "plain, shared statistics", "plain, no norm"
PLAIN = replace(DANN, off=PLAIN_INPUTS, separate=False, steps=STEPS)


@dataclass(frozen=True)
class Cell:
    """One method at one strength of the reversal."""

    name: str  # row of its records
    row: Row

    @property
    def setting(self) -> dict:
        return {"adversarial": self.row.losses["adversarial"], "steps": self.row.steps}


def strengths(name: str, row: Row, weights: Sequence[float]) -> list[Cell]:
    """The row at several strengths, 0 first."""
    return [Cell(name, replace(row, losses={"adversarial": lam})) for lam in (0.0, *weights)]


PLAIN_CELLS = [
    *strengths(SHARED, PLAIN, (0.1, 0.3)),
    # Statistics that stay at 0 and 1 normalise nothing, as in the network of the DANN paper
    *strengths(NO_NORM, replace(PLAIN, frozen_after=0.0, lr=1e-3), (0.1, 0.3)),
]
CELLS = {
    "svhn": PLAIN_CELLS,
    "mnistm": [*PLAIN_CELLS, *strengths(SHARED, replace(PLAIN, steps=LONGER * STEPS), (0.1, 0.3))],
    "uci": strengths(OWN, replace(DANN, steps=STEPS), ()),  # `dann_uci` has the other strength
}


def train_cell(cell: Cell, problem: Problem, seed: int) -> Trained:
    """One training, or the finished one."""
    name = name_of((cell.name, cell.setting, cell.row))
    folder = runs_dir() / "dann-reversal" / problem.name / name
    return train(cell.row, problem, seed, folder / f"seed-{seed}", resume=True)


def gains(records: list[dict]) -> list[dict]:
    """What the reversal adds to the same method at lambda = 0, in points of accuracy, seed by
    seed. UCI's trainings with the reversal are those of `dann_uci`."""
    found = []

    def add(above: dict, below: dict, **setting: float) -> None:
        pairs = zip(above["values"], below["values"], strict=False)  # of the seeds that both have
        points = metric([100 * (a - b) for a, b in pairs], above["n"], "points")
        found.append(record(below["row"], "gain", points, **below["setting"] | setting))

    for below in select(records, score="accuracy", adversarial=0):
        row, setting = below["row"], below["setting"]
        for above in select(records, row, "accuracy", **without(setting, "adversarial")):
            if lam := above["setting"]["adversarial"]:
                add(above, below, adversarial=lam)
        if row == OWN:
            with_it = one(results.load("dann-uci", RESULTS)["records"], "dann", "accuracy")
            add(with_it, below, adversarial=DANN.losses["adversarial"])
    return found


def without(setting: dict, name: str) -> dict:
    return {key: value for key, value in setting.items() if key != name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    args = arguments(parser, seeds=SEEDS)
    records, settings, seconds = [], {}, 0.0
    problems = {target: load_problem(target) for target in args.targets}
    for target, problem in problems.items():
        for cell in CELLS[target]:
            trained = [train_cell(cell, problem, seed) for seed in range(args.seeds)]
            seconds += sum(t.seconds for t in trained)
            records += measured(problem, cell.name, trained, **cell.setting)
            settings[name_of((cell.name, cell.setting, cell.row))] = cell.row.settings()
            print(results.table(records[-3:]).to_string(header=False), flush=True)
    records += gains(records)
    print(results.table(select(records, score="gain")).to_string())
    if args.record:
        results.write(
            "dann-reversal", preset="full", seeds=list(range(args.seeds)), seconds=seconds,
            records=records, settings=settings, directory=RESULTS,
            data={"source": problem.data,
                  "sha256": {k: v for p in problems.values() for k, v in p.sha256.items()}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
