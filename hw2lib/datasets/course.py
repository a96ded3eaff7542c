"""The course's folder of data: `hw2_data` below the data folder, or the data folder itself.

    hw2_data/face/{noise/NN.pt, GT/NN.png, UNet.pt}
    hw2_data/digits/{usps,svhn,mnistm}/{data/*.png, train.csv, val.csv, test.csv}

A csv has the header `image_name,label`; `val.csv` is the evaluation set, `test.csv` is not read.
"""

from __future__ import annotations

import csv
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hw2lib.datasets.files import read_image
from hw2lib.errors import UserError
from hw2lib.io.paths import data_dir

SIDE = 28
DOMAINS = ("mnistm", "svhn", "usps")


def root() -> Path | None:
    """The course's folder, None if there is none."""
    for folder in (data_dir() / "hw2_data", data_dir()):
        if (folder / "digits").is_dir() or (folder / "face").is_dir():
            return folder
    return None


def face_dir() -> Path | None:
    """The folder with noise/, GT/ and UNet.pt, None if there is none."""
    folder = root()
    return folder / "face" if folder and (folder / "face").is_dir() else None


def face_part(name: str) -> Path:
    """`noise`, `GT` or `UNet.pt` of the course's face folder; UserError if it is missing."""
    path = (face_dir() or data_dir() / "hw2_data" / "face") / name
    if not path.exists():
        raise UserError(
            f"{path} is missing (the course's {name}); put hw2_data into the folder that HW2_DATA "
            "names"
        )
    return path


def unet_beside(noise: Path) -> Path | None:
    """The UNet.pt that belongs to a noise folder in the course's layout, None if there is none."""
    path = noise.resolve().parent / "UNet.pt"
    return path if noise.resolve().name == "noise" and path.is_file() else None


def digit_files(name: str) -> tuple[Path, Path, Path]:
    """train.csv, val.csv and the image folder of a domain; UserError if one is missing."""
    folder = (root() or data_dir() / "hw2_data") / "digits" / name
    found = (folder / "train.csv", folder / "val.csv", folder / "data")
    for path in found:
        if not path.exists():
            raise UserError(
                f"{path} is missing (the course's {name}); put hw2_data into the folder that "
                "HW2_DATA names"
            )
    return found


def read_csv(path: Path) -> tuple[list[str], np.ndarray]:
    """csv -> image names and labels int64 (N,); UserError names the line that is wrong."""
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a csv file ({error})") from None
    head = [cell.strip() for cell in rows[0]] if rows else []
    if head[:2] != ["image_name", "label"]:
        raise UserError(
            f"{path} begins with {','.join(head)[:60]!r}; the header image_name,label is right"
        )
    names, labels = [], []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) < 2 or row[1].strip() not in tuple("0123456789"):
            raise UserError(
                f"{path} line {number} is {','.join(row)[:60]!r}; an image name and a label 0 to 9 "
                "would be right"
            )
        names.append(row[0].strip())
        labels.append(int(row[1]))
    if not names:
        raise UserError(f"{path} names no image; one line for each image would be right")
    return names, np.array(labels, np.int64)


def read_images(folder: Path, names: list[str], label: str) -> tuple[np.ndarray, str]:
    """PNG files -> uint8 (N, 28, 28, 3), grey ones repeated, and a digest of their pixels."""

    def read(name: str) -> np.ndarray:
        image = read_image(folder / name)
        if image.shape[:2] != (SIDE, SIDE):
            raise UserError(
                f"{folder / name} is {image.shape[1]}x{image.shape[0]} pixels; "
                f"{SIDE}x{SIDE} would be right"
            )
        return image

    images = np.empty((len(names), SIDE, SIDE, 3), np.uint8)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(read, names)
        for i, image in enumerate(tqdm(found, label, len(names), disable=len(names) < 2000)):
            images[i] = image
    return images, hashlib.sha256(images.tobytes()).hexdigest()


def stamp(folder: Path, names: list[str]) -> str:
    """Names, sizes and times of the files: tells fast, without reading, that nothing changed."""
    digest = hashlib.sha256()
    for name in names:
        try:
            stat = (folder / name).stat()
        except OSError:
            raise UserError(f"{folder / name} is missing; its csv file names it") from None
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
