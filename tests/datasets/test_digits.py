"""digits, mnistm, readers: on tiny files made here."""

import bz2
import gzip
import hashlib
import os

import numpy as np
import pytest
import torch
from helpers.files import save
from helpers.lines import one_line
from PIL import Image

from hw2lib.datasets import augment, digits, files
from hw2lib.datasets.mnistm import blend
from hw2lib.errors import UserError

real_data = pytest.mark.skipif(not os.environ.get("HW2_DATA"), reason="HW2_DATA is not set")


def idx(array) -> bytes:
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + shape + array.astype(np.uint8).tobytes()


def make_mnist(folder, n=20):
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        glyphs = rng.integers(0, 256, (n, 28, 28)) * (rng.random((n, 28, 28)) < 0.2)
        save(folder / f"MNIST/raw/{part}-images-idx3-ubyte", idx(glyphs))
        save(folder / f"MNIST/raw/{part}-labels-idx1-ubyte", idx(np.arange(n) % 10))


def make_photos(folder, size=(40, 30)):
    rng = np.random.default_rng(1)
    for part in ("train", "test"):
        for i in range(3):
            path = folder / f"BSDS500/{part}/{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)


def make_usps(folder, n=20):
    for name in ("usps.bz2", "usps.t.bz2"):
        lines = [f"{i % 10 + 1} " + " ".join(f"{j + 1}:{i / n * 2 - 1:.4f}" for j in range(256))
                 for i in range(n)]  # fmt: skip
        save(folder / "USPS" / name, bz2.compress("\n".join(lines).encode()))


def make_svhn(folder, n=30):
    (folder / "SVHN").mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(2).integers(0, 256, (n, 32, 32, 3), np.uint8)
    np.savez(folder / "SVHN/crops.npz", x=x, y=np.arange(n) % 10)
    return x


# --- types ----------------------------------------------------------------------------------


def test_float_and_back_is_exact_for_every_value():
    values = torch.arange(256, dtype=torch.uint8)
    floats = digits.to_float(values)
    assert floats.dtype == torch.float32 and floats.min() == -1 and floats.max() == 1
    assert torch.equal(digits.to_uint8(floats), values)
    assert digits.to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_augment_shifts_and_follows_the_generator(kind):
    images = torch.arange(4 * 3 * 28 * 28).reshape(4, 3, 28, 28).remainder(251).to(kind)
    draw = [augment.random_shift(images, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert draw[0].shape == images.shape and draw[0].dtype == kind
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    assert torch.equal(augment.random_shift(images, torch.Generator(), shift=0), images)


def test_exchanged_backgrounds_keep_the_digits_and_obey_the_recipe():
    domain = digits.load("mnistm", "embedded").train
    images, masks = domain.images[:40], domain.masks[:40]
    mixed = augment.exchange_backgrounds(images, masks, torch.Generator().manual_seed(0))
    again = augment.exchange_backgrounds(images, masks, torch.Generator().manual_seed(0))
    assert torch.equal(mixed, again) and not torch.equal(mixed, images)
    under = images ^ (masks * 255), mixed ^ (masks * 255)  # the backgrounds, digits taken off
    rows = [sorted(map(bytes, x.flatten(1).numpy())) for x in under]
    assert rows[0] == rows[1]  # the same backgrounds, each once, in another order


def test_augment_moves_by_at_most_the_shift():
    images = torch.zeros(200, 1, 28, 28)
    images[:, :, 14, 14] = 1
    moved = augment.random_shift(images, torch.Generator().manual_seed(0), shift=2)
    where = moved.nonzero()[:, 2:]
    assert len(where) == 200 and where.min() == 12 and where.max() == 16


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


@pytest.mark.parametrize("name", digits.DOMAINS)
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


def test_blend_inverts_ink_and_keeps_the_rest():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (28, 28, 3), np.uint8)  # one crop only is possible
    glyphs = (rng.random((5, 28, 28)) < 0.3).astype(np.uint8) * 7
    images, masks = blend(glyphs, [photo], seed=0)
    plain = np.broadcast_to(photo.transpose(2, 0, 1), images.shape)
    assert np.array_equal(images, np.where(glyphs[:, None] > 0, 255 - plain, plain))
    assert np.array_equal(masks[:, 0], glyphs > 0)


def test_blend_crops_lie_in_one_photograph():
    photos = [np.full((30 + i, 50 - i, 3), 10 * i, np.uint8) for i in range(5)]
    images, _ = blend(np.zeros((300, 28, 28), np.uint8), photos, seed=3)
    flat = images.reshape(300, -1)
    assert (flat == flat[:, :1]).all() and set(flat[:, 0]) == {0, 10, 20, 30, 40}


def test_blend_reaches_every_corner_and_follows_its_seed():
    photo = np.arange(29 * 30).reshape(29, 30, 1).repeat(3, 2).astype(np.uint8)
    glyphs = np.zeros((200, 28, 28), np.uint8)
    images, _ = blend(glyphs, [photo], seed=0)
    assert len({image.tobytes() for image in images}) == 2 * 3  # 2 rows by 3 columns of corners
    assert np.array_equal(images, blend(glyphs, [photo], seed=0)[0])
    assert not np.array_equal(images, blend(glyphs, [photo], seed=1)[0])


# --- bad public files -----------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 3, 10, -1])
def test_truncated_idx(folder, keep):
    make_mnist(folder)
    file = folder / "MNIST/raw/t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError) as error:
        digits.load("mnist")
    assert str(file) in one_line(error)


def test_truncated_gz(tmp_path):
    save(tmp_path / "a.gz", gzip.compress(idx(np.zeros((9, 28, 28))))[:-9])
    with pytest.raises(UserError, match="damaged"):
        files.read_idx(tmp_path / "a.gz")


def test_more_labels_than_images(folder):
    make_mnist(folder)
    save(folder / "MNIST/raw/train-labels-idx1-ubyte", idx(np.zeros(21)))
    with pytest.raises(UserError, match="would be right"):
        digits.load("mnist")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"BZh9 nonsense",
        bz2.compress(b"1 1:0 2:0"),
        bz2.compress(b"a:b " * 513),
        bz2.compress(b"1 " * 513)[:-5],
    ],
)
def test_damaged_usps(folder, content):
    make_usps(folder)
    save(folder / "USPS/usps.t.bz2", content)
    with pytest.raises(UserError) as error:
        digits.load("usps")
    assert "usps.t.bz2" in one_line(error) and "256 values" in one_line(error)


def test_damaged_npz(folder):
    make_svhn(folder)
    file = folder / "SVHN/crops.npz"
    content = file.read_bytes()
    for bad in (content[:5000], b"", b"text"):
        file.write_bytes(bad)
        with pytest.raises(UserError) as error:
            digits.load("svhn")
        assert "crops.npz" in one_line(error)


@pytest.mark.parametrize("arrays", [{"x": np.zeros((9, 32, 32, 3), np.uint8)},
                                    {"x": np.zeros((9, 28, 28, 3), np.uint8), "y": np.zeros(9)},
                                    {"x": np.zeros((9, 32, 32, 3)), "y": np.zeros(9)},
                                    {"x": np.zeros((9, 32, 32, 3), np.uint8), "y": np.zeros(9)},
                                    {"x": np.array([{}]), "y": np.zeros(9)}])  # fmt: skip
def test_wrong_npz(folder, arrays):
    (folder / "SVHN").mkdir()
    np.savez(folder / "SVHN/crops.npz", **arrays)
    with pytest.raises(UserError, match=r"crops.npz"):
        digits.load("svhn")


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
    with pytest.raises(UserError, match="0.jpg cannot be read as an image"):
        digits.load("mnistm")


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
