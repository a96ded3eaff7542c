"""The report's own form of DANN, with the fault of its frozen statistics and without.

    python benchmarks/dann_report_form.py svhn usps [--seeds 5] [--record]

Both rows have the report's 20 epochs in batches of 128: ten minutes a training on one core. With
--record the numbers become data/results/dann-report-form.json. Finished trainings are taken up
again.
"""

from __future__ import annotations

import argparse

import torch

from hw2lib import dann, dann_report, results
from hw2lib.dann_rows import REPORT_FORMS
from hw2lib.paths import RESULTS

TARGETS = ("svhn", "usps")  # the report's


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    entries, sha256, settings, seconds = {}, {}, {}, 0.0
    for target in args.targets:
        result = dann.run(target, "full", args.seeds, REPORT_FORMS)
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
            "dann-report-form", preset="full", seeds=result["seeds"], seconds=seconds,
            metrics=entries, directory=RESULTS,
            data={"source": result["problem"].data, "sha256": sha256, "settings": settings},
        )  # fmt: skip


if __name__ == "__main__":
    main()
