"""Reading the files of data sets. Every fault of a file becomes one UserError line that names it.

The readers return numpy arrays as they lie in the files; `digits` and `faces` bring them to one
shape. torchvision's classes do not serve here: MNIST reads no .gz, which `hw2 data fetch` leaves;
USPS cuts values off that are rounded in the recorded runs; SVHN wants the official file's checksum.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from hw2lib.errors import UserError
from hw2lib.io.paths import data_dir, sha256


@contextmanager
def reading(name: Path | str, right: str) -> Iterator[None]:
    """Whatever a reader raises within the block, as one line; `right`: what the file should be."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{name} is missing; {right} would be right") from None
    except Exception as error:  # decoders meet damaged bytes with errors of every kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name} cannot be read ({reason}); {right} would be right") from None


def label(path: Path) -> str:
    """The name of a data file in results: relative to the data folder where it lies in it."""
    path = Path(path)
    inside = path.is_relative_to(data_dir())
    return path.relative_to(data_dir()).as_posix() if inside else path.name


def digests(files: list[Path]) -> dict[str, str]:
    """{name in results: sha256} of each file."""
    return {label(file): sha256(file) for file in files}


def existing(path: Path, what: str) -> Path:
    """`path` if it is there (or `path`.gz beside it); UserError otherwise."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"{path} is missing ({what}); put it there, name its folder with HW2_DATA, "
        "or see `hw2 data status`"
    )


# --- digits -----------------------------------------------------------------------------------


def read_idx(path: Path) -> np.ndarray:
    """MNIST's idx file of unsigned bytes, plain or .gz -> uint8 array of its own shape."""
    with reading(path, "a whole idx file of unsigned bytes"):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:3] != b"\0\0\x08":  # two zeros, and 8 for unsigned bytes
            raise ValueError(f"it begins with {raw[:3]!r}")
        shape = np.frombuffer(raw, ">u4", raw[3], 4)  # after the number of dimensions
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def read_usps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """USPS libsvm text, bzip2-ed -> images uint8 (N, 16, 16), labels int64 (N,).

    A line is `class 1:v 2:v ... 256:v`, class 1..10 for the digits 0..9, v in [-1, 1].
    """
    with reading(path, "bzip2-ed libsvm text with 256 values a line"):
        text = bz2.decompress(path.read_bytes())
        table = np.array(text.replace(b":", b" ").split(), np.float32).reshape(-1, 1 + 2 * 256)
        if not len(table):
            raise ValueError("it is empty")
    images = ((table[:, 2::2] + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return images.reshape(-1, 16, 16), table[:, 0].astype(np.int64) - 1


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """SVHN's crops -> images uint8 (N, 32, 32, 3), labels int64 (N,), 0..9.

    Either the official train_32x32.mat or test_32x32.mat, whose label of the digit 0 is 10, or an
    npz with `x` and `y` of the shapes above.
    """
    if path.suffix == ".mat":
        from scipy.io import loadmat  # here, so that training needs no scipy

        with reading(path, "SVHN's MATLAB file"):
            file = loadmat(path, variable_names=["X", "y"])
            images, labels = file["X"].transpose(3, 0, 1, 2), file["y"].astype(np.int64) % 10
    else:
        with reading(path, "an npz with x and y"), np.load(path, allow_pickle=False) as file:
            images, labels = file["x"], file["y"].astype(np.int64)
    labels = labels.reshape(-1)
    if images.dtype != np.uint8 or images.shape != (len(labels), 32, 32, 3) or not len(labels):
        raise UserError(
            f"{path} holds {images.dtype} images of shape {images.shape} and {len(labels)} labels; "
            "uint8 (N, 32, 32, 3) with N labels would be right"
        )
    return images, labels


# --- pictures ---------------------------------------------------------------------------------


def read_image(path: Path | str, content: bytes | None = None, side: int = 0) -> np.ndarray:
    """Image file -> uint8 (H, W, 3); UserError if `side` is given and it is not side x side.

    content: the file's bytes where they do not lie at `path`, which names them then.
    """
    with (
        reading(path, "a PNG or JPEG file"),
        Image.open(path if content is None else io.BytesIO(content)) as image,
    ):
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    if side and (height, width) != (side, side):
        raise UserError(f"{path} is {width}x{height} pixels; {side}x{side} would be right")
    return pixels


def read_photo(path: Path, side: int) -> np.ndarray:
    """A photograph -> uint8 (H, W, 3); UserError if it is smaller than side x side."""
    photo = read_image(path)
    height, width, _ = photo.shape
    if min(height, width) < side:
        raise UserError(f"{path} is {width}x{height} pixels; {side}x{side} or more are needed")
    return photo


def photo_files(folder: Path) -> list[Path]:
    """The photographs of a folder, sorted by name; UserError when there are none."""
    files = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise UserError(
            f"{folder} holds no photographs; the .jpg files of BSDS500 would be right "
            "(see `hw2 data status`)"
        )
    return files


# --- lists of images --------------------------------------------------------------------------


def read_csv(path: Path, header: str) -> dict[int, list[str]]:
    """A csv file of images whose first columns are `header` -> {number of the line: its cells}.

    Empty lines and spaces around cells do not count. UserError for a file that is missing or no
    text, another header, and no line below it.
    """
    with reading(path, f"a csv file with the header {header}"):
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    lines = {n: [cell.strip() for cell in row] for n, row in enumerate(rows, 1) if row}
    head, columns = lines.pop(1, []), header.split(",")
    if head[: len(columns)] != columns:
        raise UserError(
            f"{path} begins with {','.join(head)[:60]!r}; the header {header} would be right"
        )
    if not lines:
        raise UserError(f"{path} names no image; one line for each image would be right")
    return lines
