"""How an image should be read: once, inverted too, in ten views, with settled batch statistics.

    python benchmarks/dann_reading.py svhn usps mnistm [--seeds 5] [--record]

The notebooks' own trainings of two rows, each read in the ways of `dann_study.WAYS`. Accuracy on
held-out source images is what a way may be chosen by; beside it stands the accuracy on the
target's test images. With --record the table becomes data/results/dann-reading.json. Finished
trainings, the notebooks' too, are taken up again; one takes four minutes or more on one core.
"""

from __future__ import annotations

import argparse

import pandas as pd
import torch

from hw2lib import dann, results
from hw2lib.dann_data import TARGETS
from hw2lib.dann_study import WAYS, by_reading
from hw2lib.metrics import accuracy_metric
from hw2lib.paths import RESULTS

READ = ("dann", "best_adaptation")


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
        result = dann.run(target, "full", args.seeds, READ)
        table = {}
        for name, trained in result["rows"].items():
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
        sha256 |= result["problem"].sha256
        settings |= {name: some[0].row.settings() for name, some in result["rows"].items()}
        seconds += result["seconds"]
    if args.record:
        results.record(
            "dann-reading", preset="full", seeds=result["seeds"], seconds=seconds,
            metrics=entries, directory=RESULTS,
            data={"source": result["problem"].data, "sha256": sha256, "settings": settings},
        )  # fmt: skip


if __name__ == "__main__":
    main()
