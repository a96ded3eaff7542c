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

from hw2lib import dann, dann_report, results
from hw2lib.dann_rows import APART
from hw2lib.paths import RESULTS

TARGETS = ("svhn", "usps")  # MNIST has no masks to leave out, and the report no such task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=APART)
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    entries, sha256, settings, seconds = {}, {}, {}, 0.0
    for target in args.targets:
        result = dann.run(target, "full", args.seeds, APART[args.group])
        measured = dann_report.metrics(result["rows"])
        print(dann_report.table(result, measured), flush=True)
        for key, entry in measured.items():
            row, _, score = key.partition(": ")
            entries[f"{target}, {row}: {score or 'accuracy'}"] = entry
        sha256 |= result["problem"].sha256
        settings |= {name: some[0].row.settings() for name, some in result["rows"].items()}
        seconds += result["seconds"]
    if args.record:
        results.record(
            f"dann-{args.group}", preset="full", seeds=result["seeds"], seconds=seconds,
            metrics=entries, directory=RESULTS,
            data={"source": result["problem"].data, "sha256": sha256, "settings": settings},
        )  # fmt: skip


if __name__ == "__main__":
    main()
