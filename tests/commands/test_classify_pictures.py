"""What `hw2 classify` makes of pictures of every size and mode."""

import tracemalloc

import numpy as np
import pytest
from helpers.pictures import seven
from PIL import Image

from hw2lib.commands import classify
from hw2lib.datasets import digits


def written(image: Image.Image, tmp_path, name="x.png", **options) -> np.ndarray:
    """What is read of a picture that was saved and opened again."""
    image.save(tmp_path / name, **options)
    with Image.open(tmp_path / name) as again:
        x = classify.as_digit(again)
    assert x.shape == (3, 28, 28) and x.dtype == np.uint8
    return x


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


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_to_a_file_ends_in_another_error(tmp_path, seed):
    """Bytes turned at random: read, or named, but never an exception of some decoder."""
    rng = np.random.default_rng(seed)
    for kind in ("PNG", "GIF", "JPEG", "TIFF", "BMP", "WEBP"):
        path = tmp_path / "x"
        Image.fromarray(seven()).save(path, kind)
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(15):
            bytes_ = whole.copy()
            where = rng.integers(0, len(whole), 4)
            bytes_[where] = rng.integers(0, 256, 4)
            path.write_bytes(bytes_.tobytes())
            found = classify._read(path)
            assert isinstance(found, str) or found.shape == (3, 28, 28)


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
