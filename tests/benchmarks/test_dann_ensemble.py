"""The students of an ensemble: what they learn from, and what is recorded of them."""

from dataclasses import replace

import dann_ensemble as study
import numpy as np
import pytest
import torch
from helpers.domains import made_up

from hw2lib.datasets.augment import HANDLING
from hw2lib.datasets.pairs import make_problem
from hw2lib.errors import UserError
from hw2lib.experiments.dann import train
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.results import one
from hw2lib.models.dann_net import TARGET, classify_tensor


def short(row):
    return replace(row, steps=4, batch_size=8)


@pytest.fixture(scope="module")
def problem():
    return make_problem(made_up("mnistm", masks=True), made_up("svhn"), HANDLING["svhn"])


@pytest.fixture(scope="module")
def teachers(problem, tmp_path_factory):
    row, out = short(ROWS["best_adaptation"]), tmp_path_factory.mktemp("teachers")
    return [train(row, problem, seed, out / f"{seed}") for seed in range(2)]


@pytest.fixture(autouse=True)
def build(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "runs_dir", lambda: tmp_path)
    monkeypatch.setattr(study, "STUDENT", short(study.STUDENT))
    return tmp_path


def test_labels_are_the_mean_prediction_and_no_true_label(problem, teachers):
    found = study.labelled(problem, teachers)
    soft = study.predicted(teachers, problem.target.images)
    assert soft.shape == (2, 80, 10) and torch.allclose(soft.sum(2), torch.ones(2, 80))
    for p, t in zip(soft, teachers, strict=True):
        read = classify_tensor(t.network, problem.target.images, TARGET)
        assert torch.equal(p.argmax(1), read)
    assert found.source.images is problem.target.images and found.source.masks is None
    assert torch.equal(found.source.labels, (soft[0] + soft[1]) / 2)
    assert torch.equal(found.held.labels, found.source.labels.argmax(1))
    assert found.handling == (HANDLING["svhn"][1],) * 2
    assert found.test is problem.test


def test_a_student_is_taken_up_again_but_not_another_ensembles(problem, teachers, build):
    lesson = study.labelled(problem, teachers)
    first, again = (study.learn("s", lesson, 1) for _ in range(2))
    assert first.losses == again.losses and len(first.losses) == 4
    assert [file.relative_to(build).as_posix() for file in build.rglob("dann.safetensors")] == [
        "dann-ensemble-svhn/s/seed-1/dann.safetensors"
    ]
    with pytest.raises(UserError):
        study.learn("s", study.labelled(problem, teachers[:1]), 1)


def test_a_student_has_the_settings_of_target_only():
    assert study.STUDENT.settings() == short(ROWS["target_only"]).settings()


def test_what_is_read_of_networks_and_of_their_ensemble(problem, teachers):
    each = study.Read.of(teachers, problem)
    both = each.ensemble()
    assert np.array_equal(each.correct, [t.correct for t in teachers])
    assert torch.equal(both.train[0], each.train.mean(0)) and both.correct.shape == (1, 80)
    assert torch.equal(each.first(1).train, each.train[:1])
    assert np.array_equal(each.first(1).correct, each.correct[:1])


def test_records_compare_seed_by_seed_and_an_ensemble_with_each_member():
    train = torch.eye(10)[torch.tensor([[0, 1, 2, 3], [0, 1, 2, 4]])]
    test = torch.eye(10)[torch.tensor([[0, 1, 9, 9], [0, 9, 9, 9], [0, 1, 2, 9]])]
    members, alone = (
        study.Read(train[:n], test[part], torch.arange(4))
        for n, part in ((2, slice(2)), (1, slice(2, 3)))
    )
    found = study.records_of("svhn", "e", alone, alone.train, ("m", members))
    assert one(found, "e", "gain", over="m")["values"] == [0.25, 0.5]
    assert one(found, "e", "agreement")["values"] == [1]
    assert one(found, "e", "information")["mean"] == pytest.approx(np.log(4), abs=1e-4)
    found = study.records_of("svhn", "m", members, alone.train, ("m", members))
    assert one(found, "m", "agreement")["values"] == [1, 0.75]
    assert one(found, "m", "gain")["values"] == [0, 0]
    assert one(found, "m", "accuracy")["values"] == [0.5, 0.25]
