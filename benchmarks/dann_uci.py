"""A target that nobody has looked at: UCI's digits, settings frozen as they are for USPS.

    python benchmarks/dann_uci.py [--seeds 5] [--steps 960] [--record]

Declared before the first run: the rows of `dann_rows.MAIN` at their full settings, but for 960
steps, as in the study of causes (`dann_trials`), where USPS's numbers at this length are; seed by
seed, five at most, run once, and recorded whatever comes out. With --record the numbers become
data/results/dann-uci.json. Finished trainings are taken up again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dann_apart import arguments, write

from hw2lib.experiments import dann
from hw2lib.experiments.dann_rows import MAIN
from hw2lib.io.paths import runs_dir
from hw2lib.studies import dann as study

STEPS = 960


def adapt(seeds: int | Sequence[int], rows: Sequence[str], steps: int) -> dict:
    """The rows for each seed; what is finished is taken up."""
    out = folder_of(steps)
    return dann.run("uci", "full", seeds, rows, out, settings={"steps": steps})


def folder_of(steps: int) -> Path:
    return runs_dir() / f"dann-uci-{steps}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    args = arguments(parser)
    run = adapt(args.seeds, MAIN, args.steps)
    records = [*study.records_of(run["rows"]), *study.label_shift(run["problem"])]
    print(study.table(records).to_string())
    if args.record:
        write("dann-uci", [run], records)


if __name__ == "__main__":
    main()
