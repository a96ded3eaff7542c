"""An ensemble of best adaptations labels the target once more, and students learn from that.

    python benchmarks/dann_ensemble.py svhn [--rounds 2] [--record]
    python benchmarks/dann_ensemble.py usps [--rounds 2] [--record]
    python benchmarks/dann_ensemble.py mnistm [--rounds 2] [--record]

The five seeds' networks predict the unlabelled training images: the mean of their softmax outputs
is an image's soft label. A student learns from the images with these labels alone, trained as the
row `target_only` is: the same network, steps and handling, but no true label. All that was fixed
for SVHN and committed before any test accuracy of a student or an ensemble was read, and USPS and
MNIST-M take it as it is. Nothing is chosen, neither a row nor a step, and all is recorded whatever
comes out. Rows:

    teachers               the best adaptation of the table, seeds 0 to 4
    ensemble               their mean prediction
    student                learns from the ensemble, seeds 0 to 2
    student_ensemble       the students' mean prediction
    second_round           learns from the students' ensemble, seeds 0 to 2
    second_round_ensemble  their mean prediction

and their scores:

    accuracy     on the test images, after the last step
    gain         in accuracy over the row `over`: seed by seed, an ensemble's over each member
    information  in nats, as a `Watch` has it, without a label
    agreement    share of training images that are read as the labels of the row's training say

--record writes data/results/dann-ensemble-TARGET.json; rounds that are left out stand there as not
run. Finished trainings, the notebooks' too, are taken up again.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from hw2lib.adaptation import entropy_and_balance
from hw2lib.datasets.digits import DigitSet
from hw2lib.datasets.pairs import Problem
from hw2lib.device import device
from hw2lib.experiments import dann
from hw2lib.experiments.dann import SAMPLE, Trained, train
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models.dann_net import SOURCE, TARGET, features

TARGETS = ("svhn", "usps", "mnistm")
TEACHER = "best_adaptation"
TEACHERS, STUDENTS = range(5), range(3)  # seeds
ROUNDS = ("student", "second_round")
STUDENT = replace(ROWS["target_only"], title="student")


@torch.no_grad()
def predicted(by: Sequence[Trained], images: Tensor) -> Tensor:
    """Probabilities (S, N, 10) that S networks give uint8 images (N, 3, 28, 28), each in the views
    in which it is evaluated."""
    found = []
    for trained in by:
        net = trained.network
        f = features(net, images, TARGET if trained.row.adapts else SOURCE)
        found.append(net.label_head(f.to(device())).softmax(1).cpu())
    return torch.stack(found)


def labelled(problem: Problem, by: Sequence[Trained]) -> Problem:
    """`pairs.supervised` with the mean prediction of `by`, (N, 10), in place of the true labels.
    A `Watch` compares with the digits that are likeliest in it."""
    images = problem.target.images
    soft = predicted(by, images).mean(0)
    weights = (x.cpu().numpy().tobytes() for t in by for x in t.network.state_dict().values())
    return replace(
        problem, source=DigitSet(images, soft),
        held=DigitSet(images[:SAMPLE], soft[:SAMPLE].argmax(1)),
        handling=(problem.handling[1],) * 2,
        sha256={**problem.sha256, "networks": hashlib.sha256(b"".join(weights)).hexdigest()},
    )  # fmt: skip


def learn(name: str, problem: Problem, seed: int) -> Trained:
    """A student of the labels of a problem by `labelled`, or the finished one."""
    folder = runs_dir() / f"dann-ensemble-{problem.name}" / name / f"seed-{seed}"
    return train(STUDENT, problem, seed, folder, resume=True)


@dataclass(frozen=True)
class Read:
    """What the networks of a row predict, or the one ensemble of them."""

    train: Tensor  # (S, N, 10), probabilities on the target's training images
    test: Tensor  # (S, n, 10), on its test images
    labels: Tensor  # (n,), true ones of the test images

    @classmethod
    def of(cls, by: Sequence[Trained], problem: Problem) -> Read:
        train, test = (predicted(by, x.images) for x in (problem.target, problem.test))
        return cls(train, test, problem.test.labels)

    def ensemble(self) -> Read:
        """The mean of the predictions."""
        train, test = (x.mean(0, keepdim=True) for x in (self.train, self.test))
        return Read(train, test, self.labels)

    def first(self, n: int) -> Read:
        """Of the first n networks alone."""
        return Read(self.train[:n], self.test[:n], self.labels)

    @property
    def correct(self) -> np.ndarray:
        """Which test images are read rightly, bool (S, n)."""
        return (self.test.argmax(2) == self.labels).numpy()


def records_of(
    target: str, name: str, read: Read, labels: Tensor | None = None,
    over: tuple[str, Read] | None = None,
) -> list[dict]:  # fmt: skip
    """Records of a row; labels: the probabilities (S or 1, N, 10) that `agreement` is with."""
    n, found = read.train.shape[1], []

    def add(score: str, entry: dict, **setting: str) -> None:
        found.append(results.record(name, score, entry, target=target, **setting))

    add("accuracy", accuracy_metric(read.correct))
    # softmax(log p) = p; the logarithm of 0 would be none
    claims = [entropy_and_balance(p[:SAMPLE].clamp(min=1e-12).log()) for p in read.train]
    add("information", metric([-sum(both) for both in claims], min(SAMPLE, n), "number"))
    if labels is not None:
        same = (read.train.argmax(2) == labels.argmax(2)).double().mean(1)
        add("agreement", metric(same, n, "accuracy"))
    if over:
        row, other = over
        gains = read.correct.mean(1) - other.correct.mean(1)
        add("gain", metric(gains, read.correct.shape[1], "accuracy"), over=row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--rounds", type=int, default=len(ROUNDS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    run = dann.run(args.target, "full", TEACHERS, [TEACHER])
    problem, networks = run["problem"], run["rows"][TEACHER]
    row, read, seconds = "teachers", Read.of(networks, problem), 0.0
    records_for = partial(records_of, args.target)
    records = records_for(row, read) + records_for("ensemble", read.ensemble(), over=(row, read))
    for name in ROUNDS[: args.rounds]:
        labels, before = read.ensemble().train, (row, read.first(len(STUDENTS)))
        lesson = labelled(problem, networks)
        networks = [learn(name, lesson, seed) for seed in STUDENTS]
        row, read = name, Read.of(networks, problem)
        records += records_for(row, read, labels, before)
        records += records_for(f"{row}_ensemble", read.ensemble(), labels, (row, read))
        seconds += sum(trained.seconds for trained in networks)
    print(results.frame(records).to_string())
    if args.record:
        results.write(
            f"dann-ensemble-{args.target}", preset="full", seeds=[*TEACHERS],
            directory=RESULTS, records=records, seconds=seconds,
            not_run=[x for name in ROUNDS[args.rounds :] for x in (name, f"{name}_ensemble")],
            data={"source": problem.data, "sha256": problem.sha256},
            settings={"teachers": ROWS[TEACHER].settings(), "student": STUDENT.settings(),
                      "handling": vars(problem.handling[1]),
                      "seeds of the students": [*STUDENTS]},
        )  # fmt: skip


if __name__ == "__main__":
    main()
