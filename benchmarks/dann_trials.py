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
from pathlib import Path

import dann_variants
from dann_apart import arguments
from dann_variants import VARIANTS, Variant

from hw2lib.datasets import digits
from hw2lib.datasets.augment import HANDLING
from hw2lib.datasets.pairs import TARGETS, Problem, load_problem
from hw2lib.experiments.dann import SAMPLE, Trained
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir
from hw2lib.io.results import record
from hw2lib.metrics import accuracy_metric, metric

ALIGNED = (  # rows and settings that are trained where the domains' shares of the digits differ
    ("everything", {}),
    *(("adversarial loss alone", {"adversarial": lam}) for lam in (0.0, 0.3, 1.0)),
)
STEPS, SEEDS = 960, 3
SCORES = ("accuracy", "information", "validation")


def variants_of(target: str) -> dict[str, list[Variant]]:
    """case -> what is trained there: causes, learning rates, and label shift, where the domains'
    shares of the digits are made equal or differ more. To MNIST-M: the plain rows."""
    ceiling = {"labels": dann_variants.CEILING_RATES}
    if target == "mnistm":
        return {"as-it-is": dann_variants.PLAIN_ROWS, **ceiling}

    def aligned(shares: str) -> list[Variant]:
        return [
            (name, {"shares": shares, **setting}, row)
            for name, setting, row in VARIANTS
            if (name, setting) in ALIGNED
        ]

    causes = [*VARIANTS, *dann_variants.RATES[1:], *dann_variants.PLAIN_ROWS]
    return {
        "as-it-is": dann_variants.those_that_change(causes, HANDLING[target]),
        **ceiling,
        "matched": aligned("as the target's"),
        "shifted": aligned("few 5 to 9 in the target"),
    }


def case_of(problem: Problem, case: str) -> Problem:
    """The problem as it is in one of the cases of `variants_of`."""
    if case == "as-it-is":
        return problem
    target = digits.load(problem.name, problem.data)
    if case == "labels":
        return dann_variants.validated(problem, target)
    change = {"matched": dann_variants.matched, "shifted": dann_variants.shifted}[case]
    return change(problem, target.train.labels)


def folder_of(target: str, case: str, steps: int) -> Path:
    return runs_dir() / f"dann-trials-{steps}" / target / case


def measured(case: Problem, name: str, trained: list[Trained], **setting) -> list[dict]:
    """Records of the SCORES of a variant's trainings."""
    of_target, of_held = (min(len(x), SAMPLE) for x in (case.target, case.held))
    last = [t.curve[-1] for t in trained]
    entries = (
        accuracy_metric([t.correct for t in trained]),
        metric([look["information"] for look in last], of_target, "number"),
        metric([look["source_accuracy"] for look in last], of_held, "accuracy"),
    )
    return [
        record(name, score, entry, target=case.name, **setting)
        for score, entry in zip(SCORES, entries, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = arguments(parser, seeds=SEEDS)
    records, problems, seconds = [], [], 0.0
    for target in args.targets:
        problem = load_problem(target)
        for name, variants in variants_of(target).items():
            case, out = case_of(problem, name), folder_of(target, name, args.steps)
            for row, setting, trained in dann_variants.ablation(
                case, range(args.seeds), args.steps, out, variants
            ):
                seconds += sum(t.seconds for t in trained)
                records += measured(case, row, trained, **setting)
        print(f"\n{target}, {args.seeds} seeds, {args.steps} steps")
        print(results.table(results.select(records, target=target)).to_string(), flush=True)
        problems.append(problem)
    if args.record:
        sources = {problem.data for problem in problems}
        results.write(
            "dann-ablation", preset="full", seeds=list(range(args.seeds)), seconds=seconds,
            records=records, directory=RESULTS, settings={"steps of each": args.steps},
            data={"source": "embedded" if "embedded" in sources else sources.pop(),
                  "sha256": {k: v for problem in problems for k, v in problem.sha256.items()}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
