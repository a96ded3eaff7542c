"""`hw2 classify`: every size and mode of picture, and a name for every file that is none."""

import csv
import os
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
import torch
from helpers.files import make_course
from helpers.lines import fails, run
from PIL import Image

from hw2lib.commands import classify
from hw2lib.datasets import digits
from hw2lib.errors import UserError
from hw2lib.models.dann_net import Network, save


def seven(side: int = 28) -> np.ndarray:
    """uint8 (side, side): a light 7 on a dark ground, from 0 to 255."""
    x = np.zeros((side, side), np.uint8)
    a, b = side // 5, side // 8
    x[a : a + b, a:-a] = 255
    x[a:-a, -a - b : -a] = 200
    return x


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


def written(image: Image.Image, tmp_path, name="x.png", **options) -> np.ndarray:
    """What is read of a picture that was saved and opened again."""
    image.save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as again:
        x = classify.as_digit(again)
    assert x.shape == (3, 28, 28) and x.dtype == np.uint8
    return x


# --- sizes and modes ----------------------------------------------------------------------------


def test_pictures_of_28_pixels_are_read_as_they_are(tmp_path):
    grey = seven()
    for image in (Image.fromarray(grey), Image.fromarray(grey).convert("RGB")):
        assert (written(image, tmp_path) == grey).all()
    colour = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    assert (written(Image.fromarray(colour), tmp_path) == colour.transpose(2, 0, 1)).all()


def as_16_bit(x):
    return Image.fromarray(x.astype(np.uint16) * 257)


def as_alpha(x):
    """Ink of one colour whose strength is in the alpha channel alone, as drawing programs do."""
    return Image.merge("LA", [Image.new("L", x.shape, 0), Image.fromarray(x)])


def as_palette(x):
    image = Image.fromarray(255 - x, "P")  # entry 0 is white
    image.putpalette([v for k in range(255, -1, -1) for v in (k, k, k)])
    return image


def as_cmyk(x):
    return Image.fromarray(np.stack([255 - x] * 3 + [0 * x], 2), "CMYK")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (Image.fromarray, "x.png"),
        (as_16_bit, "x.png"),
        (as_16_bit, "x.tif"),
        (lambda x: Image.fromarray(x.astype(np.int32) * 1000), "x.tif"),
        (lambda x: Image.fromarray(x.astype(np.float32) / 255), "x.tif"),
        (lambda x: Image.fromarray(255 * (x > 100).astype(np.uint8)).convert("1"), "x.png"),
        (as_palette, "x.png"),
        (as_palette, "x.gif"),
        (as_cmyk, "x.tif"),
        (lambda x: Image.fromarray(x).convert("LA"), "x.png"),
        (lambda x: Image.fromarray(x).convert("RGBA"), "x.webp"),
        (lambda x: Image.fromarray(x).convert("RGB"), "x.bmp"),
    ],
)
def test_every_mode_shows_the_same_digit(tmp_path, make, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    x = written(make(seven()), tmp_path, name, **options)
    assert np.corrcoef(x[0].ravel(), seven().ravel())[0, 1] > 0.98
    assert (x[0] == x[1]).all() and x.min() == 0 and x.max() == 255


def test_16_bits_give_the_pixels_of_8_bits(tmp_path):
    dim = seven() // 3 + 20  # does not reach black or white: nothing is stretched
    assert (written(as_16_bit(dim), tmp_path) == dim).all()


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_in_the_alpha_channel_stays_visible_whatever_its_colour(tmp_path, ink):
    for colour in ((ink,), (ink,) * 3):
        layers = [Image.new("L", (28, 28), v) for v in colour] + [Image.fromarray(seven())]
        x = written(Image.merge("LA" if len(colour) == 1 else "RGBA", layers), tmp_path)
        assert (x == (seven() if ink else 255 - seven())).all()


def test_transparent_entry_of_a_palette(tmp_path):
    """White ink on entry 0, which holds a hidden white: only its transparency tells it apart."""
    image = Image.fromarray((seven() > 0).astype(np.uint8), "P")
    image.putpalette([255, 255, 255, 255, 255, 255])
    x = written(image, tmp_path, transparency=0)
    assert (x == 255 * (seven() > 0)).all()


@pytest.mark.parametrize("side", [32, 16])
def test_other_sizes_are_resampled_as_the_training_images_were(tmp_path, side):
    image = np.random.default_rng(1).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    want = digits._fitted(image, np.zeros(5)).images.numpy().astype(int)
    for one, other in zip(image, want, strict=True):
        assert abs(written(Image.fromarray(one), tmp_path) - other).max() <= 1


@pytest.mark.parametrize("shape", [(56, 14), (14, 56), (300, 7), (1, 1), (1, 4000)])
def test_a_picture_that_is_not_square_keeps_its_shape(tmp_path, shape):
    """Filled up by its own edge: no new line appears beside the picture."""
    x = written(Image.fromarray(np.full(shape, 90, np.uint8)), tmp_path)
    assert (x == 90).all()
    if min(shape) == 14:
        half = np.zeros(shape, np.uint8)  # the middle half of the long side is light
        long = half if shape[0] == 56 else half.T
        long[14:42] = 255
        x = written(Image.fromarray(half), tmp_path)[0]
        x = x if shape[0] == 56 else x.T
        assert (x == x[:, :1]).all()  # edges repeated sidewards
        assert (x[8:20] == 255).all() and (x[:6] == 0).all() and (x[22:] == 0).all()


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    x = written(Image.fromarray(seven()[::-1, ::-1]), tmp_path, exif=exif)
    assert (x == seven()).all()


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


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_to_a_file_ends_in_another_error(images, seed):
    """Bytes turned at random: read, or named, but never an exception of some decoder."""
    rng = np.random.default_rng(seed)
    for kind in ("PNG", "GIF", "JPEG", "TIFF", "BMP", "WEBP"):
        path = images / "x"
        Image.fromarray(seven()).save(path, kind)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(15):
            bytes_ = whole.copy()
            where = rng.integers(0, len(whole), 4)
            bytes_[where] = rng.integers(0, 256, 4)
            path.write_bytes(bytes_.tobytes())
            found = classify._read(path)
            assert isinstance(found, str) or found.shape == (3, 28, 28)


# --- lists and the course's folder --------------------------------------------------------------


def test_a_list_chooses_the_images(images, weights, tmp_path, failing):
    names = tmp_path / "list"
    names.write_text("image_name,label\nb.png,\n\n10.png,3\n")
    assert classify.listed(names) == ["b.png", "10.png"]
    assert "1 of 2 files cannot be used: z.png (missing)" in failing(names=["a.png", "z.png"])
    out = classify.classify(images, tmp_path / "o.csv", "usps", weights, classify.listed(names))
    assert [row[0] for row in rows(out)[1:]] == ["10.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "begins with ''"), ("name\na.png", "the header image_name would be right"),
     ("image_name\n", "names no image"), ("image_name\na.png\na.png", "names a.png twice"),
     (None, "is missing")],
)  # fmt: skip
def test_wrong_lists(tmp_path, text, words):
    if text is not None:
        (tmp_path / "l.csv").write_text(text)
    with pytest.raises(UserError) as error:
        classify.listed(tmp_path / "l.csv")
    assert words in str(error.value) and "l.csv" in str(error.value)


def test_the_courses_lists(folder):
    base = make_course(folder)
    (base / "test.csv").write_text("image_name\nval3.png\n")
    assert classify.of_course("usps") == (base / "data", [f"val{k}.png" for k in range(10)])
    assert classify.of_course("usps", "test")[1] == ["val3.png"]
    assert len(classify.of_course("usps", "train")[1]) == 20
    for arguments, words in [
        (("svhn",), "is missing"),
        (("mnist",), "the course has no mnist"),
        (("usps", "all"), "the course has no list 'all'; choose one of train, val, test"),
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
    names = classify.listed(out)
    assert names == sorted(p.name for p in images.iterdir()) and " a.png" in names
    again = classify.classify(images, tmp_path / "p.csv", "usps", weights, names)
    assert again.read_bytes() == out.read_bytes()


def test_dark_pictures_of_16_bits_are_stretched(tmp_path):
    dark = Image.fromarray(seven().astype(np.uint16) + 45)  # its brightest value is 300
    assert abs(written(dark, tmp_path).astype(int) - seven()).max() <= 1


def test_a_big_picture_is_shrunk_before_it_becomes_floats(tmp_path):
    x = np.kron(seven(56), np.ones((40, 40), np.uint8))  # 2240x2240
    big, small = (Image.fromarray(np.stack([a, a, a, a], 2), "RGBA") for a in (x, seven(56)))
    tracemalloc.start()
    found = written(big, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.size * 12  # bytes; floats of all pixels were 16 and more
    assert abs(found.astype(int) - written(small, tmp_path)).max() <= 8
    deep = x.astype(np.uint16) * 257
    tracemalloc.start()
    classify._eight_bits(deep)
    assert tracemalloc.get_traced_memory()[1] < x.size * 2
    tracemalloc.stop()


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
