"""The digit features: its network, its training, its shipped weights, and what `compare` says."""

import dataclasses

import pytest
import torch

from hw2lib.datasets import digits
from hw2lib.datasets.digits import DigitDomain, DigitSet
from hw2lib.errors import UserError
from hw2lib.evaluators import digit_features
from hw2lib.evaluators.digit_features import Reference, compare
from hw2lib.io.paths import WEIGHTS
from hw2lib.io.weights import save_weights
from hw2lib.training import TrainConfig

SHIPPED = WEIGHTS / "digit-features.safetensors"
SHORT = TrainConfig(60, 32, lr=3e-3, schedule="cosine", warmup=5, ema=0.9)


@pytest.fixture(scope="module")
def domain():
    """A bright square, whose place is the digit, on a ground of any colour."""
    g = torch.Generator().manual_seed(0)

    def part(n):
        labels = torch.arange(n) % 10
        images = torch.randint(160, (n, 3, 1, 1), generator=g).repeat(1, 1, 28, 28)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 5)
            image[:, 14 * row + 4 : 14 * row + 10, 5 * column + 2 : 5 * column + 6] = 255
        return DigitSet(images.byte(), labels)

    return DigitDomain("mnistm", "embedded", part(400), part(100))


@pytest.fixture(scope="module")
def trained(domain, tmp_path_factory):
    return digit_features.train(domain, tmp_path_factory.mktemp("ruler"), config=SHORT)


def test_training_learns_digit_and_ground(trained, domain):
    net = digit_features.load(trained)
    assert net.header["test_accuracy"]["mean"] > 0.9
    assert net.header["test_accuracy"]["n"] == 100
    assert net.header["test_variance_explained"] > 0.8
    assert (net.header["steps"], net.header["seeds"]) == (60, [0])
    again = digit_features.train(domain, trained.parent, config=SHORT, resume=True)
    assert again == trained


def test_test_labels_choose_nothing(trained, domain, tmp_path):
    wrong = DigitSet(domain.test.images, (domain.test.labels + 1) % 10)
    replaced = dataclasses.replace(domain, test=wrong)
    other = digit_features.train(replaced, tmp_path, config=SHORT)
    a, b = (digit_features.load(file).state_dict() for file in (trained, other))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_features_do_not_depend_on_the_batch_or_the_kind_of_image(trained, domain):
    net, images = digit_features.load(trained), domain.test.images[:7]
    features = net.embed(images)
    assert features.shape == (7, digit_features.FEATURES)
    parts = torch.cat([net.embed(part) for part in images.split(2)])
    torch.testing.assert_close(features, parts, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features, net.embed(digits.to_float(images)), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="is right"):
        net.embed(images[0])


def test_the_judge_is_blind_to_colour_and_the_digit_features_are_not(trained, domain):
    net, images = digit_features.load(trained), domain.test.images[:50]
    moved = (net.embed(images) - net.embed(images.flip(1))).norm(dim=1)
    assert moved.median() > 0.1 * net.embed(images).norm(dim=1).median()


# --- comparing ------------------------------------------------------------------------------


def cloud(n, seed, scale=1.0, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(n, 4, generator=g, dtype=torch.float64) + shift


def test_the_same_distribution_is_near_and_covered():
    found = compare(cloud(800, 1), Reference.of(cloud(2000, 0), 800))
    assert found.keys() == {"frechet", "kernel", "precision", "recall"}
    assert found["frechet"] < 0.05
    assert abs(found["kernel"]) < 0.05
    assert min(found["precision"], found["recall"]) > 0.85


def test_a_narrow_model_has_precision_and_no_recall():
    real = Reference.of(cloud(2000, 0), 800)
    narrow, good = compare(cloud(800, 1, 0.3), real), compare(cloud(800, 1), real)
    assert narrow["precision"] > 0.95
    assert narrow["recall"] < 0.3 < good["recall"]
    assert narrow["frechet"] > 10 * good["frechet"]


def test_a_model_beside_the_data_has_neither():
    found = compare(cloud(800, 1, shift=20.0), Reference.of(cloud(2000, 0), 800))
    assert found["precision"] == found["recall"] == 0
    assert found["frechet"] == pytest.approx(4 * 20.0**2, rel=0.02)


def test_the_held_images_follow_from_the_seed():
    features = cloud(50, 0)
    a, b, c = (Reference.of(features, 20, seed).held for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert len(torch.unique(a, dim=0)) == 20
    with pytest.raises(ValueError, match="51 of 50"):
        Reference.of(features, 51)


# --- weights --------------------------------------------------------------------------------


def test_a_run_is_not_resumed_on_other_data(trained, domain):
    other = dataclasses.replace(domain, sha256={"x": "0" * 64})
    with pytest.raises(UserError, match="made with (other )?sha256") as error:
        digit_features.train(other, trained.parent, config=SHORT, resume=True)
    assert "\n" not in str(error.value)


def test_bad_preset_and_weights(domain, tmp_path):
    with pytest.raises(UserError, match="choose one of quick, full"):
        digit_features.train(domain, tmp_path, preset="ful")
    with pytest.raises(UserError, match="does not exist"):
        digit_features.load(tmp_path / "none.safetensors")
    other = save_weights(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"kind": "judge"})
    with pytest.raises(UserError, match="needs yardstick"):
        digit_features.load(other)


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no shipped digit features")
def test_the_shipped_digit_features_see_digit_and_ground():
    header = digit_features.load().header
    assert header["source"] in ("public", "course")
    assert header["test_accuracy"]["mean"] > 0.95
    assert header["test_variance_explained"] > 0.8
