"""The judge: its network, its training, its shipped weights, and the folders it scores."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from hw2lib import metrics
from hw2lib.datasets import digits
from hw2lib.datasets.digits import DigitDomain, DigitSet
from hw2lib.errors import UserError
from hw2lib.evaluators import judge
from hw2lib.io.paths import WEIGHTS
from hw2lib.io.weights import save_weights
from hw2lib.training import TrainConfig

SHIPPED = WEIGHTS / "judge.safetensors"
needs_weights = pytest.mark.skipif(not SHIPPED.is_file(), reason="no shipped judge")


@pytest.fixture(scope="module")
def domain():
    """Ten plain patterns with noise: learnt in seconds, and needs no file."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(10, 3, 7, 7, generator=generator).repeat_interleave(4, 2)
    patterns = patterns.repeat_interleave(4, 3)

    def part(n):
        labels = torch.arange(n) % 10
        images = patterns[labels] + 0.05 * torch.randn(n, 3, 28, 28, generator=generator)
        return DigitSet((images.clamp(0, 1) * 255).byte(), labels)

    return DigitDomain("mnistm", "embedded", part(200), part(100))


SHORT = TrainConfig(40, 32, lr=2e-3, schedule="cosine", warmup=5, ema=0.9)


@pytest.fixture(scope="module")
def trained(domain, tmp_path_factory):
    return judge.train(domain, tmp_path_factory.mktemp("judge"), config=SHORT)


def test_network():
    net = judge.Judge().eval()
    x = torch.rand(4, 3, 28, 28) * 2 - 1
    assert net(x).shape == (4, 10)
    assert net.features(x).shape == (4, 128)
    assert torch.equal(net.head(net.features(x)), net(x))
    assert 0.3e6 < sum(p.numel() for p in net.parameters()) < 0.5e6
    # Brightness and contrast of the whole image do not matter.
    torch.testing.assert_close(net(x), net(0.3 * x + 0.2), atol=1e-4, rtol=1e-3)
    assert net(torch.zeros(1, 3, 28, 28)).isfinite().all()  # one colour: no division by zero


def test_predict_takes_both_kinds_of_images_in_any_batch():
    torch.manual_seed(0)
    net = judge.Judge().train()
    images = torch.randint(256, (7, 3, 28, 28), dtype=torch.uint8)
    labels = net.predict(images)
    assert labels.dtype == torch.int64
    assert labels.shape == (7,)
    parts = digits.to_float(images).split(2)
    assert torch.equal(labels, torch.cat([net.predict(part) for part in parts]))
    assert torch.equal(labels, net.predict(255 - images))  # the negative shows the same digit
    with torch.inference_mode():
        once = net(digits.to_float(images)).argmax(1)
    assert torch.equal(net.predict(images, views=1), once)
    parts = torch.cat([net.embed(part) for part in images.split(3)])
    torch.testing.assert_close(net.embed(images), parts, atol=1e-4, rtol=1e-3)
    for bad in (images[0], images[:, :, :14], images[:0]):
        with pytest.raises(ValueError, match="is right"):
            net.predict(bad)


def test_training_learns_and_records_itself(trained, domain):
    net = judge.load(trained)
    header = net.header
    assert header["kind"] == "judge"
    assert (header["steps"], header["seeds"]) == (40, [0])
    assert (header["source"], header["domain"]) == ("embedded", "mnistm")
    correct = net.predict(domain.test.images) == domain.test.labels
    assert header["test_accuracy"]["n"] == 100
    # fp16 weights read what the trained ones read, but for an image on the edge.
    assert header["test_accuracy"]["mean"] == pytest.approx(float(correct.float().mean()), abs=0.02)
    assert correct.float().mean() > 0.9
    assert judge.train(domain, trained.parent, config=SHORT, resume=True) == trained


def test_same_seed_same_weights_and_test_labels_choose_nothing(trained, domain, tmp_path):
    """Neither earlier draws nor other test labels change a weight; only the accuracy changes."""
    torch.manual_seed(123)
    wrong = DigitSet(domain.test.images, (domain.test.labels + 1) % 10)
    other = judge.train(dataclasses.replace(domain, test=wrong), tmp_path, config=SHORT)
    a, b = judge.load(trained), judge.load(other)
    assert all(torch.equal(a.state_dict()[k], b.state_dict()[k]) for k in a.state_dict())
    assert b.header["test_accuracy"]["mean"] < 0.1 < a.header["test_accuracy"]["mean"]


def test_a_run_is_not_resumed_on_other_data(trained, domain):
    other = dataclasses.replace(domain, sha256={"x": "0" * 64})
    with pytest.raises(UserError, match="made with (other )?sha256") as error:
        judge.train(other, trained.parent, config=SHORT, resume=True)
    assert "\n" not in str(error.value)


def test_bad_preset_and_weights(domain, tmp_path):
    with pytest.raises(UserError, match="choose one of quick, full"):
        judge.train(domain, tmp_path, preset="ful")
    with pytest.raises(UserError, match="does not exist"):
        judge.load(tmp_path / "none.safetensors")
    other = save_weights(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"kind": "unet"})
    with pytest.raises(UserError, match="needs judge"):
        judge.load(other)
    torn = save_weights(tmp_path / "y.safetensors", {"a": torch.zeros(1)}, {"kind": "judge"})
    with pytest.raises(UserError, match="does not fit .test_accuracy: Field required"):
        judge.load(torn)
    header = {"kind": "judge", "test_accuracy": {"mean": 0.5, "n": 10, "low": 0.2, "high": 0.8}}
    torn = save_weights(tmp_path / "y.safetensors", {"a": torch.zeros(1)}, header)
    with pytest.raises(UserError, match="another architecture"):
        judge.load(torn)


# --- scoring --------------------------------------------------------------------------------


class Brightness(judge.Judge):
    """Reads the digit d from an image whose pixels are all 20 d."""

    def predict(self, images, batch=500):
        return images[:, 0, 0, 0].long() // 20


def write(folder, name, value, size=(28, 28), mode="RGB"):
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(folder / name)


def test_score_folder_counts(tmp_path):
    for digit in range(10):
        for k in range(1, 5):
            read = 8 if (digit, k) == (3, 2) else digit
            write(tmp_path, f"{digit}_{k:03d}.png", 20 * read)
    (tmp_path / ".DS_Store").write_bytes(b"hidden files do not count")
    score = judge.score_folder(tmp_path, Brightness())
    assert score.accuracy["values"] == [39 / 40]
    assert (score.accuracy["low"], score.accuracy["high"]) == metrics.wilson(39, 40)
    assert score.by_digit[3]["mean"] == 0.75
    assert score.by_digit[3]["n"] == 4
    assert score.by_digit[4]["mean"] == 1.0
    expected = 4 * np.eye(10, dtype=int)
    expected[3, 3], expected[3, 8] = 3, 1
    assert np.array_equal(score.confusion, expected)
    lines = score.text().splitlines()
    assert len(lines) == 12
    assert lines[-1].split()[:3] == ["all", "40", "0.975"]


def test_score_of_one_digit_only(tmp_path):
    write(tmp_path, "7_001.png", 140)
    assert list(judge.score_folder(tmp_path, Brightness()).by_digit) == [7]


def test_folder_keeps_every_pixel(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "5_001.png")
    samples = judge.read_folder(tmp_path)
    assert np.array_equal(samples.images[0].permute(1, 2, 0), image)
    assert samples.labels.tolist() == [5]


@pytest.mark.parametrize(
    "name",
    ["10_001.png", "3_1.png", "3-001.png", "x_001.png", "3_001.jpg", "notes.txt", "٣_001.png"],
)
def test_bad_names(name, tmp_path):
    write(tmp_path, "0_001.png", 0)
    (tmp_path / name).write_bytes((tmp_path / "0_001.png").read_bytes())
    with pytest.raises(UserError, match="no sample's name") as error:
        judge.score_folder(tmp_path, Brightness())
    assert name in str(error.value)


def test_bad_folders_and_files(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        judge.score_folder(tmp_path / "none")
    with pytest.raises(UserError, match="is empty"):
        judge.score_folder(tmp_path)
    write(tmp_path, "0_001.png", 0, size=(32, 32))
    with pytest.raises(UserError, match="it is 32x32 RGB.*28x28 pixels, RGB, would be right"):
        judge.score_folder(tmp_path)
    write(tmp_path, "0_001.png", 0, mode="L")
    with pytest.raises(UserError, match="it is 28x28 L.*28x28 pixels, RGB, would be"):
        judge.score_folder(tmp_path)
    good = tmp_path / "0_001.png"
    write(tmp_path, "0_001.png", 0)
    good.write_bytes(good.read_bytes()[:40])
    with pytest.raises(UserError, match="0_001.png cannot be read"):
        judge.score_folder(tmp_path)


# --- the shipped weights --------------------------------------------------------------------


@needs_weights
def test_shipped_judge_was_trained_on_real_data_and_is_good():
    header = judge.load().header
    assert header["source"] in ("public", "course")
    assert header["test_accuracy"]["n"] == 10_000
    assert header["test_accuracy"]["mean"] >= 0.985


@needs_weights
def test_real_digits_are_read_as_the_shipped_judge_says():
    """Its recorded accuracy, made again where the real digits are at hand."""
    if digits.available("mnistm")[0] == "embedded":
        pytest.skip("the real MNIST-M is not at hand")
    test = digits.load("mnistm").test
    net = judge.load()
    correct = net.predict(test.images[:2000]) == test.labels[:2000]
    assert float(correct.float().mean()) == pytest.approx(
        net.header["test_accuracy"]["mean"], abs=0.01
    )
