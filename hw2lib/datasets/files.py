"""Reading the public data files. Every fault of a file becomes one UserError line that names it.

The readers return numpy arrays as they lie in the files; `digits` and `faces` bring them to one
shape. Formats: idx (MNIST), bzip2-ed libsvm text (USPS), MATLAB 5 and npz (SVHN), JPEG and PNG.
"""

from __future__ import annotations

import bz2
import gzip
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from hw2lib.errors import UserError
from hw2lib.io.paths import data_dir


def label(path: Path) -> str:
    """The name of a data file in results: relative to the data folder where it lies in it."""
    path = Path(path)
    inside = path.is_relative_to(data_dir())
    return path.relative_to(data_dir()).as_posix() if inside else path.name


def existing(path: Path, what: str) -> Path:
    """`path` if it is there (or `path`.gz beside it); UserError otherwise."""
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise UserError(
        f"{path} is missing ({what}); put it there, name its folder with HW2_DATA, "
        "or see `hw2 data status`"
    )


def read_idx(path: Path) -> np.ndarray:
    """MNIST's idx file of unsigned bytes, plain or .gz -> uint8 array of its own shape."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from None
    head = {b"\0\0\x08\1": 8, b"\0\0\x08\3": 16}.get(raw[:4], len(raw))  # by its dimensions
    if len(raw) <= head:
        raise UserError(f"{path} is not an idx file with unsigned bytes; download it again")
    shape = tuple(int(n) for n in np.frombuffer(raw[4:head], ">u4"))
    need = head + int(np.prod(shape, dtype=np.int64))
    if len(raw) != need:
        raise UserError(
            f"{path} holds {len(raw)} bytes where its header asks for {need}; download it again"
        )
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def read_usps(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """USPS libsvm text, bzip2-ed -> images uint8 (N, 16, 16), labels int64 (N,).

    A line is `class 1:v 2:v ... 256:v`, class 1..10 for the digits 0..9, v in [-1, 1].
    """
    try:
        text = bz2.decompress(path.read_bytes())
        table = np.array(text.replace(b":", b" ").split(), np.float32).reshape(-1, 1 + 2 * 256)
        if not len(table):
            raise ValueError("it is empty")
    except (OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} is not bzip2-ed libsvm text with 256 values a line ({reason}); "
            "download it again"
        ) from None
    labels = table[:, 0].astype(np.int64) - 1
    images = ((table[:, 2::2] + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return images.reshape(-1, 16, 16), labels


def read_svhn_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """npz with `x` uint8 (N, 32, 32, 3) and `y` (N,) -> the same two, labels int64."""
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = file["x"], file["y"].astype(np.int64).reshape(-1)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} cannot be read as an npz with x and y ({error}); download it again"
        ) from None
    return _checked_svhn(path, images, labels)


def read_svhn_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The official train_32x32.mat or test_32x32.mat -> images (N, 32, 32, 3), labels 0..9."""
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ImportError:
        raise UserError(f"reading {path} needs scipy; pip install scipy") from None
    try:
        file = loadmat(path, variable_names=["X", "y"])
        images, labels = file["X"].transpose(3, 0, 1, 2), file["y"].astype(np.int64).reshape(-1)
    except (MatReadError, OSError, EOFError, LookupError, ValueError, TypeError,
            NotImplementedError, zlib.error, struct.error) as error:  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{path} cannot be read as SVHN's MATLAB file ({reason}); download it again"
        ) from None
    return _checked_svhn(path, images, labels % 10)  # the file says 10 for the digit 0


def _checked_svhn(path: Path, images: np.ndarray, labels: np.ndarray):
    if images.dtype != np.uint8 or images.shape != (len(labels), 32, 32, 3) or not len(labels):
        raise UserError(
            f"{path} holds {images.dtype} images of shape {images.shape} and {len(labels)} labels; "
            "uint8 (N, 32, 32, 3) with N labels would be right"
        )
    return images, labels


def read_image(path: Path, mode: str = "RGB") -> np.ndarray:
    """Image file -> uint8 (H, W, 3), or (H, W) for mode "L"."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; put the image there") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(
            f"{path} cannot be read as an image ({error}); a PNG or JPEG file would be right"
        ) from None


def read_photo(path: Path, side: int) -> np.ndarray:
    """A photograph -> uint8 (H, W, 3); UserError if it is smaller than side x side."""
    photo = read_image(path)
    if min(photo.shape[:2]) < side:
        raise UserError(
            f"{path} is {photo.shape[1]}x{photo.shape[0]} pixels; {side}x{side} or more are needed"
        )
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
