"""Reading the files of data sets. Every fault of a file becomes one UserError line that names it.

The readers return numpy arrays as they lie in the files; `digits` and `faces` bring them to one
shape. torchvision's classes do not serve here: MNIST reads no .gz, which `hw2 data fetch` leaves;
USPS cuts values off that are rounded in the recorded runs; SVHN wants the official file's checksum.
"""

import bz2
import csv
import gzip
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from hw2lib.errors import UserError
from hw2lib.io.paths import data_dir, place, sha256

SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx"}  # names that systems make, in small letters


def of_user(path: Path | str) -> bool:
    """Whether a file or folder is of a person: not hidden (.DS_Store, ._00.pt), not of SYSTEMS."""
    parts = [part for part in os.fspath(path).split("/") if part != "."]
    return not any(part.startswith(".") or part.lower() in SYSTEMS for part in parts)


def users(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that fit, sorted by name, without what systems put there."""
    return sorted(p for p in folder.glob(pattern) if of_user(p.name) and p.is_file())


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


def folder_of(path: str | Path, right: str) -> Path:
    """A folder that a user names; UserError, with what would be `right`, where it is none."""
    folder = place(path)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"folder {folder} {what}; {right} would be right")
    return folder


def existing(path: Path, what: str) -> Path:
    """`path` if it is there (or `path`.gz beside it); UserError otherwise."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.exists():
            return candidate
    raise UserError(
        f"{path} is missing ({what}); put it there, name its folder with HW2_DATA, "
        "or see `hw2 data status`"
    )


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
        lines = [line for line in bz2.decompress(path.read_bytes()).splitlines() if line.strip()]
        table = np.empty((len(lines), 1 + 2 * 256), np.float32)
        for k, line in enumerate(lines):
            try:
                table[k] = line.replace(b":", b" ").split()
            except ValueError:
                raise ValueError(f"line {k + 1} is not a class and 256 values") from None
        if not lines:
            raise ValueError("it is empty")
        for what, right in (
            ("a class that is not 1 to 10", np.isin(table[:, 0], np.arange(1, 11))),
            ("other indices than 1 to 256", (table[:, 1::2] == np.arange(1, 257)).all(1)),
            ("a value that is not -1 to 1", (np.abs(table[:, 2::2]) <= 1).all(1)),
        ):
            if not right.all():
                raise ValueError(f"line {right.argmin() + 1} has {what}")
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
            images, labels = file["X"].transpose(3, 0, 1, 2), file["y"].reshape(-1)
    else:
        with reading(path, "an npz with x and y"), np.load(path, allow_pickle=False) as file:
            images, labels = file["x"], file["y"].reshape(-1)
    if images.dtype != np.uint8 or images.shape != (len(labels), 32, 32, 3) or not len(labels):
        raise UserError(
            f"{path} holds {images.dtype} images of shape {images.shape} and {len(labels)} labels; "
            "uint8 (N, 32, 32, 3) with N labels would be right"
        )
    first = int(path.suffix == ".mat")
    right = np.isin(labels, np.arange(first, first + 10))
    if not right.all():
        k, said = right.argmin(), f"{first} to {first + 9} would be right"
        raise UserError(f"{path} holds the label {labels[k]} for its crop {k}; {said}")
    return images, labels.astype(np.int64) % 10


@contextmanager
def opened(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """An image, decoded; ValueError for a pipe, for which one would wait for ever."""
    if isinstance(source, Path) and source.exists() and not source.is_file():
        raise ValueError("it is no file")
    with Image.open(source) as image:
        image.load()
        yield image


def read_image(path: Path | str, content: bytes | None = None, side: int = 0) -> np.ndarray:
    """Image file -> uint8 (H, W, 3); UserError if `side` is given and it is not side x side.

    content: the file's bytes where they do not lie at `path`, which names them then.
    """
    source = path if content is None else io.BytesIO(content)
    with reading(path, "a PNG or JPEG file"), opened(source) as image:
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
    files = [p for p in users(folder, "*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    if not files:
        raise UserError(
            f"{folder} holds no photographs; the .jpg files of BSDS500 would be right "
            "(see `hw2 data status`)"
        )
    return files


def read_csv(path: Path, header: str) -> dict[int, list[str]]:
    """A csv file of images whose first columns are `header` -> {number of the line: its cells}.

    Empty lines do not count, nor spaces around cells other than the first, the image's name.
    UserError for a file that is missing or no text, another header, no line below it, and a name
    that leads out of the images' folder.
    """
    with reading(path, f"a csv file with the header {header}"):
        text = path.read_text("utf-8-sig", errors="surrogateescape")  # a name is bytes on the disk
        reader = csv.reader(io.StringIO(text, newline=""))
        rows = [(reader.line_num, row) for row in reader if row]
    lines = {number: [row[0], *map(str.strip, row[1:])] for number, row in rows}
    head, columns = lines.pop(1, [""]), header.split(",")
    if [cell.strip() for cell in head[: len(columns)]] != columns:
        raise UserError(
            f"{path} begins with {','.join(head)[:60]!r}; the header {header} would be right "
            "(commas between columns)"
        )
    if not lines:
        raise UserError(f"{path} names no image; one line for each image would be right")
    for number, (name, *_) in lines.items():
        if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise UserError(
                f"{path} line {number} names {name!r}; a file in the images' folder would be right"
            )
    return lines
