"""`hw2 classify`: a folder of images of any size and mode -> a csv with a digit for each.

What a picture goes through before the network's own standardisation (`as_digit`):

- orientation as its EXIF says; of several frames the first;
- grey of more than 8 bits: 65535 is white where the values fill 16 bits (the largest is above a
  quarter of that), else the picture's own minimum is black and its maximum white;
- transparency is laid over black or white, whichever is further from the picture's own mean: ink
  stays visible, whatever colour it has (plain conversion would show hidden, often black pixels);
- the longer side becomes 28 pixels by the resampling that the training images had (bilinear with
  antialias, as SVHN's 32 and USPS's 16 pixels in `digits`); the shape of the digit is kept;
- a shorter side is filled up by repeating its edge: a border would look like a stroke.
"""

import csv
import math
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from hw2lib.datasets import course
from hw2lib.datasets.files import folder_of, of_user, read_csv
from hw2lib.datasets.mnistm import SIDE
from hw2lib.datasets.pairs import TARGETS
from hw2lib.errors import UserError, check_known
from hw2lib.io.paths import WEIGHTS, atomic_write, place
from hw2lib.models.dann_net import Network, classify_tensor, load

LISTS = ("train", "val", "test")  # the course's csv files
_BATCH, _THREADS, _NAMED = 512, 4, 5  # memory does not grow with the folder
_BIG = 4_000_000  # pixels of a picture that is read while no other big one is
_ONE_BY_ONE = ThreadPoolExecutor(1)  # a thread keeps the memory that it once took
_LARGE = 16 * SIDE  # pixels of a side that suffice
_WRONG = {UnidentifiedImageError: "no image", Image.DecompressionBombError: "far too big",
          MemoryError: "too big for the memory", PermissionError: "not readable"}  # fmt: skip


def classify(
    image_dir: str | Path,
    out_csv: str | Path,
    target: str,
    weights: str | Path | None = None,
    names: Sequence[str] | None = None,
) -> Path:
    """Write a csv with header image_name,label (0..9), one row an image, sorted by name.

    weights: a file made by `dann_net.save`; default the shipped one of `target`. names: the files
    to read; default all of the folder. The csv appears whole or not at all.
    Errors: UserError for an unknown target, weights for another one, an empty folder, a csv that is
    there already, and for files that are no image, damaged or missing: it names the first five and
    counts the rest.
    """
    check_known("target", target, TARGETS)
    folder = place(image_dir)
    names = files_in(folder) if names is None else sorted(names)
    network, header = load(weights or WEIGHTS / f"dann-{target}.safetensors")
    if header.get("target", target) != target:
        raise UserError(f"weights file {weights} is for {header['target']}, not {target}")
    with atomic_write(out_csv, new=True) as part:
        labels = _read_all(network, folder, names)
        # Names are written with the bytes that they have on disk, UTF-8 or not.
        with open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["image_name", "label"])
            writer.writerows(zip(names, labels, strict=True))
    return Path(out_csv)


def _read_all(network: Network, folder: Path, names: Sequence[str]) -> list[int]:
    """The digit of each file; UserError if one cannot be used."""
    labels: list[int] = []
    faults: list[str] = []  # once there is one, the other files are only checked
    with (
        warnings.catch_warnings(),
        _quiet() as stream,
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(names), unit="image", delay=2, file=stream) as bar,
    ):
        warnings.simplefilter("ignore")  # decoders' own, which name no file
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            found = list(pool.map(lambda name: _read(folder / name), some))
            faults += [f"{_printable(name)} ({what})"
                       for name, what in zip(some, found, strict=True)
                       if isinstance(what, str)]  # fmt: skip
            if not faults:
                labels += classify_tensor(network, torch.from_numpy(np.stack(found))).tolist()
            bar.update(len(some))
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise UserError(
            f"{folder}: {len(faults)} of {len(names)} files cannot be used: "
            f"{', '.join(faults[:_NAMED])}{more}; a folder of whole images alone is right, nothing "
            "was written"
        )
    return labels


@contextmanager
def _quiet() -> Iterator[TextIO]:
    """What decoders in C would print goes nowhere; gives the stream that is left for a bar."""
    with open(os.dup(2), "w") as stream, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield stream if sys.stderr is sys.__stderr__ else sys.stderr
        finally:
            os.dup2(stream.fileno(), 2)


def files_in(folder: Path) -> list[str]:
    """Names in a folder, sorted; sub-folders too, which no image is: nothing is left out silently.

    Names that systems make (.DS_Store, ._1.png, Thumbs.db) are not the user's images and do not
    count. Errors: UserError for a folder that is missing or holds nothing else.
    """
    listing = os.listdir(folder_of(folder, "one of images"))
    names = sorted(name for name in listing if of_user(name))
    if not names:
        raise UserError(f"image folder {folder} is empty; it should hold images of one digit each")
    return names


def listed(path: Path, folder: Path) -> list[str]:
    """Names of a csv whose first column is `image_name`, other columns unread: files of `folder`.

    Errors: UserError for a missing file or folder, another header, no name, a name that comes
    twice, and one that is not in the folder.
    """
    names = [row[0] for row in read_csv(path, "image_name").values()]
    (twice, n), *_ = Counter(map(os.path.normpath, names)).most_common(1)
    if n > 1:
        raise UserError(f"{path} names {_printable(twice)} twice; each image once is right")
    there = set(files_in(folder))
    lost = next((n for n in names if n not in there and not os.path.lexists(folder / n)), None)
    if lost is not None:
        lost = _printable(lost)
        raise UserError(f"{path} names {lost}, which is not in {folder}; a file there is right")
    return names


def of_course(target: str, which: str = "val") -> tuple[Path, list[str]]:
    """The course's image folder of a domain, and the names in its train, val or test.csv.

    Errors: UserError for a domain or list that the course does not have, and for missing files.
    """
    check_known("the course's list", which, LISTS)
    *_, folder = course.digit_files(target)
    return folder, listed(folder.parent / f"{which}.csv", folder)


def as_digit(image: Image.Image) -> np.ndarray:
    """A picture of any size and mode -> uint8 (3, 28, 28), as the module's docstring tells."""
    image.load()
    image = _flat(image)
    scale = SIDE / max(image.size)
    width, height = (max(1, round(scale * side)) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    x = np.asarray(image)  # (h, w) or (h, w, 3)
    if x.ndim == 2:
        x = np.broadcast_to(x[..., None], (*x.shape, 3))
    down, across = SIDE - height, SIDE - width
    if down or across:
        around = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
        x = np.pad(x, around, mode="edge")
    return np.ascontiguousarray(x.transpose(2, 0, 1))


def _flat(image: Image.Image) -> Image.Image:
    """Mode L or RGB of any mode, the right way up."""
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if not image.has_transparency_data:
        return image.convert("L" if image.mode == "1" else "RGB")
    image = image if image.mode == "RGBA" else image.convert("RGBA")
    if max(image.size) >= 2 * _LARGE:
        image = image.reduce(max(image.size) // _LARGE)
    x = np.asarray(image, np.float32)
    colour, alpha = x[..., :3], x[..., 3:] / 255
    mean = (colour * alpha).sum() / max(1.0, 3 * alpha.sum())
    ground = 0.0 if mean > 127.5 else 255.0
    return Image.fromarray((ground + alpha * (colour - ground)).round().astype(np.uint8))


def _eight_bits(x: np.ndarray) -> np.ndarray:
    """Grey values (H, W) of more than 8 bits -> uint8."""
    low, high = float(x.min()), float(x.max())
    if not np.isfinite(high - low):
        raise ValueError("not every value is a number")
    if low >= 0 and 65535 / 4 < high <= 65535:
        low, high = 0, 65535
    out = np.empty(x.shape, np.uint8)
    for rows, part in zip(out, x, strict=True):  # one by one: floats need eight times the room
        rows[:] = ((part.astype(np.float64) - low) / max(high - low, 1e-9) * 255).round()
    return out


def _read(path: Path) -> np.ndarray | str:
    """The picture of a file, or in a word or two what is wrong with it."""
    if not path.is_file():  # a pipe would wait for ever
        return "a folder" if path.is_dir() else "no file" if path.exists() else "missing"
    try:
        with Image.open(path) as image:
            if math.prod(image.size) > _BIG:
                return _ONE_BY_ONE.submit(as_digit, image).result()
            return as_digit(image)
    except Exception as error:  # decoders meet damaged bytes with errors of every kind
        return next((what for kind, what in _WRONG.items() if isinstance(error, kind)), "damaged")


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)
