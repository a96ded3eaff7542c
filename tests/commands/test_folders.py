"""Folders of samples: whole or not there, and the files that a notebook gets by the same call."""

import pytest
import torch
from helpers.lines import one_line
from PIL import Image

from hw2lib.commands import cli
from hw2lib.commands.folders import digits_into, faces_into, new_folder
from hw2lib.errors import UserError
from hw2lib.experiments import cfdg, ddim
from hw2lib.experiments.cfdg import Sampling
from hw2lib.io.paths import NOISE


def test_a_new_folder_appears_when_all_is_in_it(tmp_path):
    out = tmp_path / "below" / "new"
    with new_folder(out) as folder:
        (folder / "a").write_text("a")
        assert not out.exists()
    assert [file.name for file in out.iterdir()] == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["below"]  # nothing temporary is left


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("a")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["full", "file"])
def test_what_is_there_is_not_overwritten(tmp_path, kind):
    out = tmp_path / "out"
    if kind == "full":
        out.mkdir()
        (out / "mine").touch()
    else:
        out.touch()
    with (
        pytest.raises(UserError, match="is (not empty|no folder); name a new folder") as error,
        new_folder(out),
    ):
        pytest.fail("the block ran")
    assert str(out) in one_line(error)


def test_digits_are_named_by_digit_and_number(tmp_path, monkeypatch):
    asked = {}

    def sample(model, header, labels, noises, how, progress):
        asked.update(labels=labels.tolist(), noises=noises, how=how)
        return torch.zeros(len(labels), 3, 28, 28, dtype=torch.uint8)

    monkeypatch.setattr(cfdg, "load_digit_unet", lambda weights: (None, {}))
    monkeypatch.setattr(cfdg, "sample_digits", sample)
    assert digits_into(tmp_path / "out", 2, Sampling(w=3, steps=4)) == 20
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == sorted(f"{digit}_{k:03d}.png" for digit in range(10) for k in (1, 2))
    assert asked["noises"][:4] == [0, 10, 1, 11]  # a digit's k-th, whatever the number asked for
    assert asked["how"] == Sampling(w=3, steps=4)


def test_digits_are_drawn_by_rejection_where_a_confidence_is_asked_for(tmp_path, monkeypatch):
    asked = {}

    def sample(model, header, labels, noises, how, confidence, progress):
        asked.update(confidence=confidence)
        return torch.zeros(len(labels), 3, 28, 28, dtype=torch.uint8), torch.ones(len(labels))

    monkeypatch.setattr(cfdg, "load_digit_unet", lambda weights: (None, {}))
    monkeypatch.setattr(cfdg, "sample_until_read", sample)
    arguments = ["sample-digits", str(tmp_path / "out"), "--per-digit", "1", "--confidence", ".9"]
    assert cli.main(arguments) == 0
    assert asked == {"confidence": 0.9} and len(list((tmp_path / "out").iterdir())) == 10


def test_faces_are_named_after_their_noises(tmp_path, monkeypatch):
    def sample(predict, header, noise, how, **_):
        return torch.rand(len(noise), 3, 64, 64)

    monkeypatch.setattr(ddim, "load_face_unet", lambda weights: (None, {"prediction": "eps"}))
    monkeypatch.setattr(ddim, "sample_faces", sample)
    assert faces_into(tmp_path / "out", NOISE) == 10
    assert sorted(f.stem for f in (tmp_path / "out").iterdir()) == [f"{k:02d}" for k in range(10)]
    assert Image.open(tmp_path / "out" / "03.png").size == (64, 64)


@pytest.mark.parametrize("kind", ["plain", "link", "here"])
def test_an_empty_folder_is_filled(tmp_path, monkeypatch, kind):
    """Also in a folder where nothing can be made: a mount point's may be one's own alone."""
    out = tmp_path / "out"
    out.mkdir()
    (out / ".out.99999.part").mkdir()  # left by a killed run
    asked = {"plain": out, "link": tmp_path / "link", "here": "."}[kind]
    (tmp_path / "link").symlink_to(out)
    monkeypatch.chdir(out)
    before = out.stat().st_ino
    with new_folder(asked) as folder:
        assert folder.parent.resolve() == out
        (folder / "a").write_text("a")
        assert not (out / "a").exists()
    left = {file.name for file in out.iterdir()} - {".out.99999.part"}
    assert left == {"a"} and out.stat().st_ino == before


def test_the_loser_of_two_is_told(tmp_path):
    lost = pytest.raises(OSError, match="not empty")
    with lost as caught, new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs").touch()
    assert caught.value.filename == str(tmp_path / "out")  # not the part, which is no user's
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["theirs"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_number_of_a_noise_follows_from_its_name_alone(tmp_path, monkeypatch):
    asked = []

    def sample(predict, header, noise, how, *, numbers, **_):
        asked.extend(numbers)
        return torch.rand(len(noise), 3, 8, 8)

    monkeypatch.setattr(ddim, "load_face_unet", lambda weights: (None, {"prediction": "eps"}))
    monkeypatch.setattr(ddim, "sample_faces", sample)
    for name in ("01", "03", "anna", "._01"):
        (tmp_path / "n").mkdir(exist_ok=True)
        torch.save(torch.zeros(1, 3, 8, 8), tmp_path / "n" / f"{name}.pt")
    assert faces_into(tmp_path / "out", tmp_path / "n") == 3
    assert asked[:2] == [1, 3] and asked[2] > 99
