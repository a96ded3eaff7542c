"""faces: drawn faces, the tar of real ones, noise files."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
import torch
from helpers.lines import one_line
from PIL import Image

from hw2lib.datasets import embedded, faces
from hw2lib.errors import UserError
from hw2lib.io.paths import NOISE

real_data = pytest.mark.skipif(not os.environ.get("HW2_DATA"), reason="HW2_DATA is not set")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "build"))
    (tmp_path / "data/faces").mkdir(parents=True)
    return tmp_path / "data"


def make_tar(folder, files):
    with tarfile.open(folder / "faces/celeba64.tar", "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def png(value, size=(64, 64), mode="RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(stream, "PNG")
    return stream.getvalue()


def test_drawn_faces():
    found = faces.load("embedded")
    assert found.images.shape == (512, 3, 64, 64) and found.images.dtype == torch.uint8
    assert found.data == "embedded" and "stand-in" in found.describe()
    assert len({image.numpy().tobytes() for image in found.images}) == 512


def test_drawn_faces_do_not_depend_on_their_number():
    assert np.array_equal(embedded.faces(7)[:3], embedded.faces(3))
    assert embedded.faces(2, side=32).shape == (2, 3, 32, 32)


def test_auto_takes_the_tar_when_it_is_there(folder):
    assert faces.load().data == "embedded"
    make_tar(folder, {"a/1.png": png(10), "a/0.png": png(5, mode="L"), "a/readme.txt": b"x"})
    found = faces.load()
    assert found.data == "public" and list(found.sha256) == ["faces/celeba64.tar"]
    assert found.images[:, 0, 0, 0].tolist() == [5, 10]  # in the order of their names
    assert torch.equal(faces.load("public").images, found.images)  # from the cache


def test_damaged_cache_is_made_again(folder, tmp_path):
    make_tar(folder, {"0.png": png(5)})
    first = faces.load()
    (cache,) = (tmp_path / "build/cache").glob("faces-*.npz")
    cache.write_bytes(cache.read_bytes()[:200])
    assert torch.equal(faces.load().images, first.images)


def test_named_source_missing_or_unknown(folder):
    with pytest.raises(UserError, match=r"celeba64.tar is missing"):
        faces.load("public")
    with pytest.raises(UserError, match="auto, public, embedded"):
        faces.load("internet")


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"a.txt": b"text"},
        {"0.png": b"no picture"},
        {"0.png": png(1)[:60]},
        {"0.png": png(1, (64, 60))},
    ],
)
def test_wrong_tar(folder, files):
    make_tar(folder, files)
    with pytest.raises(UserError) as error:
        faces.load()
    assert "celeba64.tar" in one_line(error)


@pytest.mark.parametrize("keep", [0, 100, 700])
def test_truncated_tar(folder, keep):
    make_tar(folder, {"0.png": os.urandom(5000)})
    path = folder / "faces/celeba64.tar"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"celeba64.tar") as error:
        faces.load()
    one_line(error)


def test_what_is_no_tar_is_one_line(folder):
    """tarfile's own message has a line for each compression that it tried."""
    (folder / "faces/celeba64.tar").write_bytes(b"no tar, and long enough to be one" * 100)
    with pytest.raises(UserError, match=r"celeba64.tar cannot be read \(") as error:
        faces.load()
    one_line(error)


# --- noise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_shipped_noise(seed):
    noise = faces.load_noise(NOISE / f"{seed:02d}.pt")
    again = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    assert noise.dtype == torch.float32 and torch.allclose(noise, again, atol=1e-5)


def test_noise_files_are_sorted():
    assert [file.name for file in faces.noise_files(NOISE)] == [f"0{i}.pt" for i in range(10)]


def test_the_first_noises_of_a_folder_come_in_one_tensor():
    files, noises = faces.load_noises(NOISE, most=4)
    assert [file.stem for file in files] == ["00", "01", "02", "03"]
    assert noises.shape == (4, 3, 64, 64) and torch.equal(noises[2:3], faces.load_noise(files[2]))


def test_noises_to_walk_between_are_two_of_one_size(tmp_path):
    torch.save(torch.zeros(1, 3, 64, 64), tmp_path / "00.pt")
    with pytest.raises(UserError, match="holds 00.pt alone; two noises are needed"):
        faces.load_noises(tmp_path, most=4)
    torch.save(torch.zeros(1, 3, 32, 32), tmp_path / "01.pt")
    with pytest.raises(UserError, match=r"01.pt is \(1, 3, 32, 32\), 00.pt is \(1, 3, 64, 64\)"):
        faces.load_noises(tmp_path, most=4)


def test_noise_folder_missing_or_empty(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="00.pt"):
            faces.noise_files(folder)


@pytest.mark.parametrize("kind", [torch.float16, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("side", [32, 256])
def test_noise_of_other_sizes_and_kinds(tmp_path, kind, side):
    torch.save(torch.zeros(1, 3, side, side, dtype=kind), tmp_path / "n.pt")
    noise = faces.load_noise(tmp_path / "n.pt")
    assert noise.dtype == torch.float32 and noise.shape == (1, 3, side, side)


class Code:
    def __reduce__(self):
        return (os.mkdir, ("touched-by-pickle",))


BAD = {
    "shape": torch.zeros(3, 64, 64),
    "two": torch.zeros(2, 3, 64, 64),
    "grey": torch.zeros(1, 1, 64, 64),
    "flat": torch.zeros(1, 3, 0, 64),
    "integers": torch.zeros(1, 3, 64, 64, dtype=torch.int64),
    "infinite": torch.full((1, 3, 8, 8), torch.inf),
    "sparse": torch.zeros(1, 3, 8, 8).to_sparse(),
    "meta": torch.zeros(1, 3, 8, 8, device="meta"),
    "dictionary": {"noise": torch.zeros(1, 3, 64, 64)},
    "code": Code(),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_noise(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    torch.save(BAD[name], "n.pt")
    with pytest.raises(UserError) as error:
        faces.load_noise("n.pt")
    assert "noise file n.pt" in one_line(error) and "(1, 3, H, W)" in one_line(error)
    assert not os.path.exists("touched-by-pickle")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", pickle.dumps(Code(), 2)])
def test_noise_that_is_no_torch_file(tmp_path, content):
    (tmp_path / "n.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"noise file .*n.pt"):
        faces.load_noise(tmp_path / "n.pt")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_truncated_noise(tmp_path, keep):
    content = (NOISE / "00.pt").read_bytes()
    (tmp_path / "n.pt").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match="damaged"):
        faces.load_noise(tmp_path / "n.pt")


def test_missing_noise(tmp_path):
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(UserError, match="missing"):
            faces.load_noise(path)


@real_data
def test_real_faces():
    if not faces.tar_path().is_file():
        pytest.skip("no tar of faces")
    found = faces.load("public")
    assert len(found) > 1000 and found.images.shape[1:] == (3, 64, 64)
    assert 80 < found.images[:500].float().mean() < 160
