"""How an image should be read: once, inverted too, in ten views, with settled batch statistics.

    python benchmarks/dann_reading.py svhn usps [--seeds 3] [--steps 960] [--record]

Short trainings of four rows, each read in the ways of `dann_study.WAYS`. Accuracy on images held
out from those with labels is what a way may be chosen by; beside it stands the accuracy on the
target's test images. With --record the table becomes data/results/dann-reading.json. Finished
trainings are taken up again.
"""

from __future__ import annotations

import pandas as pd
from dann_trials import arguments, record

from hw2lib import digits
from hw2lib.dann_data import load_problem
from hw2lib.dann_rows import ROWS
from hw2lib.dann_study import WAYS, ablation, by_reading, validated
from hw2lib.metrics import accuracy_metric
from hw2lib.paths import runs_dir

READ = ("source_augmented", "dann", "best_adaptation", "target_only")


def main() -> None:
    args = arguments(__doc__.splitlines()[0])
    entries, problems, seconds = {}, [], 0.0
    for target in args.targets:
        problem = load_problem(target)
        with_labels = validated(problem, digits.load(target, problem.data))
        table = {}
        for name in READ:
            case = with_labels if ROWS[name].labels == "target" else problem
            out = runs_dir() / f"dann-reading-{args.steps}" / target
            (trained,) = ablation(
                case, range(args.seeds), args.steps, out, {name: ROWS[name]}
            ).values()
            seconds += sum(t.seconds for t in trained)
            read = [by_reading(t) for t in trained]
            for way in WAYS:
                both = {}
                for i, score in enumerate(("validation", "accuracy")):
                    entry = accuracy_metric([r[way][i] for r in read])
                    entries[f"{target}, {name} {way}: {score}"] = entry
                    both[score] = entry["mean"]
                table[f"{name} {way}"] = both
        print(f"\n{target}, {args.seeds} seeds, {args.steps} steps")
        print(pd.DataFrame(table).T.round(4).to_string(), flush=True)
        problems.append(problem)
    if args.record:
        record("dann-reading", args, entries, problems, seconds)


if __name__ == "__main__":
    main()
