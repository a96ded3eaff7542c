"""What an adaptation may see: no label of the target's training images."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from helpers.domains import made_up

from hw2lib.datasets import digits, embedded, pairs
from hw2lib.datasets.augment import HANDLING, PLAIN
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


def test_no_digit_of_ucis_is_in_its_source(monkeypatch):
    """Where MNIST-M's files are missing, the source is made without a look at those digits."""
    problem = load_problem("uci", "embedded")
    assert problem.data == "embedded" and problem.domains[0].startswith("fonts: ")
    assert problem.domains[1].startswith("uci: 1,029") and len(problem.test) == 768

    def scans():
        raise AssertionError("the source is made of UCI's digits")

    monkeypatch.setattr(embedded, "scans", scans)
    embedded.digits.cache_clear()
    source = digits.load("svhn", "embedded")
    assert problem.sha256["embedded/svhn"] == source.sha256["embedded/svhn"]
    assert set(problem.sha256) == {"embedded/svhn", "scikit-learn/digits"}
    with pytest.raises(AssertionError):
        digits.load("mnistm", "embedded")


def test_ucis_source_is_mnistm_where_it_is_at_hand(monkeypatch):
    load = digits.load
    monkeypatch.setattr(
        digits, "load", lambda name, data="auto":
        load(name) if name == "uci" else replace(made_up(name), data=data)
    )  # fmt: skip
    for data in ("course", "public"):
        source, target = pairs.load_pair("uci", data)
        assert (source.name, source.data) == ("mnistm", data) and target.data == "public"


def test_ucis_settings_are_those_of_usps():
    assert HANDLING["uci"] == HANDLING["usps"]
    assert pairs.channels_for("uci") == pairs.channels_for("usps") == 1


def test_an_unknown_target():
    with pytest.raises(UserError, match="target 'mars' is unknown; choose one of svhn"):
        load_problem("mars")
    assert pairs.channels_for("mnistm") == 3
