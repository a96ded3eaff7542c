"""digits: every domain from tiny files made here, right and wrong."""

import gzip
import hashlib
import os

import numpy as np
import pytest
import torch
from helpers.files import idx, make_mnist, make_photos, make_svhn, make_usps, save
from helpers.lines import one_line
from PIL import Image

from hw2lib.datasets import digits, embedded
from hw2lib.errors import UserError

real_data = pytest.mark.skipif(not os.environ.get("HW2_DATA"), reason="HW2_DATA is not set")


# --- types ----------------------------------------------------------------------------------


def test_float_and_back_is_exact_for_every_value():
    values = torch.arange(256, dtype=torch.uint8)
    floats = digits.to_float(values)
    assert floats.dtype == torch.float32 and floats.min() == -1 and floats.max() == 1
    assert torch.equal(digits.to_uint8(floats), values)
    assert digits.to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]


@pytest.mark.parametrize("name", ["", "cifar", "MNIST"])
def test_unknown_domain(name):
    with pytest.raises(UserError) as error:
        digits.load(name)
    assert "mnistm, svhn, usps, mnist" in one_line(error)


def test_unknown_source():
    with pytest.raises(UserError) as error:
        digits.load("usps", "internet")
    assert "auto, course, public, embedded" in one_line(error)


# --- public files ---------------------------------------------------------------------------


def test_auto_takes_course_then_public_then_embedded(folder):
    assert digits.available("usps") == ["embedded"]
    make_usps(folder)
    assert digits.load("usps").data == "public"
    base = folder / "hw2_data/digits/usps"
    for part in ("train", "val"):
        save(
            base / f"{part}.csv",
            b"image_name,label\n" + b"".join(b"0.png,%d\n" % i for i in range(10)),
        )
    (base / "data").mkdir()
    Image.new("L", (28, 28)).save(base / "data/0.png")
    assert digits.load("usps").data == "course"
    assert digits.available("usps") == ["course", "public", "embedded"]


@pytest.mark.parametrize("name", ["mnistm", "svhn", "usps", "mnist"])
@pytest.mark.parametrize("source", ["public", "course"])
def test_a_named_source_that_is_missing_is_an_error(folder, name, source):
    with pytest.raises(UserError) as error:
        digits.load(name, source)
    text = one_line(error)
    assert (str(folder) in text and "missing" in text) or (name == "mnist" and "course" in text)


def test_mnist_files_plain_and_gz(folder):
    make_mnist(folder)
    plain = digits.load("mnist", "public")
    assert plain.train.counts() == [2] * 10
    assert "MNIST/raw/train-images-idx3-ubyte" in plain.sha256
    for file in (folder / "MNIST/raw").glob("*"):
        save(file.with_name(file.name + ".gz"), gzip.compress(file.read_bytes()))
        file.unlink()
    assert torch.equal(digits.load("mnist", "public").train.images, plain.train.images)


def test_sha256_is_that_of_the_file(folder):
    make_usps(folder)
    digest = hashlib.sha256((folder / "USPS/usps.bz2").read_bytes()).hexdigest()
    assert digits.load("usps", "public").sha256["USPS/usps.bz2"] == digest


def test_usps_values_and_labels(folder):
    make_usps(folder)
    train = digits.load("usps", "public").train
    assert train.labels.tolist() == [i % 10 for i in range(20)]
    assert train.images[0].unique().tolist() == [0]  # -1 in the file is black
    assert train.images[10].unique().tolist() == [128]  # 0 in the file, 127.5 rounded to even


def test_svhn_npz_is_split_first_and_last(folder, monkeypatch):
    x = make_svhn(folder)
    monkeypatch.setattr(digits, "SVHN_TRAIN", 10)
    monkeypatch.setattr(digits, "SVHN_TEST", 10)
    domain = digits.load("svhn", "public")
    assert len(domain.train) == len(domain.test) == 10
    assert abs(domain.train.images.float().mean() - x[:10].mean()) < 2
    assert abs(domain.test.images[0].float().mean() - x[20].mean()) < 2


def test_an_npz_with_too_few_crops(folder):
    make_svhn(folder)
    with pytest.raises(UserError, match="crops.npz holds 30 crops; at least 8000 are needed"):
        digits.load("svhn", "public")


def test_svhn_mat_files(folder):
    io = pytest.importorskip("scipy.io")
    (folder / "SVHN").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), np.uint8)
    for part in ("train", "test"):
        path = folder / f"SVHN/{part}_32x32.mat"
        io.savemat(path, {"X": x, "y": np.arange(1, 21)[:, None] % 10 + 1})
    domain = digits.load("svhn", "public")
    assert domain.train.labels[:3].tolist() == [2, 3, 4] and 0 in domain.train.labels
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="test_32x32.mat cannot be read"):
        digits.load("svhn", "public")


def test_mnistm_is_built_cached_and_rebuilt_when_the_cache_is_damaged(folder, tmp_path):
    make_mnist(folder)
    make_photos(folder)
    first = digits.load("mnistm", "public")
    (cache,) = (tmp_path / "build/cache").glob("mnistm-*.npz")
    stamp = cache.stat().st_mtime_ns
    second = digits.load("mnistm", "public")
    assert cache.stat().st_mtime_ns == stamp
    cache.write_bytes(cache.read_bytes()[:1000])
    third = digits.load("mnistm", "public")
    for other in (second, third):
        assert torch.equal(other.train.images, first.train.images)
        assert torch.equal(other.test.masks, first.test.masks)
        assert other.sha256 == first.sha256
    assert not list((tmp_path / "build/cache").glob(".*"))


def test_mnistm_changes_with_its_photographs(folder):
    make_mnist(folder)
    make_photos(folder)
    before = digits.load("mnistm", "public")
    (folder / "BSDS500/train/0.jpg").unlink()
    after = digits.load("mnistm", "public")
    assert before.sha256["BSDS500/train"] != after.sha256["BSDS500/train"]
    assert not torch.equal(before.train.images, after.train.images)
    assert torch.equal(before.test.images, after.test.images)


# --- bad public files -----------------------------------------------------------------------


def test_more_labels_than_images(folder):
    make_mnist(folder)
    save(folder / "MNIST/raw/train-labels-idx1-ubyte", idx(np.zeros(21)))
    with pytest.raises(UserError, match="would be right"):
        digits.load("mnist")


def test_labels_out_of_range_and_missing_digits(folder):
    make_mnist(folder)
    save(folder / "MNIST/raw/train-labels-idx1-ubyte", idx(np.arange(20)))
    with pytest.raises(UserError, match="labels outside 0..9"):
        digits.load("mnist")
    save(folder / "MNIST/raw/train-labels-idx1-ubyte", idx(np.arange(20) % 9))
    with pytest.raises(UserError, match="no image of digit 9"):
        digits.load("mnist")


def test_photographs_too_small_or_no_image(folder):
    make_mnist(folder)
    make_photos(folder, size=(20, 60))
    with pytest.raises(UserError, match="28x28 or more"):
        digits.load("mnistm")
    save(folder / "BSDS500/train/0.jpg", b"no picture")
    with pytest.raises(UserError, match="0.jpg cannot be read"):
        digits.load("mnistm")


# --- UCI's digits ---------------------------------------------------------------------------


@pytest.mark.parametrize("data", digits.KINDS)
def test_ucis_digits_are_the_real_ones_everywhere(folder, data):
    domain = digits.load("uci", data)
    assert domain.data == "public" and "stand-in" not in domain.describe()
    assert (len(domain.train), len(domain.test)) == (1029, 768)
    assert list(domain.sha256) == ["scikit-learn/digits"]
    assert digits.available("uci")[0] == "public"


def test_ucis_parts_share_no_filled_form():
    """A form begins with three times 0 to 9 and ends with 90898, and so do both parts."""
    domain = digits.load("uci")
    begins = torch.arange(30) % 10
    assert torch.equal(domain.train.labels[:30], begins)
    assert torch.equal(domain.test.labels[:30], begins)
    assert domain.train.labels[-5:].tolist() == domain.test.labels[-5:].tolist() == [9, 0, 8, 9, 8]


def test_ucis_images_are_the_scans_enlarged():
    images = digits.load("uci").test.images
    assert (images[:, 0] == images[:, 2]).all() and images.max() == 255 and images.min() == 0
    scans = embedded.scans()[0][digits.UCI_TRAIN :]
    small = torch.nn.functional.interpolate(images[:, :1].float() / 255, (8, 8), mode="area")
    both = torch.stack([small.flatten(), torch.from_numpy(scans).float().flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.95


# --- the real files -------------------------------------------------------------------------


@real_data
@pytest.mark.parametrize(("name", "train", "test"), [("mnist", 60000, 10000), ("usps", 7291, 2007),
                                                     ("mnistm", 60000, 10000)])  # fmt: skip
def test_real_counts(name, train, test):
    if "public" not in digits.available(name):
        pytest.skip(f"no public files of {name}")
    domain = digits.load(name, "public")
    assert (len(domain.train), len(domain.test)) == (train, test)
    assert domain.test.counts()[:3] == ([359, 264, 198] if name == "usps" else [980, 1135, 1032])


@real_data
def test_real_mnistm_follows_its_masks():
    """Ink is inverted background: across a digit's edge brightness jumps more than elsewhere."""
    if "public" not in digits.available("mnistm"):
        pytest.skip("no public files of mnistm")
    test = digits.load("mnistm", "public").test
    glyphs = digits.load("mnist", "public").test.images[:, :1] > 0
    assert torch.equal(test.masks.bool(), glyphs)
    x, mask = test.images[:1000].float().mean(1), test.masks[:1000, 0]
    jump, edge = (x[:, 1:] - x[:, :-1]).abs(), mask[:, 1:] != mask[:, :-1]
    assert jump[edge].mean() > 2 * jump[~edge].mean()


@pytest.mark.parametrize("how", ["dots", "without raw"])
def test_mnist_under_the_names_of_other_places(folder, how):
    make_mnist(folder)
    raw = folder / "MNIST" / "raw"
    for file in list(raw.iterdir()):
        dots = raw / file.name.replace("-idx", ".idx")
        file.rename(dots if how == "dots" else raw.parent / file.name)
    assert len(digits.load("mnist", "public").train) == 20
