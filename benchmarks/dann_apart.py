"""Rows that are recorded apart from the notebooks' tables, for they take long or came later.

    python benchmarks/dann_apart.py report-form svhn usps [--seeds 5] [--record]
    python benchmarks/dann_apart.py no-masks svhn usps [--seeds 5] [--record]

report-form: the report's own form of DANN, with the fault of its frozen statistics and without, 20
epochs in batches of 128, ten minutes a training on one core. no-masks: the best adaptation without
the digits' masks. With --record the numbers become data/results/dann-GROUP.json. Finished
trainings are taken up again.
"""

from __future__ import annotations

import argparse

import torch

from hw2lib.experiments import dann
from hw2lib.experiments.dann_rows import APART
from hw2lib.io import results
from hw2lib.io.paths import RESULTS
from hw2lib.studies import dann as study

TARGETS = ("svhn", "usps")  # MNIST has no masks to leave out, and the report no such task


def arguments(parser: argparse.ArgumentParser, seeds: int = 5) -> argparse.Namespace:
    """What was asked for, the options of every study of trainings among it."""
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    return args


def write(name: str, runs: list[dict], records: list[dict]) -> None:
    """Write data/results/NAME.json about some runs of `dann.run`, one for each target."""
    rows = {row: some[0].row for run in runs for row, some in run["rows"].items()}
    results.write(
        name, preset="full", seeds=runs[0]["seeds"], directory=RESULTS, records=records,
        seconds=sum(run["seconds"] for run in runs),
        data={"source": runs[0]["problem"].data,
              "sha256": {k: v for run in runs for k, v in run["problem"].sha256.items()}},
        settings={name: row.settings() for name, row in rows.items()},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=APART)
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    args = arguments(parser)
    records, runs = [], []
    for target in args.targets:
        runs.append(dann.run(target, "full", args.seeds, APART[args.group]))
        found = study.records_of(runs[-1]["rows"])
        print(target, study.table(found).to_string(), sep="\n", flush=True)
        records += found
    if args.record:
        write(f"dann-{args.group}", runs, records)


if __name__ == "__main__":
    main()
