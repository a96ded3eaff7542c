"""The digit domains MNIST-M, SVHN, USPS and MNIST, all as 28x28 RGB.

    domain = load("mnistm")              # course files, else public files, else the embedded set
    images = to_float(domain.train.images[:64])    # (64, 3, 28, 28) in [-1, 1]

MNIST-M is built here by its published recipe (see `mnistm`) from MNIST and the photographs of
BSDS500: train digits lie over the 200 training photographs, test digits over the 200 test
photographs, so no photograph is in both.

Three sources give the same types: the course's folder (`course`), the data sets' own files, and
stand-ins made without any file (`embedded`).
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from hw2lib.datasets import course, embedded
from hw2lib.datasets.files import (
    existing,
    label,
    photo_files,
    read_idx,
    read_photo,
    read_svhn_mat,
    read_svhn_npz,
    read_usps,
)
from hw2lib.datasets.mnistm import blend
from hw2lib.errors import UserError
from hw2lib.io.paths import atomic_write, build_dir, data_dir, sha256

DOMAINS = ("mnistm", "svhn", "usps", "mnist")
KINDS = ("auto", "course", "public", "embedded")
SIDE = 28
SVHN_TRAIN, SVHN_TEST = 6400, 1600  # the split of an npz: its first crops train, its last test
PHOTOS = ("BSDS500/train", "BSDS500/test")  # backgrounds of MNIST-M's train and test digits
_RECIPE = "2"  # part of every cache key: raise it when a build below gives other bytes


@dataclass(frozen=True)
class DigitSet:
    """Images with labels. `masks` marks the digit's ink and exists only where it is known."""

    images: Tensor  # uint8 (N, 3, 28, 28)
    labels: Tensor  # int64 (N,), 0..9
    masks: Tensor | None = None  # uint8 (N, 1, 28, 28), 0 or 1

    def __len__(self) -> int:
        return len(self.labels)

    def counts(self) -> list[int]:
        """Images of each digit 0..9."""
        return torch.bincount(self.labels, minlength=10).tolist()


@dataclass(frozen=True)
class DigitDomain:
    """A domain's two sets, and the provenance that goes into result files."""

    name: str
    data: str  # "course", "public" or "embedded"
    train: DigitSet
    test: DigitSet
    sha256: dict[str, str] = field(default_factory=dict)  # input file -> hex digest

    def describe(self) -> str:
        """One line that says what the run uses."""
        what = {
            "course": "course files",
            "public": "public files",
            "embedded": "embedded stand-in, not the real data set",
        }[self.data]
        return f"{self.name}: {len(self.train):,} train and {len(self.test):,} test images ({what})"


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] (clipped to it) -> uint8 0..255, the inverse of `to_float`."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def load(name: str, data: str = "auto") -> DigitDomain:
    """One of DOMAINS. `data` "auto" takes the first of course, public, embedded that is there.

    Raises UserError for an unknown name, named data that is missing, or a damaged file.
    """
    if name not in DOMAINS:
        raise UserError(f"digit domain {name!r} is unknown; one of {', '.join(DOMAINS)} is right")
    if data not in KINDS:
        raise UserError(f"data {data!r} is unknown; one of {', '.join(KINDS)} is right")
    if data == "auto":
        data = available(name)[0]
    loader = {"course": _load_course, "public": _load_public, "embedded": _load_embedded}[data]
    domain = DigitDomain(name, data, *loader(name))
    for part, digits in (("train", domain.train), ("test", domain.test)):
        _check(domain, part, digits)
    return domain


def available(name: str) -> list[str]:
    """The sources at hand for a domain, best first; never empty."""
    return [data for data in KINDS[1:] if missing(name, data) is None]


def missing(name: str, data: str) -> str | None:
    """What keeps `data` from giving the domain, in one line; None if its files are there."""
    try:
        if data == "course":
            _course_files(name)
        elif data == "public":
            _public_files(name)
    except UserError as error:
        return str(error)
    return None


def _check(domain: DigitDomain, part: str, digits: DigitSet) -> None:
    """A file that reads well may still hold the wrong thing: shapes, labels, every digit there."""
    where = f"{domain.name} ({domain.data}, {part})"
    if digits.images.shape != (len(digits), 3, SIDE, SIDE):
        raise UserError(
            f"{where}: {tuple(digits.images.shape)} images for {len(digits)} labels; "
            f"({len(digits)}, 3, {SIDE}, {SIDE}) would be right"
        )
    if len(digits) and not 0 <= int(digits.labels.min()) <= int(digits.labels.max()) <= 9:
        raise UserError(f"{where}: labels outside 0..9; the digits 0 to 9 would be right")
    missing = [digit for digit, n in enumerate(digits.counts()) if n == 0]
    if missing:
        raise UserError(f"{where}: no image of digit {missing[0]}; every digit must be there")


# --- the three sources: each gives (train, test, sha256 of the inputs) ----------------------


Loaded = tuple[DigitSet, DigitSet, dict[str, str]]


def _load_embedded(name: str) -> Loaded:
    train, test = embedded.digits(name)
    digest = hashlib.sha256(train[0].tobytes() + test[0].tobytes()).hexdigest()
    return _digit_set(*train), _digit_set(*test), {f"embedded/{name}": digest}


def _course_files(name: str) -> tuple[Path, Path, Path]:
    if name not in course.DOMAINS:
        raise UserError(
            f"the course files hold no {name}; one of {', '.join(course.DOMAINS)} would be right"
        )
    return course.digit_files(name)


def _load_course(name: str) -> Loaded:
    *tables, folder = _course_files(name)
    parts = [course.read_csv(table) for table in tables]
    digests = _digests(tables)
    stamps = [course.stamp(folder, names) for names, _ in parts]

    def build() -> Loaded:
        sets = []
        for table, (names, labels) in zip(tables, parts, strict=True):
            images, digest = course.read_images(folder, names, f"{name} {table.stem}")
            digests[f"{label(folder)} of {table.name}"] = digest
            sets.append(_rgb_set(images, labels))
        return sets[0], sets[1], digests

    return _cached(f"{name}-course", {**digests, "stamps": stamps}, build)


def _public_files(name: str) -> list[Path]:
    """The files of a domain, the test set's in the second half; UserError if one is missing."""
    base = data_dir()
    if name in ("mnist", "mnistm"):
        names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        files = [existing(base / "MNIST" / "raw" / f"{n}-ubyte", "MNIST") for n in names]
        if name == "mnistm":
            for part in PHOTOS:
                photo_files(base / part)
        return files
    if name == "usps":
        return [existing(base / "USPS" / n, "USPS") for n in ("usps.bz2", "usps.t.bz2")]
    mat = [base / "SVHN" / n for n in ("train_32x32.mat", "test_32x32.mat")]
    npz = sorted((base / "SVHN").glob("*.npz"))
    if npz and not all(file.is_file() for file in mat):
        return npz[:1]
    return [existing(file, "SVHN, or one .npz with x and y") for file in mat]


def _load_public(name: str) -> Loaded:
    """From the data sets' own files below `data_dir()`."""
    files = _public_files(name)
    digests = _digests(files)
    if name == "mnist":  # the files are as fast as a cache
        return *(_grey_set(*pair) for pair in _mnist_arrays(files)), digests
    photos = {part: photo_files(data_dir() / part) for part in PHOTOS * (name == "mnistm")}
    digests |= {part: sha256(*names) for part, names in photos.items()}
    build = {"mnistm": _mnistm, "usps": _usps, "svhn": _svhn}[name]
    return _cached(name, digests, lambda: (*build(files, *photos.values()), digests))


def _digests(files: list[Path]) -> dict[str, str]:
    return {label(file): sha256(file) for file in files}


def _mnist_arrays(files: list[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(uint8 (N, 28, 28), uint8 (N,)) of train, the same of test]."""
    arrays = [read_idx(file) for file in files]
    pairs = [(arrays[0], arrays[1]), (arrays[2], arrays[3])]
    for file, (images, labels) in zip(files[::2], pairs, strict=True):
        if images.shape != (*labels.shape, SIDE, SIDE):
            raise UserError(
                f"{file} holds images {images.shape} for labels {labels.shape}; "
                f"(N, {SIDE}, {SIDE}) for (N,) would be right"
            )
    return pairs


def _mnistm(files: list[Path], *photos: list[Path]) -> list[DigitSet]:
    sets = []
    for seed, ((glyphs, labels), names) in enumerate(
        zip(_mnist_arrays(files), photos, strict=True)
    ):
        bar = tqdm(names, "reading photographs", delay=2)
        pictures = [read_photo(file, SIDE) for file in bar]
        images, masks = blend(glyphs, pictures, seed)
        sets.append(_digit_set(images, labels, masks))
    return sets


def _usps(files: list[Path]) -> list[DigitSet]:
    return [_grey_set(*read_usps(file)) for file in files]


def _svhn(files: list[Path]) -> list[DigitSet]:
    if len(files) == 2:
        return [_rgb_set(*read_svhn_mat(file)) for file in files]
    x, y = read_svhn_npz(files[0])
    if len(x) < SVHN_TRAIN + SVHN_TEST:
        raise UserError(
            f"{files[0]} holds {len(x)} crops; at least {SVHN_TRAIN + SVHN_TEST} are needed"
        )
    first, last = slice(SVHN_TRAIN), slice(len(x) - SVHN_TEST, None)
    return [_rgb_set(x[first], y[first]), _rgb_set(x[last], y[last])]


# --- one shape for all ----------------------------------------------------------------------


def _digit_set(images: np.ndarray, labels: np.ndarray, masks: np.ndarray | None = None) -> DigitSet:
    return DigitSet(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(np.asarray(labels).astype(np.int64)),
        None if masks is None else torch.from_numpy(masks),
    )


def _rgb_set(images: np.ndarray, labels: np.ndarray) -> DigitSet:
    """uint8 (N, H, W, 3) -> 28x28, bilinear with antialias."""
    parts = []
    for i in range(0, len(images), 4096):  # in parts: floats need four times the room
        part = torch.from_numpy(np.array(images[i : i + 4096])).permute(0, 3, 1, 2)
        if part.shape[-2:] != (SIDE, SIDE):
            size = (SIDE, SIDE)
            part = F.interpolate(part.float(), size, mode="bilinear", antialias=True)
            part = part.round().clamp(0, 255).to(torch.uint8)
        parts.append(part.contiguous())
    return DigitSet(torch.cat(parts), torch.from_numpy(np.asarray(labels).astype(np.int64)))


def _grey_set(images: np.ndarray, labels: np.ndarray) -> DigitSet:
    """uint8 (N, H, W) -> 28x28 with three equal channels."""
    grey = _rgb_set(images[..., None], labels)
    return DigitSet(grey.images.repeat(1, 3, 1, 1), grey.labels)


def _cached(name: str, inputs: dict, build: Callable[[], Loaded]) -> Loaded:
    """`build()`, kept as build/cache/NAME-KEY.npz; the key stands for all of `inputs`."""
    key = hashlib.sha256(repr((_RECIPE, sorted(inputs.items()))).encode()).hexdigest()[:16]
    path = build_dir() / "cache" / f"{name}-{key}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as file:
                digests = json.loads(str(file["sha256"]))
                return _unpack(file, "train"), _unpack(file, "test"), digests
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # a damaged cache is no one's fault: make it again
    train, test, digests = build()
    arrays = {"sha256": np.array(json.dumps(digests))}
    for part, digits in (("train", train), ("test", test)):
        arrays[f"{part}_images"] = digits.images.numpy()
        arrays[f"{part}_labels"] = digits.labels.numpy()
        if digits.masks is not None:
            arrays[f"{part}_masks"] = np.packbits(digits.masks.numpy().reshape(len(digits), -1), 1)
    with atomic_write(path) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, **arrays)
    return train, test, digests


def _unpack(file, part: str) -> DigitSet:
    masks = None
    if f"{part}_masks" in file:
        masks = np.unpackbits(file[f"{part}_masks"], 1).reshape(-1, 1, SIDE, SIDE)
    return _digit_set(file[f"{part}_images"], file[f"{part}_labels"], masks)
