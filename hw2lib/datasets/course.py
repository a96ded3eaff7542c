"""The course's folder of data: `hw2_data` below the data folder, or the data folder itself.

    hw2_data/face/{noise/NN.pt, GT/NN.png, UNet.pt}
    hw2_data/digits/{usps,svhn,mnistm}/{data/*.png, train.csv, val.csv, test.csv}

A csv has the header `image_name,label`; `val.csv` is the evaluation set, `test.csv` is not read.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hw2lib.datasets.files import existing, read_csv, read_image
from hw2lib.datasets.mnistm import SIDE
from hw2lib.errors import UserError, check_known
from hw2lib.io.paths import data_dir

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
    folder = face_dir() or data_dir() / "hw2_data" / "face"
    return existing(folder / name, f"the course's {name}")


def unet_beside(noise: Path) -> Path | None:
    """The UNet.pt that belongs to a noise folder in the course's layout, None if there is none."""
    path = noise.resolve().parent / "UNet.pt"
    return path if noise.resolve().name == "noise" and path.is_file() else None


def digit_files(name: str) -> tuple[Path, Path, Path]:
    """train.csv, val.csv and the image folder of a domain.

    UserError for a domain that the course does not have, and where one of the three is missing.
    """
    check_known("the course's domain", name, DOMAINS)
    folder = (root() or data_dir() / "hw2_data") / "digits" / name
    parts = ("train.csv", "val.csv", "data")
    return tuple(existing(folder / part, f"the course's {name}") for part in parts)


def read_labels(path: Path) -> tuple[list[str], np.ndarray]:
    """csv -> image names and labels int64 (N,); UserError names the line that is wrong."""
    rows = read_csv(path, "image_name,label")
    for number, row in rows.items():
        if len(row) < 2 or row[1] not in tuple("0123456789"):
            raise UserError(
                f"{path} line {number} is {','.join(row)[:60]!r}; an image name and a label 0 to 9 "
                "would be right"
            )
    return [row[0] for row in rows.values()], np.array([int(row[1]) for row in rows.values()])


def read_images(folder: Path, names: list[str], label: str) -> tuple[np.ndarray, str]:
    """PNG files -> uint8 (N, 28, 28, 3), grey ones repeated, and a digest of their pixels."""
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda name: read_image(folder / name, side=SIDE), names)
        images = np.stack(list(tqdm(found, label, len(names), delay=2)))
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
