"""`hw2 classify`: a folder of images of any size and mode -> a csv with a digit for each.

What a picture goes through before the network's own standardisation (`as_digit`):

- orientation as its EXIF says; of several frames the first;
- grey of more than 8 bits: 65535 is white where the values are of 16 bits (the largest is above
  255 and not above 65535), else the picture's own minimum is black and its maximum white;
- transparency is laid over black or white, whichever is further from the picture's own mean: ink
  stays visible, whatever colour it has (plain conversion would show hidden, often black pixels);
- the longer side becomes 28 pixels by the resampling that the training images had (bilinear with
  antialias, as SVHN's 32 and USPS's 16 pixels in `digits`); the shape of the digit is kept;
- a shorter side is filled up by repeating its edge: a border would look like a stroke.

Files are decoded by a few threads, 512 at a time, so that memory does not grow with the folder.
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from hw2lib.datasets import course
from hw2lib.datasets.files import read_csv
from hw2lib.datasets.pairs import TARGETS
from hw2lib.errors import UserError
from hw2lib.io.paths import WEIGHTS, atomic_write
from hw2lib.models.dann_net import classify_tensor, load

SIDE = 28
LISTS = ("train", "val", "test")  # the course's csv files
_BATCH, _THREADS, _NAMED = 512, 4, 5


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
    Errors: UserError for an unknown target, weights for another one, an empty folder, and for
    files that are no image, damaged or missing: it names the first five and counts the rest.
    """
    if target not in TARGETS:
        raise UserError(f"target {target!r} is unknown; choose one of {', '.join(TARGETS)}")
    folder = Path(image_dir).expanduser()
    names = files_in(folder) if names is None else sorted(names)
    network, header = load(weights or WEIGHTS / f"dann-{target}.safetensors")
    if header.get("target", target) != target:
        raise UserError(f"weights file {weights} is for {header['target']}, not {target}")
    labels: list[int] = []
    faults: list[str] = []  # once there is one, the other files are only checked
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(names), unit="image", delay=2) as bar,
    ):
        warnings.simplefilter("ignore")  # decoders' own, which name no file
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            found = list(pool.map(lambda name: _read(folder / name), some))
            faults += [
                f"{_printable(name)} ({what})"
                for name, what in zip(some, found, strict=True)
                if isinstance(what, str)
            ]
            if not faults:
                labels += classify_tensor(network, torch.from_numpy(np.stack(found))).tolist()
            bar.update(len(some))
    if faults:
        raise UserError(_complaint(folder, faults, len(names)))
    # Names are written with the bytes that they have on disk, UTF-8 or not.
    with (
        atomic_write(out_csv) as part,
        open(part, "w", newline="", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["image_name", "label"])
        writer.writerows(zip(names, labels, strict=True))
    return Path(out_csv)


def files_in(folder: Path) -> list[str]:
    """Names in a folder, sorted; sub-folders too, which no image is: nothing is left out silently.

    Hidden names (.DS_Store, ._1.png: made by systems, not by people) are not the user's images and
    do not count. Errors: UserError for a folder that is missing or holds nothing else.
    """
    if not folder.is_dir():
        raise UserError(f"image folder {folder} does not exist; name a folder of images")
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not names:
        raise UserError(f"image folder {folder} is empty; it should hold images of one digit each")
    return names


def listed(path: Path) -> list[str]:
    """Names of a csv whose first column is `image_name`, other columns unread.

    Errors: UserError for a missing file, another header, no name, and a name that comes twice.
    """
    names = [row[0] for row in read_csv(path, "image_name").values()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} names {twice} twice; each image once is right")
    return names


def of_course(target: str, which: str = "val") -> tuple[Path, list[str]]:
    """The course's image folder of a domain, and the names in its train, val or test.csv.

    Errors: UserError for a domain or list that the course does not have, and for missing files.
    """
    if which not in LISTS:
        raise UserError(f"the course has no list {which!r}; choose one of {', '.join(LISTS)}")
    *_, folder = course.digit_files(target)
    return folder, listed(folder.parent / f"{which}.csv")


def as_digit(image: Image.Image) -> np.ndarray:
    """A picture of any size and mode -> uint8 (3, 28, 28), as the module's docstring tells."""
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
    image = ImageOps.exif_transpose(image)
    if image.mode in ("L", "RGB") and not image.has_transparency_data:
        return image
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(np.asarray(image, np.float64)))
    if not image.has_transparency_data:
        return image.convert("L" if image.mode == "1" else "RGB")
    x = np.asarray(image.convert("RGBA"), np.float32)
    colour, alpha = x[..., :3], x[..., 3:] / 255
    mean = (colour * alpha).sum() / max(1.0, 3 * alpha.sum())
    ground = 0.0 if mean > 127.5 else 255.0
    return Image.fromarray((ground + alpha * (colour - ground)).round().astype(np.uint8))


def _eight_bits(x: np.ndarray) -> np.ndarray:
    """Grey values (H, W) of more than 8 bits -> uint8."""
    low, high = x.min(), x.max()
    if not np.isfinite(high - low):
        raise ValueError("not every value is a number")
    if low >= 0 and 255 < high <= 65535:
        low, high = 0, 65535
    return ((x - low) / max(high - low, 1e-9) * 255).round().astype(np.uint8)


def _read(path: Path) -> np.ndarray | str:
    """The picture of a file, or in a word or two what is wrong with it."""
    if not path.is_file():  # a pipe would wait for ever
        return "a folder" if path.is_dir() else "no file" if path.exists() else "missing"
    try:
        with Image.open(path) as image:
            image.load()
            return as_digit(image)
    except UnidentifiedImageError:
        return "no image"
    except Image.DecompressionBombError:
        return "far too big"
    except PermissionError:
        return "not readable"
    except Exception:  # decoders meet damaged bytes with errors of every kind
        return "damaged"


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _complaint(folder: Path, faults: list[str], n: int) -> str:
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    return (
        f"{folder}: {len(faults)} of {n} files cannot be used: {', '.join(faults[:_NAMED])}{more}; "
        "a folder of whole images alone is right, nothing was written"
    )
