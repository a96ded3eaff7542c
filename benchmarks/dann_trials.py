"""What each part of the adaptation is worth: one cause at a time, and what label shift does.

    python benchmarks/dann_trials.py svhn usps mnistm [--seeds 3] [--steps 960] [--record]

Every variant of `dann_variants` gets the same steps. The table shows accuracy on the target's test
images after the last step, and two scores by which settings may be chosen without target labels:
the information that the predictions on unlabelled target images claim, and the accuracy on
images held out from those with labels. With --record the table becomes
data/results/dann-ablation.json, which the report reads. Finished trainings are taken up again.
"""

from __future__ import annotations

import argparse

import dann_variants
import pandas as pd
import torch

from hw2lib.datasets import digits
from hw2lib.datasets.pairs import TARGETS, Problem, load_problem
from hw2lib.experiments.dann import SAMPLE
from hw2lib.experiments.dann_rows import Row
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir
from hw2lib.metrics import accuracy_metric, metric

ALIGNED = (
    "everything",
    *(f"adversarial loss alone, lambda {lam}" for lam in ("0", "0.3", "1")),
)


def cases_of(problem: Problem) -> dict[str, tuple[Problem, dict[str, Row]]]:
    """folder -> what is trained on what: causes, learning rates, and label shift, where the
    domains' shares of the digits are made equal or differ more. To MNIST-M: the plain rows."""
    target = digits.load(problem.name, problem.data)
    labels = (dann_variants.validated(problem, target), dann_variants.CEILING_RATES)
    if problem.name == "mnistm":
        return {"as-it-is": (problem, dann_variants.PLAIN_ROWS), "labels": labels}
    matched = dann_variants.matched(problem, target.train.labels)
    shifted = dann_variants.shifted(problem, target.train.labels)

    def aligned(name: str) -> dict[str, Row]:
        return {f"{name}, {key}": dann_variants.VARIANTS[key] for key in ALIGNED}

    return {
        "as-it-is": (
            problem,
            dann_variants.VARIANTS | dann_variants.RATES | dann_variants.PLAIN_ROWS,
        ),
        "labels": labels,
        "matched": (matched, aligned("source with the target's shares")),
        "shifted": (shifted, aligned("few 5 to 9 in the target")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=960)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    entries, problems, seconds = {}, [], 0.0
    for target in args.targets:
        problem = load_problem(target)
        table = {}
        for folder, (case, variants) in cases_of(problem).items():
            out = runs_dir() / f"dann-trials-{args.steps}" / target / folder
            rows = dann_variants.ablation(case, range(args.seeds), args.steps, out, variants)
            for name, trained in rows.items():
                entry = accuracy_metric([t.correct for t in trained])
                information, validation = (
                    metric([t.curve[-1][score] for t in trained], min(len(images), SAMPLE), unit)
                    for score, images, unit in (
                        ("information", case.target, "number"),
                        ("source_accuracy", case.held, "accuracy"),
                    )
                )
                entries[f"{target}, {name}: accuracy"] = entry
                entries[f"{target}, {name}: information"] = information
                entries[f"{target}, {name}: validation"] = validation
                seconds += sum(t.seconds for t in trained)
                table[name] = {
                    "accuracy": entry["mean"], "low": entry["low"], "high": entry["high"],
                    "information": information["mean"], "validation": validation["mean"],
                }  # fmt: skip
        print(f"\n{target}, {args.seeds} seeds, {args.steps} steps")
        print(pd.DataFrame(table).T.round(3).to_string(), flush=True)
        problems.append(problem)
    if args.record:
        sources = {problem.data for problem in problems}
        results.record(
            "dann-ablation", preset="full", seeds=list(range(args.seeds)), seconds=seconds,
            metrics=entries, directory=RESULTS,
            data={"source": "embedded" if "embedded" in sources else sources.pop(),
                  "sha256": {k: v for problem in problems for k, v in problem.sha256.items()},
                  "settings": {"steps of each": args.steps}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
