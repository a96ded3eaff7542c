"""What an adaptation may see: no label of the target's training images."""

import gc
import weakref

import pytest
import torch
from helpers.domains import made_up

from hw2lib.datasets import digits, pairs
from hw2lib.datasets.augment import PLAIN
from hw2lib.datasets.digits import DigitSet
from hw2lib.datasets.pairs import Batches, Unlabelled, load_problem, make_problem, supervised
from hw2lib.errors import UserError


def test_the_targets_training_labels_are_not_in_memory(monkeypatch):
    """Loading a problem frees them: nothing that is left could give them away."""
    labels = []

    def load(name, data="auto"):
        domain = made_up(name)
        own = DigitSet(domain.train.images, domain.train.labels.clone())
        if name == "usps":
            labels.append(weakref.ref(own.labels))
        return digits.DigitDomain(name, "embedded", own, domain.test, {})

    monkeypatch.setattr(digits, "load", load)
    problem = load_problem("usps")
    gc.collect()
    assert labels[0]() is None
    assert list(vars(problem.target)) == ["images"]


def test_unlabelled_batches_are_pictures_alone():
    domain = made_up("usps")
    g = torch.Generator().manual_seed(0)
    views = Batches(Unlabelled(domain.train.images), PLAIN, 1)(8, g)
    assert [v.shape for v in views] == [(8, 1, 28, 28)] * 2
    images, plain, labels = Batches(domain.train, PLAIN, 3)(8, g)
    assert images.shape == (8, 3, 28, 28) and labels.shape == (8,)
    torch.testing.assert_close(images, plain)


def test_source_images_are_held_out_and_no_other_is_lost():
    source, target = made_up("mnistm", 80, masks=True), made_up("usps", 40)
    problem = make_problem(source, target)
    assert len(problem.held) == 8 and len(problem.source) == 72
    assert torch.equal(torch.cat([problem.source.images, problem.held.images]), source.train.images)
    assert torch.equal(problem.source.masks, source.train.masks[:72])


def test_supervised_learns_the_target_by_its_labels():
    source, target = made_up("mnistm", 80), made_up("usps", 40)
    problem = supervised(make_problem(source, target), target)
    assert problem.source is target.train and problem.held is None and problem.name == "usps"
    assert problem.handling[0] == problem.handling[1]


def test_an_unknown_target():
    with pytest.raises(UserError, match="target 'mars' is unknown; choose one of svhn"):
        load_problem("mars")
    assert pairs.channels_for("mnistm") == 3
