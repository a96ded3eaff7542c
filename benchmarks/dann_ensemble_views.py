"""The ensemble of best adaptations, each network evaluated in the way that the source speaks for.

    python benchmarks/dann_ensemble_views.py svhn usps mnistm [--record]

`dann_reading` evaluated single networks in four ways: in one view, two or ten, with batch norm as
trained or recalibrated. For each target the way with the highest accuracy on held-out *source*
images there is taken: no label of the target chooses. In this way the five networks of
`dann_ensemble` predict the target's test images, each for itself and together. The rule was
committed before any accuracy of an ensemble in more than two views was read. Rows, by target,
views and settled (whether batch norm is recalibrated), in two views and in the chosen way:

    teachers  accuracy  of each network
    ensemble  accuracy  of the mean of their softmax outputs
    ensemble  gain      of the chosen way over each teacher in two views

--record writes data/results/dann-ensemble-views.json. Trainings are taken up, or done first.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Sequence

import numpy as np
import torch
from dann_ensemble import TARGETS, TEACHER, TEACHERS
from dann_reading import logits_in_ten, settle
from torch import Tensor

from hw2lib.experiments import dann
from hw2lib.experiments.dann import Trained
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io import results
from hw2lib.io.paths import RESULTS
from hw2lib.io.results import record, select
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models.dann_net import TARGET, logits

Way = tuple[int, bool]  # views, whether batch norm is recalibrated
USUAL: Way = (2, False)


def chosen_way(target: str) -> Way:
    """The one in which `dann_reading` found held-out source images classified best."""
    found = select(
        results.load("dann-reading", RESULTS)["records"], TEACHER, "validation", target=target
    )
    best = max(found, key=lambda r: r["mean"])["setting"]
    return best["views"], best["settled"]


def probabilities(by: Sequence[Trained], way: Way) -> Tensor:
    """(S, N, 10) that S networks give their target's test images."""
    (views, settled), found = way, []
    for trained in by:
        net, problem = copy.deepcopy(trained.network), trained.problem
        if settled:
            settle(net, problem.target.images, TARGET)
        if views < 10:
            net.readings = views
        read = logits if views < 10 else logits_in_ten
        found.append(read(net, problem.test.images, TARGET).softmax(1))
    return torch.stack(found)


def correct(p: Tensor, labels: Tensor) -> np.ndarray:
    """Which images are classified correctly, bool (S, N), by probabilities (S, N, 10)."""
    return (p.argmax(2) == labels).numpy()


def records_of(target: str, networks: Sequence[Trained], way: Way) -> list[dict]:
    """The records of a target, with the way that was chosen for it."""
    labels, records, single = networks[0].problem.test.labels, [], {}
    for views, settled in dict.fromkeys((USUAL, way)):
        setting = {"target": target, "views": views, "settled": settled}
        p = probabilities(networks, (views, settled))
        single[views, settled] = correct(p, labels)
        together = correct(p.mean(0, keepdim=True), labels)
        records += [
            record("teachers", "accuracy", accuracy_metric(single[views, settled]), **setting),
            record("ensemble", "accuracy", accuracy_metric(together), **setting),
        ]
    gains = together.mean() - single[USUAL].mean(1)
    gain = metric(gains, len(labels), "accuracy")
    return [*records, record("ensemble", "gain", gain, **setting, over="teachers in two views")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=TARGETS)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, records, sha256 = time.perf_counter(), [], {}
    for target in args.targets:
        run = dann.run(target, "full", TEACHERS, [TEACHER])
        records += records_of(target, run["rows"][TEACHER], chosen_way(target))
        sha256 |= run["problem"].sha256
    print(results.frame(records).to_string())
    if args.record:
        results.write(
            "dann-ensemble-views", preset="full", seeds=[*TEACHERS], directory=RESULTS,
            records=records, seconds=time.perf_counter() - began,
            data={"source": run["problem"].data, "sha256": sha256},
            settings={"teachers": ROWS[TEACHER].settings(),
                      "ways": {target: list(chosen_way(target)) for target in args.targets}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
