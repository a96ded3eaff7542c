"""`hw2 classify`: the csv, lists, and a name for every file that is no picture."""

import csv
import os
from contextlib import suppress

import numpy as np
import pytest
import torch
from helpers.files import make_course
from helpers.lines import fails, one_line, run
from helpers.pictures import seven
from PIL import Image

from hw2lib.commands import classify
from hw2lib.errors import UserError
from hw2lib.models.dann_net import Network, save


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    return save(Network(), tmp_path_factory.mktemp("w") / "w.safetensors", target="usps")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("b.png", "a.png", "10.png"):
        Image.fromarray(seven()).save(folder / name)
    return folder


def rows(path):
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


# --- the csv ------------------------------------------------------------------------------------


def test_one_sorted_line_an_image(images, weights, tmp_path):
    (images / ".DS_Store").write_bytes(b"of the system")
    out = classify.classify(images, tmp_path / "out.csv", "usps", weights)
    head, *lines = rows(out)
    assert head == ["image_name", "label"]
    assert [name for name, _ in lines] == ["10.png", "a.png", "b.png"]
    assert len({label for _, label in lines}) == 1 and lines[0][1] in "0123456789"


def test_labels_do_not_depend_on_the_batch(images, weights, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for k in range(20):
        picture = rng.integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(picture).save(images / f"{k}.png")
    whole = classify.classify(images, tmp_path / "whole.csv", "usps", weights)
    monkeypatch.setattr(classify, "_BATCH", 3)
    parts = classify.classify(images, tmp_path / "parts.csv", "usps", weights)
    assert whole.read_bytes() == parts.read_bytes()


def test_at_most_one_batch_is_in_memory(images, weights, tmp_path, monkeypatch):
    sizes, real = [], classify.classify_tensor

    def counting(network, batch):
        sizes.append(len(batch))
        return real(network, batch)

    monkeypatch.setattr(classify, "_BATCH", 2)
    monkeypatch.setattr(classify, "classify_tensor", counting)
    classify.classify(images, tmp_path / "out.csv", "usps", weights)
    assert sizes == [2, 1]


def test_a_name_that_is_no_unicode_keeps_its_bytes(images, weights, tmp_path):
    try:
        os.rename(images / "b.png", os.fsencode(images) + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    out = classify.classify(images, tmp_path / "out.csv", "usps", weights)
    assert out.read_bytes().splitlines()[-1].startswith(b"\xff.png,")


# --- mistakes -----------------------------------------------------------------------------------


@pytest.fixture
def failing(images, weights, tmp_path):
    """The one line of a run that fails, after which nothing is written."""

    def run(target="usps", folder=images, file=weights, names=None) -> str:
        with pytest.raises(UserError) as error:
            classify.classify(folder, tmp_path / "out.csv", target, file, names)
        assert list(tmp_path.glob("*.csv")) == list(tmp_path.glob(".*.part")) == []
        assert "\n" not in str(error.value)
        return str(error.value)

    return run


def test_wrong_folders_targets_and_weights(failing, tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / ".DS_Store").write_bytes(b"")
    assert "none is empty" in failing(folder=tmp_path / "none")
    assert "nowhere does not exist" in failing(folder=tmp_path / "nowhere")
    assert "does not exist" in failing(file=tmp_path / "nothing.safetensors")
    assert "is for usps, not svhn" in failing(target="svhn")
    assert "target 'mars' is unknown; choose one of svhn, usps" in failing(target="mars")


def spoil(images, kind: str) -> str:
    """Put one file that is no whole image into the folder; returns its name."""
    name = {"foreign": "notes.txt", "folder": "more", "pipe": "pipe"}.get(kind, "c.png")
    path, whole = images / name, (images / "a.png").read_bytes()
    if kind == "foreign":
        path.write_text("image_name,label")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(images / "nothing")
    elif kind == "not finite":
        Image.fromarray(np.full((28, 28), np.nan, np.float32)).save(path, "TIFF")
    else:
        damaged = whole[:48] + bytes(9) + whole[57:]
        path.write_bytes({"empty": b"", "cut": whole[:-30], "turned": damaged}[kind])
    return name


@pytest.mark.parametrize(
    ("kind", "what"),
    [("foreign", "no image"), ("empty", "no image"), ("cut", "damaged"), ("turned", "damaged"),
     ("folder", "a folder"), ("pipe", "no file"), ("link", "missing"), ("not finite", "damaged")],
)  # fmt: skip
def test_a_file_that_is_no_whole_image_is_named(failing, images, kind, what):
    name = spoil(images, kind)
    assert f"1 of 4 files cannot be used: {name} ({what});" in failing()


def test_the_first_bad_files_are_named_and_the_rest_counted(failing, images, monkeypatch):
    monkeypatch.setattr(classify, "_BATCH", 2)  # they are found in every batch
    for k in range(7):
        (images / f"bad{k}.txt").write_text("x")
    line = failing()
    assert f"{images}: 7 of 10 files cannot be used: bad0.txt (no image), " in line
    assert "bad4.txt (no image) and 2 more;" in line and "bad5" not in line


def test_names_that_break_lines_do_not_break_the_complaint(failing, images):
    (images / "a\nb.txt").write_text("x")
    assert "'a\\nb.txt' (no image)" in failing()


def test_a_far_too_big_picture_is_named(failing, images, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "10.png (far too big)" in failing()


# --- lists and the course's folder --------------------------------------------------------------


def test_a_list_chooses_the_images(images, weights, tmp_path, failing):
    names = tmp_path / "list"
    names.write_text("image_name,label\nb.png,\n\n10.png,3\n")
    assert classify.listed(names, images) == ["b.png", "10.png"]
    assert "1 of 2 files cannot be used: z.png (missing)" in failing(names=["a.png", "z.png"])
    chosen = classify.listed(names, images)
    out = classify.classify(images, tmp_path / "o.csv", "usps", weights, chosen)
    assert [row[0] for row in rows(out)[1:]] == ["10.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "begins with ''"), ("name\na.png", "the header image_name would be right"),
     ("image_name\n", "names no image"), ("image_name\na.png\na.png", "names a.png twice"),
     ("image_name\na.png\nz.png", "l.csv names z.png, which is not in"), (None, "is missing"),
     ('image_name\n"a\nb"', r"names 'a\nb', which"), ('image_name\n"a\nb"\n"a\nb"', "twice")],
)  # fmt: skip
def test_wrong_lists(images, tmp_path, text, words):
    if text is not None:
        (tmp_path / "l.csv").write_text(text)
    with pytest.raises(UserError) as error:
        classify.listed(tmp_path / "l.csv", images)
    assert words in one_line(error) and "l.csv" in one_line(error)


def test_the_courses_lists(folder):
    base = make_course(folder)
    (base / "test.csv").write_text("image_name\nval3.png\n")
    assert classify.of_course("usps") == (base / "data", [f"val{k}.png" for k in range(10)])
    assert classify.of_course("usps", "test")[1] == ["val3.png"]
    assert len(classify.of_course("usps", "train")[1]) == 20
    for arguments, words in [
        (("svhn",), "is missing"),
        (("mnist",), "the course's domain 'mnist' is unknown; choose one of mnistm"),
        (("usps", "all"), "the course's list 'all' is unknown; choose one of train, val, test"),
    ]:
        with pytest.raises(UserError, match=words):
            classify.of_course(*arguments)


# --- the command --------------------------------------------------------------------------------


def test_the_command_writes_prints_and_overwrites_nothing(capsys, images, weights, tmp_path):
    out, more = tmp_path / "out.csv", ("--target", "usps", "--weights", weights)
    status, text, _ = run(capsys, "classify", images, out, *more)
    assert (status, text) == (0, f"{out}\n")
    before = out.read_bytes()
    assert "exists" in fails(capsys, "classify", images, out, *more)
    assert out.read_bytes() == before
    (images / "notes.txt").write_text("x")
    other = tmp_path / "other.csv"
    assert "notes.txt (no image)" in fails(capsys, "classify", images, other, *more)
    (tmp_path / "l.csv").write_text("image_name\nb.png\n")
    listed = ("--list", tmp_path / "l.csv")
    assert run(capsys, "classify", images, other, *more, *listed)[0] == 0
    assert [row[0] for row in rows(other)] == ["image_name", "b.png"]


@pytest.mark.parametrize(("option", "n"), [((), 10), (("--list", "train"), 20)])
def test_the_command_reads_the_courses_folder(capsys, weights, folder, option, n):
    make_course(folder)
    out, more = folder / "o.csv", ("--target", "usps", "--weights", weights)
    assert run(capsys, "classify", "course", out, *more, *option)[0] == 0
    names = [row[0] for row in rows(out)][1:]
    assert len(names) == n and names == sorted(names)


def test_names_that_classify_writes_are_read_as_a_list(images, weights, tmp_path):
    for name in (" a.png", "b\nc.png", "d,e.png", 'f".png', os.fsdecode(b"\xff.png")):
        Image.fromarray(seven()).save(images / name)
    out = classify.classify(images, tmp_path / "o.csv", "usps", weights)
    names = classify.listed(out, images)
    assert names == sorted(p.name for p in images.iterdir()) and " a.png" in names
    again = classify.classify(images, tmp_path / "p.csv", "usps", weights, names)
    assert again.read_bytes() == out.read_bytes()


def test_what_does_not_fit_into_memory_is_not_called_damaged(failing, monkeypatch):
    def greedy(_):
        raise MemoryError

    monkeypatch.setattr(classify, "as_digit", greedy)
    assert "10.png (too big for the memory)" in failing()


def test_what_decoders_print_is_not_shown(images, weights, tmp_path, capfd):
    """libtiff writes its own line to standard error; one of us alone is right."""
    rng, file = np.random.default_rng(0), images / "c.tif"
    Image.fromarray(rng.random((40, 40)) < 0.5).save(file, compression="group4")
    data = np.frombuffer(file.read_bytes(), np.uint8).copy()
    data[8:40] = rng.integers(0, 256, 32)  # within the strip
    file.write_bytes(data.tobytes())
    classify._read(file)
    assert "Fax4Decode" in capfd.readouterr().err  # it does print
    with suppress(UserError):
        classify.classify(images, tmp_path / "o.csv", "usps", weights)
    assert capfd.readouterr().err == ""
