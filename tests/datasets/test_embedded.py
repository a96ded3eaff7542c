"""embedded: the stand-ins that need no file."""

import pytest
import torch

from hw2lib.datasets import digits, embedded


@pytest.fixture(scope="module", params=("mnistm", "svhn", "usps", "mnist"))
def stand_in(request):
    return digits.load(request.param, "embedded")


def test_stand_ins_have_the_shape_of_every_domain(stand_in):
    for part in (stand_in.train, stand_in.test):
        n = len(part)
        assert part.images.shape == (n, 3, 28, 28) and part.images.dtype == torch.uint8
        assert part.labels.shape == (n,) and part.labels.dtype == torch.int64
        assert min(part.counts()) > 0.8 * n / 10 and max(part.counts()) < 1.2 * n / 10
        assert part.images.float().std() > 20
    assert 1200 <= len(stand_in.train) <= 4000 and 400 <= len(stand_in.test) <= 800
    assert (stand_in.train.masks is not None) == (stand_in.name == "mnistm")


def test_stand_ins_are_the_same_every_time_and_say_what_they_are(stand_in):
    embedded.digits.cache_clear()
    again = digits.load(stand_in.name, "embedded")
    assert again.sha256 == stand_in.sha256
    assert "not the real data set" in stand_in.describe() and stand_in.name in stand_in.describe()


def test_who_changes_a_stand_in_changes_it_for_no_other():
    first = digits.load("mnistm", "embedded").train
    before = [x.clone() for x in (first.images, first.labels, first.masks)]
    for x in (first.images, first.labels, first.masks):
        x.fill_(1)
    again = digits.load("mnistm", "embedded").train
    for x, y in zip((again.images, again.labels, again.masks), before, strict=True):
        assert torch.equal(x, y)


def test_train_and_test_of_a_stand_in_share_no_image(stand_in):
    train = {image.numpy().tobytes() for image in stand_in.train.images}
    assert not train & {image.numpy().tobytes() for image in stand_in.test.images}


def test_grey_stand_ins_are_grey_and_coloured_ones_are_not():
    for name, grey in (("usps", True), ("mnist", True), ("svhn", False), ("mnistm", False)):
        images = digits.load(name, "embedded").test.images
        assert bool((images[:, 0] == images[:, 2]).all()) is grey


def test_a_linear_classifier_learns_each_stand_in(stand_in):
    """The labels fit the images: ridge regression is far better than chance on the test set."""
    x, x_test = (digits.to_float(part.images).mean(1).flatten(1).double()
                 for part in (stand_in.train, stand_in.test))  # fmt: skip
    if stand_in.name == "mnistm":  # no linear map sees through the backgrounds: use the masks
        x, x_test = (part.masks.flatten(1).double() for part in (stand_in.train, stand_in.test))
    if stand_in.name == "svhn":  # pen darker or lighter than paper: the sign carries nothing
        x, x_test = ((v - v.mean(1, keepdim=True)).abs() for v in (x, x_test))
    target = torch.nn.functional.one_hot(stand_in.train.labels, 10).double()
    gram = x.T @ x + 30 * torch.eye(x.shape[1])
    scores = x_test @ torch.linalg.solve(gram, x.T @ target)
    accuracy = (scores.argmax(1) == stand_in.test.labels).double().mean()
    assert accuracy > (0.3 if stand_in.name == "svhn" else 0.7), accuracy


def test_auto_takes_the_stand_in_where_nothing_else_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HW2_DATA", str(tmp_path))
    assert digits.load("usps").data == "embedded"
