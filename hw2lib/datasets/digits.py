"""The digit domains MNIST-M, SVHN, USPS, UCI and MNIST, all as 28x28 RGB.

    domain = load("mnistm")              # course files, else public files, else the embedded set
    images = to_float(domain.train.images[:64])    # (64, 3, 28, 28) in [-1, 1]

MNIST-M is built by its recipe (see `mnistm`) from MNIST and the photographs of BSDS500: train
digits lie over its training photographs, test digits over its test photographs: none is in both.

Three kinds of data give the same types: the course's folder (`course`), the data sets' own files,
and stand-ins made without any file (`embedded`).
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hw2lib.datasets import course, embedded, files
from hw2lib.datasets.mnistm import SIDE, blend
from hw2lib.errors import UserError, check_known
from hw2lib.io.cache import kept
from hw2lib.io.parameters import Data
from hw2lib.io.paths import check_data_dir, data_dir, sha256

DOMAINS = ("mnistm", "svhn", "usps", "mnist", "uci")
KINDS = get_args(Data)
UCI_TRAIN = 1029  # of scikit-learn's 1,797 digits; here the ninth of 14 filled forms begins
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
        stand_in = "embedded stand-in, not the real data set"
        what = stand_in if self.data == "embedded" else f"{self.data} files"
        return f"{self.name}: {len(self.train):,} train and {len(self.test):,} test images ({what})"


def to_float(images: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] (clipped to it) -> uint8 0..255, the inverse of `to_float`."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def load(name: str, data: str = "auto") -> DigitDomain:
    """One of DOMAINS. `data` "auto" takes the first of course, public, embedded that is there.

    UCI's digits ship with scikit-learn and are the same real ones whatever `data` is.
    Raises UserError for an unknown name, named data that is missing, or a damaged file.
    """
    check_known("digit domain", name, DOMAINS)
    check_known("data", data, KINDS)
    if data == "auto":
        check_data_dir()
        data = available(name)[0]
    if name == "uci":
        data = "public"
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
            course.digit_files(name)
        elif data == "public":
            _public_files(name)
    except UserError as error:
        return str(error)
    return None


def _check(domain: DigitDomain, part: str, digits: DigitSet) -> None:
    """A file that reads well may still hold the wrong labels, or not every digit."""
    where = f"{domain.name} ({domain.data}, {part})"
    if len(digits) and not 0 <= int(digits.labels.min()) <= int(digits.labels.max()) <= 9:
        raise UserError(f"{where}: labels outside 0..9; the digits 0 to 9 would be right")
    missing = [digit for digit, n in enumerate(digits.counts()) if n == 0]
    if missing:
        raise UserError(f"{where}: no image of digit {missing[0]}; every digit must be there")


Loaded = tuple[DigitSet, DigitSet, dict[str, str]]


def _load_embedded(name: str) -> Loaded:
    train, test = embedded.digits(name)
    digest = hashlib.sha256(train[0].tobytes() + test[0].tobytes()).hexdigest()
    return _digit_set(*train), _digit_set(*test), {f"embedded/{name}": digest}


def _load_course(name: str) -> Loaded:
    *tables, folder = course.digit_files(name)
    parts = [course.read_labels(table) for table in tables]
    found = files.digests(tables)
    stamps = [course.stamp(folder, names) for names, _ in parts]

    def build() -> Loaded:
        sets = []
        for table, (names, labels) in zip(tables, parts, strict=True):
            images, digest = course.read_images(folder, names, f"{name} {table.stem}")
            found[f"{files.label(folder)} of {table.name}"] = digest
            sets.append(_fitted(images, labels))
        return *sets, found

    return _cached(f"{name}-course", {**found, "stamps": stamps}, build)


def _load_public(name: str) -> Loaded:
    """From the data sets' own files below `data_dir()`; UCI's come with scikit-learn."""
    if name == "uci":
        images, labels = embedded.scans()
        grey = (255 * images).round().astype(np.uint8)  # (1797, 8, 8)
        digest = hashlib.sha256(grey.tobytes() + labels.tobytes()).hexdigest()
        parts = (slice(UCI_TRAIN), slice(UCI_TRAIN, None))
        return *(_fitted(grey[p], labels[p]) for p in parts), {"scikit-learn/digits": digest}
    paths, photos = _public_files(name)
    found = files.digests(paths) | {part: sha256(*names) for part, names in photos.items()}
    if name == "mnist":  # the files are as fast as a cache
        return *(_fitted(*arrays) for arrays in _mnist(paths)), found

    def build() -> Loaded:
        if name == "mnistm":
            return *_mnistm(paths, *photos.values()), found
        arrays = _svhn(paths) if name == "svhn" else [files.read_usps(file) for file in paths]
        return *(_fitted(*pair) for pair in arrays), found

    return _cached(name, found, build)


def _public_files(name: str) -> tuple[list[Path], dict[str, list[Path]]]:
    """The files of a domain, the test set's in the second half, and MNIST-M's photographs.

    Raises UserError if one is missing.
    """
    base = data_dir()
    if name == "uci":
        return [], {}
    if name == "usps":
        return [files.existing(base / "USPS" / n, "USPS") for n in ("usps.bz2", "usps.t.bz2")], {}
    if name == "svhn":
        mat = [base / "SVHN" / n for n in ("train_32x32.mat", "test_32x32.mat")]
        npz = files.users(base / "SVHN", "*.npz")
        if npz and not all(file.is_file() for file in mat):
            return npz[:1], {}
        return [files.existing(file, "SVHN, or one .npz with x and y") for file in mat], {}
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    paths = [_mnist_file(base / "MNIST", f"{n}-ubyte") for n in names]
    return paths, {part: files.photo_files(base / part) for part in PHOTOS * (name == "mnistm")}


def _mnist_file(folder: Path, name: str) -> Path:
    """In raw/, as torchvision has it, or not; with a dot before idx, as some mirrors have it."""
    raw = folder / "raw" / name
    for path in (raw, folder / name):
        for other in (path, path.with_name(name.replace("-idx", ".idx"))):
            with suppress(UserError):
                return files.existing(other, "MNIST")
    return files.existing(raw, "MNIST")


Arrays = tuple[np.ndarray, np.ndarray]  # images as they lie in a file, and their labels


def _mnist(paths: list[Path]) -> list[Arrays]:
    """[(uint8 (N, 28, 28), uint8 (N,)) of train, the same of test]."""
    arrays = [files.read_idx(file) for file in paths]
    for file, images, labels in zip(paths[::2], arrays[::2], arrays[1::2], strict=True):
        if images.shape != (*labels.shape, SIDE, SIDE):
            raise UserError(
                f"{file} holds images {images.shape} for labels {labels.shape}; "
                f"(N, {SIDE}, {SIDE}) for (N,) would be right"
            )
    return [(arrays[0], arrays[1]), (arrays[2], arrays[3])]


def _mnistm(paths: list[Path], *photos: list[Path]) -> list[DigitSet]:
    sets = []
    for seed, ((glyphs, labels), names) in enumerate(zip(_mnist(paths), photos, strict=True)):
        names = tqdm(names, "reading photographs", delay=2)
        pictures = [files.read_photo(file, SIDE) for file in names]
        images, masks = blend(glyphs, pictures, seed)
        sets.append(_digit_set(images, labels, masks))
    return sets


def _svhn(paths: list[Path]) -> list[Arrays]:
    arrays = [files.read_svhn(file) for file in paths]
    if len(arrays) == 2:
        return arrays
    ((x, y),) = arrays
    if len(x) < SVHN_TRAIN + SVHN_TEST:
        raise UserError(
            f"{paths[0]} holds {len(x)} crops; at least {SVHN_TRAIN + SVHN_TEST} are needed"
        )
    return [(x[:SVHN_TRAIN], y[:SVHN_TRAIN]), (x[-SVHN_TEST:], y[-SVHN_TEST:])]


def _fitted(images: np.ndarray, labels: np.ndarray) -> DigitSet:
    """uint8 (N, H, W) grey or (N, H, W, 3) -> 28x28 RGB, bilinear with antialias."""
    from torchvision.transforms.functional import resize  # here, as it takes seconds to import

    if images.ndim == 3:
        images = np.broadcast_to(images[..., None], (*images.shape, 3))
    parts = []
    for i in range(0, len(images), 4096):  # in parts: floats need four times the room
        part = torch.from_numpy(np.array(images[i : i + 4096])).permute(0, 3, 1, 2)
        parts.append(resize(part, [SIDE, SIDE]).contiguous())
    return _digit_set(torch.cat(parts).numpy(), labels)


def _digit_set(images: np.ndarray, labels: np.ndarray, masks: np.ndarray | None = None) -> DigitSet:
    return DigitSet(
        torch.from_numpy(np.array(images, order="C")),  # whose own: what is kept stays as it is
        torch.from_numpy(np.asarray(labels).astype(np.int64)),
        None if masks is None else torch.from_numpy(np.array(masks)),
    )


def _cached(name: str, inputs: dict, build: Callable[[], Loaded]) -> Loaded:
    """`build()`, kept; `inputs` are all that it depends on."""

    def make() -> dict:
        *sets, digests = build()
        return {"sha256": json.dumps(digests)} | {
            f"{part} {field}": value.numpy()
            for part, digits in zip(("train", "test"), sets, strict=True)
            for field, value in vars(digits).items() if value is not None
        }  # fmt: skip

    found, _ = kept(name, [_RECIPE, inputs], make)
    digests = json.loads(str(found.pop("sha256")))
    train, test = (
        DigitSet(**{k.split()[1]: torch.from_numpy(v) for k, v in found.items() if part in k})
        for part in ("train", "test")
    )
    return train, test, digests
