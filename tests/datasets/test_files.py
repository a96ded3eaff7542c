"""files: every reader on right files and on damaged ones."""

import bz2
import gzip
import io
import tarfile

import numpy as np
import pytest
from helpers.files import idx, make_svhn, save
from helpers.lines import one_line
from PIL import Image

from hw2lib.datasets import faces, files
from hw2lib.errors import UserError


@pytest.mark.parametrize("shape", [(7,), (5, 28, 28), (2, 3)])
def test_idx_files_plain_and_gz(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape)
    save(tmp_path / "a", idx(array))
    save(tmp_path / "a.gz", gzip.compress(idx(array)))
    for name in ("a", "a.gz"):
        assert np.array_equal(files.read_idx(tmp_path / name), array)


WHOLE = idx(np.zeros((9, 28, 28)))


@pytest.mark.parametrize(
    "content",
    [b"", WHOLE[:3], WHOLE[:10], WHOLE[:-1], WHOLE + b"0", b"\0\0\x0d" + WHOLE[3:], b"text"],
)
def test_damaged_idx(tmp_path, content):
    save(tmp_path / "a", content)
    with pytest.raises(UserError) as error:
        files.read_idx(tmp_path / "a")
    assert str(tmp_path / "a") in one_line(error) and "whole idx file" in one_line(error)


def test_truncated_gz(tmp_path):
    save(tmp_path / "a.gz", gzip.compress(WHOLE)[:-9])
    with pytest.raises(UserError, match="a.gz cannot be read"):
        files.read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"BZh9 nonsense",
        bz2.compress(b"1 1:0 2:0"),
        bz2.compress(b"a:b " * 513),
        bz2.compress(b"1 " * 513)[:-5],
        bz2.compress(b""),
    ],
)
def test_damaged_usps(tmp_path, content):
    save(tmp_path / "usps.t.bz2", content)
    with pytest.raises(UserError) as error:
        files.read_usps(tmp_path / "usps.t.bz2")
    assert "usps.t.bz2" in one_line(error) and "256 values" in one_line(error)


def test_damaged_npz(tmp_path):
    make_svhn(tmp_path)
    file = tmp_path / "SVHN/crops.npz"
    content = file.read_bytes()
    for bad in (content[:5000], b"", b"text"):
        file.write_bytes(bad)
        with pytest.raises(UserError, match="crops.npz cannot be read") as error:
            files.read_svhn(file)
        one_line(error)


@pytest.mark.parametrize("arrays", [{"x": np.zeros((9, 32, 32, 3), np.uint8)},
                                    {"x": np.zeros((9, 28, 28, 3), np.uint8), "y": np.zeros(9)},
                                    {"x": np.zeros((9, 32, 32, 3)), "y": np.zeros(9)},
                                    {"x": np.zeros((9, 32, 32, 3), np.uint8), "y": np.zeros(8)},
                                    {"x": np.array([{}]), "y": np.zeros(9)}])  # fmt: skip
def test_wrong_npz(tmp_path, arrays):
    np.savez(tmp_path / "crops.npz", **arrays)
    with pytest.raises(UserError, match=r"crops.npz"):
        files.read_svhn(tmp_path / "crops.npz")


def test_pictures_of_the_wrong_size_or_none(tmp_path):
    file = tmp_path / "a.png"
    with pytest.raises(UserError, match="a.png is missing; a PNG or JPEG file would be right"):
        files.read_image(file)
    Image.new("L", (32, 20), 7).save(file)
    assert files.read_image(file).shape == (20, 32, 3)
    with pytest.raises(UserError, match="a.png is 32x20 pixels; 28x28 would be right"):
        files.read_image(file, side=28)
    with pytest.raises(UserError, match="28x28 or more are needed"):
        files.read_photo(file, 28)
    with pytest.raises(UserError, match="tar: b.png cannot be read"):
        files.read_image("tar: b.png", file.read_bytes()[:50])


def test_csv_with_mark_spaces_and_empty_lines(tmp_path):
    save(tmp_path / "a.csv", "\ufeffimage_name, label\r\na.png, 3\r\n\r\nb.png".encode())
    assert files.read_csv(tmp_path / "a.csv", "image_name") == {2: ["a.png", "3"], 4: ["b.png"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is missing"), (b"\xff\xfe\x00", "begins with"), (b"", "begins with ''"),
     (b"name,label\na.png,1", "the header image_name,label would be right"),
     (b"image_name,label\n", "names no image")],
)  # fmt: skip
def test_csv_that_is_none(tmp_path, content, words):
    if content is not None:
        save(tmp_path / "a.csv", content)
    with pytest.raises(UserError, match=words) as error:
        files.read_csv(tmp_path / "a.csv", "image_name,label")
    assert "a.csv" in one_line(error)


@pytest.mark.parametrize(
    ("name", "of_user"),
    [("a.png", True), ("._a.png", False), ("Thumbs.db", False), ("desktop.ini", False),
     ("__MACOSX/a.png", False), (".DS_Store", False), ("x/a.png", True)],
)  # fmt: skip
def test_names_that_systems_make(name, of_user):
    assert files.of_user(name) == of_user


def test_files_of_systems_are_no_photographs_noises_or_faces(tmp_path):
    for name in ("a.jpg", "._a.jpg", "00.pt", "._00.pt"):
        save(tmp_path / name, b"")
    assert files.photo_files(tmp_path) == [tmp_path / "a.jpg"]
    assert faces.noise_files(tmp_path) == [tmp_path / "00.pt"]
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), 9).save(picture, "PNG")
    with tarfile.open(tmp_path / "f.tar", "w") as tar:
        for name in ("./a.png", "./._a.png", "__MACOSX/a.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture.getvalue()) if name == "./a.png" else 0
            tar.addfile(info, io.BytesIO(picture.getvalue()))
    assert faces._from_tar(tmp_path / "f.tar").shape == (1, 3, 64, 64)
    for folder in ("ours", "gt"):
        save(tmp_path / folder / "a.png", picture.getvalue())
        save(tmp_path / folder / "._a.png", b"")
    assert faces.squared_errors(tmp_path / "ours", tmp_path / "gt") == {"a.png": 0}
