"""The ensemble in the way that the source speaks for: how it predicts, and who chooses."""

from dataclasses import replace

import dann_ensemble
import dann_ensemble_views as study
import pytest
import torch
from helpers.domains import made_up
from helpers.recorded import recorded

from hw2lib.datasets.augment import HANDLING
from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann import train
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.results import one


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    row = replace(ROWS["best_adaptation"], steps=4, batch_size=8)
    problem = make_problem(made_up("mnistm", masks=True), made_up("svhn"), HANDLING["svhn"])
    out = tmp_path_factory.mktemp("networks")
    return [train(row, problem, seed, out / f"{seed}") for seed in range(2)]


def state(trained):
    return {name: value.clone() for name, value in trained.network.state_dict().items()}


def test_two_views_are_those_of_the_ensembles_labels(networks):
    images = networks[0].problem.test.images
    expected = dann_ensemble.predicted(networks, images)
    torch.testing.assert_close(study.probabilities(networks, study.USUAL), expected)


def test_every_way_is_another_one_and_changes_no_network(networks):
    before = state(networks[0])
    ways = [(1, False), (2, False), (10, False), (10, True)]
    found = [study.probabilities(networks[:1], way) for way in ways]
    assert all(
        p.shape == (1, 80, 10) and torch.allclose(p.sum(2), torch.ones(1, 80)) for p in found
    )
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(found, found[1:], strict=False))
    after = state(networks[0])
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_gain_is_over_each_network_in_two_views(networks):
    records = study.records_of("svhn", networks, (10, True))
    two = one(records, "teachers", "accuracy", views=2)
    ensemble = one(records, "ensemble", "accuracy", views=10, settled=True)
    gain = one(records, "ensemble", "gain", target="svhn")
    assert gain["values"] == pytest.approx([ensemble["mean"] - x for x in two["values"]])
    assert len(study.records_of("svhn", networks, study.USUAL)) == 3


@pytest.mark.parametrize("target", study.TARGETS)
def test_the_source_chooses_the_recorded_way(target):
    ways = {"svhn": (10, True), "usps": (10, False), "mnistm": (10, False)}
    assert study.chosen_way(target) == ways[target]
    assert tuple(recorded("dann-ensemble-views")["settings"]["ways"][target]) == ways[target]
