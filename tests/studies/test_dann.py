"""The adaptation's study: records of a row, the bound's joint error and label shift."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.domains import made_up
from scipy.stats import entropy

from hw2lib.datasets.augment import PLAIN
from hw2lib.datasets.pairs import make_problem, supervised
from hw2lib.experiments.dann import train
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.results import one, select
from hw2lib.models.dann_net import SOURCE, classify_tensor
from hw2lib.studies import dann
from hw2lib.studies.dann import joint_error


def short(name, problem, folder):
    return train(replace(ROWS[name], steps=2, batch_size=8), problem, out=folder)


def test_reading_once_is_recorded_where_training_inverts(tmp_path):
    flips = replace(PLAIN, flip=0.5)
    problem = make_problem(made_up("mnistm"), made_up("usps"), (flips, flips))
    twice = short("dann", problem, tmp_path / "twice")
    records = dann.row_records("dann", [twice])
    assert one(records, "dann", "accuracy")["mean"] == twice.accuracy
    held, both = one(records, "dann", "validation"), twice.problem.held
    read = classify_tensor(twice.network, both.images, SOURCE)
    assert held["mean"] == (read == both.labels).double().mean() and held["n"] == len(both)
    once = one(records, "dann", "accuracy", views=1)
    twice.network.readings = 1
    read = classify_tensor(twice.network, problem.test.images)
    assert once["mean"] == (read == problem.test.labels).double().mean()
    plain = make_problem(made_up("mnistm"), made_up("usps"), (PLAIN, PLAIN))
    records = dann.row_records("dann", [short("dann", plain, tmp_path / "once")])
    assert not select(records, views=1)


def test_a_row_with_the_targets_labels_makes_no_choice(tmp_path):
    target = made_up("usps")
    problem = supervised(make_problem(made_up("mnistm"), target), target)
    records = dann.row_records("target_only", [short("target_only", problem, tmp_path)])
    assert [r["score"] for r in records] == ["accuracy", "source_accuracy"]
    assert dann.table(records).shape == (1, 4)  # the method, and what was measured


def test_joint_error_is_small_where_one_head_serves_both_and_not_where_classes_are_swapped():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    x = torch.eye(10)[labels] + 0.05 * torch.randn(400, 10, generator=g)
    assert joint_error(x, labels, x.clone(), labels) < 0.01
    assert joint_error(x, labels, x.clone(), (labels + 1) % 10) > 0.8


def test_joint_error_of_a_training(tmp_path):
    problem = make_problem(made_up("mnistm"), made_up("usps"), (PLAIN, PLAIN))
    trained = train(replace(ROWS["dann"], steps=2, batch_size=8), problem, out=tmp_path)
    assert 0 <= dann.joint_error_of(trained) <= 2


def test_label_shift_is_the_jensen_shannon_distance_and_bounds_the_error():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.3, 0.5])
    m = (p + q) / 2
    want = np.sqrt((entropy(p, m, base=2) + entropy(q, m, base=2)) / 2)
    sets = [replace(made_up("usps").test, labels=torch.tensor(labels)) for labels in (
        [0] * 5 + [1] * 5, [0] * 2 + [1] * 3 + [2] * 5, [3, 4]
    )]  # fmt: skip
    problem = make_problem(made_up("mnistm"), made_up("usps"), (PLAIN, PLAIN))

    def shift(source, target):
        found = dann.label_shift(replace(problem, source_test=source, test=target))
        return [record["mean"] for record in found]

    assert shift(sets[0], sets[1]) == pytest.approx([want, want**2 / 2])
    assert shift(sets[0], sets[0]) == [0, 0] and shift(sets[0], sets[2]) == [1, 0.5]
