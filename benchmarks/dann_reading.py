"""How an image should be read: once, inverted too, in ten views, with settled batch statistics.

    python benchmarks/dann_reading.py svhn usps mnistm [--seeds 5] [--record]

The notebooks' own trainings of two rows, each read in the ways of `dann_study.WAYS`. Accuracy on
held-out source images is what a way may be chosen by; beside it stands the accuracy on the
target's test images. With --record the table becomes data/results/dann-reading.json. Finished
trainings, the notebooks' too, are taken up again; one takes about five minutes on one core.
"""

from __future__ import annotations

import argparse

import pandas as pd
from dann_apart import arguments, record

from hw2lib import dann
from hw2lib.dann_data import TARGETS
from hw2lib.dann_study import WAYS, by_reading
from hw2lib.metrics import accuracy_metric

READ = ("dann", "best_adaptation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    args = arguments(parser)
    entries, runs = {}, []
    for target in args.targets:
        runs.append(dann.run(target, "full", args.seeds, READ))
        table = {}
        for name, trained in runs[-1]["rows"].items():
            read = [by_reading(t) for t in trained]
            for way in WAYS:
                both = {}
                for i, score in enumerate(("validation", "accuracy")):
                    entry = accuracy_metric([r[way][i] for r in read])
                    entries[f"{target}, {name} {way}: {score}"] = entry
                    both[score] = entry["mean"]
                table[f"{name} {way}"] = both
        print(f"\n{target}, {args.seeds} seeds")
        print(pd.DataFrame(table).T.round(4).to_string(), flush=True)
    if args.record:
        record("dann-reading", runs, entries)


if __name__ == "__main__":
    main()
