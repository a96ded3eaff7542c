"""Face images for training the face model, and the noise files its samples start from.

    faces = load()                       # DIR/faces/celeba64.tar, else drawn faces
    x_T = load_noise(NOISE / "00.pt")    # (1, 3, 64, 64)

CelebA (Liu et al., ICCV 2015) is for non-commercial research only: models are trained on it, its
images are never shipped or shown.
"""

import hashlib
import pickle
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hw2lib.datasets import embedded
from hw2lib.datasets.files import existing, folder_of, label, of_user, read_image, reading, users
from hw2lib.errors import UserError, check_known
from hw2lib.io.cache import kept
from hw2lib.io.paths import check_data_dir, data_dir, place, sha256

SIDE = 64
KINDS = ("auto", "public", "embedded")
LARGEST = 4096  # pixels of a noise's side
HELD_OUT = 1000  # images that no model is trained on: what samples are compared with


@dataclass(frozen=True)
class FaceSet:
    """Face images with their provenance."""

    images: Tensor  # uint8 (N, 3, 64, 64)
    data: str  # "public" or "embedded"
    sha256: dict[str, str] = field(default_factory=dict)  # input file -> hex digest

    def __len__(self) -> int:
        return len(self.images)

    def describe(self) -> str:
        """One line that says what the run uses."""
        embedded = "drawn faces, an embedded stand-in for real ones"
        what = "CelebA, public file" if self.data == "public" else embedded
        return f"faces: {len(self):,} images {SIDE}x{SIDE} ({what})"


def tar_path() -> Path:
    """Where the tar of 64x64 face images is looked for."""
    return data_dir() / "faces" / "celeba64.tar"


def load(data: str = "auto") -> FaceSet:
    """The face images; "auto" takes the tar when it is there, else the drawn faces.

    Raises UserError for unknown data, named data that are missing, or a damaged tar.
    """
    check_known("data", data, KINDS)
    if data == "auto":
        check_data_dir()
    if data == "embedded" or (data == "auto" and not tar_path().is_file()):
        images = embedded.faces(side=SIDE)
        digest = hashlib.sha256(images.tobytes()).hexdigest()
        return FaceSet(torch.from_numpy(images), "embedded", {"embedded/faces": digest})
    path = existing(tar_path(), "face images")
    digest = sha256(path)
    found, _ = kept("faces", digest, lambda: {"images": _from_tar(path)})
    return FaceSet(torch.from_numpy(found["images"]), "public", {label(path): digest})


def split(data: FaceSet) -> tuple[Tensor, Tensor]:
    """(images to train on, images held out), uint8: the last 1,000 in the order of names are held
    out, or the last fifth of a smaller set."""
    n = len(data) - min(HELD_OUT, len(data) // 5)
    return data.images[:n], data.images[n:]


def _from_tar(path: Path) -> np.ndarray:
    """All images of the tar, uint8 (N, 3, 64, 64), in the order of their names."""
    with reading(path, f"a whole tar of {SIDE}x{SIDE} JPEG files"), tarfile.open(path) as tar:
        members = [m for m in tar if m.isfile() and of_user(m.name) and
                   Path(m.name).suffix.lower() in (".jpg", ".jpeg", ".png")]  # fmt: skip
        members.sort(key=lambda member: member.name)
        bar = tqdm(members, "opening the tar", delay=2)
        files = [(member.name, tar.extractfile(member).read()) for member in bar]
    if not files:
        raise UserError(f"{path} holds no images; {SIDE}x{SIDE} JPEG files would be right")
    with ThreadPoolExecutor(4) as pool:  # Pillow decodes without the interpreter's lock
        decoded = pool.map(lambda file: read_image(f"{path}: {file[0]}", file[1], SIDE), files)
        images = np.stack(list(tqdm(decoded, "reading faces", len(files), delay=2)))
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def noise_files(folder: str | Path) -> list[Path]:
    """The noise files NN.pt of a folder, sorted by name; UserError when there are none."""
    files = users(folder_of(folder, "one with the noises 00.pt .."), "*.pt")
    if not files:
        raise UserError(f"noise folder {folder} holds no .pt file; 00.pt, 01.pt .. are right")
    return files


def load_noise(path: str | Path) -> Tensor:
    """A noise file -> float32 (1, 3, H, W), for which the sampler is a fixed function.

    Only tensors are read (`weights_only=True`): a file that holds code is refused.
    """
    path = place(path)
    right = "a float tensor (1, 3, H, W) saved with torch.save would be right"
    if not path.is_file():
        raise UserError(f"noise file {path} is missing; {right}")
    try:
        with warnings.catch_warnings(action="ignore"):  # of a sparse tensor, refused below
            noise = torch.load(path, map_location="cpu", weights_only=True)
        if fault := _fault(noise):
            raise UserError(f"noise file {path} holds {fault}; {right}")
        noise = noise.float().contiguous()
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(f"noise file {path} holds other things than a tensor; {right}") from None
    except Exception:  # torch.load meets damaged bytes with errors of every kind
        raise UserError(f"noise file {path} is damaged or no PyTorch file; {right}") from None
    if not noise.abs().max() < 100:  # as of a standard normal distribution; NaN is not below
        raise UserError(f"noise file {path} holds values that are not finite or above 99; {right}")
    return noise


def load_noises(folder: str | Path, most: int) -> tuple[list[Path], Tensor]:
    """The first noise files of a folder, and their noises, float32 (N, 3, H, W), 2 <= N <= most.

    UserError for a folder of a single noise, and for noises of several sizes.
    """
    files = noise_files(folder)[:most]
    noises = [load_noise(file) for file in files]
    if len(files) < 2:
        raise UserError(f"noise folder {folder} holds {files[0].name} alone; two noises are needed")
    for file, noise in zip(files, noises, strict=True):
        if noise.shape != noises[0].shape:
            sizes = f"{tuple(noise.shape)}, {files[0].name} is {tuple(noises[0].shape)}"
            raise UserError(f"noise file {file} is {sizes}; noises of one size are right")
    return files, torch.cat(noises)


def _fault(noise: object) -> str | None:
    if not isinstance(noise, Tensor):
        return f"a {type(noise).__name__}"
    if noise.layout is not torch.strided or noise.is_meta:
        return f"a {'meta' if noise.is_meta else 'sparse'} tensor"
    shape = tuple(noise.shape)
    if noise.ndim != 4 or shape[:2] != (1, 3) or 0 in shape or not noise.is_floating_point():
        return f"{noise.dtype} of shape {shape}"
    return f"{shape[2]}x{shape[3]} pixels" if max(shape) > LARGEST else None


def squared_errors(folder: str | Path, references: str | Path) -> dict[str, float]:
    """Mean squared error, on the scale 0 to 255, of each reference's picture NN.png in `folder`.

    Raises UserError for a missing folder, no reference, a missing or damaged picture, other sizes.
    """
    folder, references = (folder_of(path, "one with 00.png ..") for path in (folder, references))
    names = [file.name for file in users(references, "*.png")]
    if not names:
        raise UserError(f"folder {references} holds no .png file; 00.png, 01.png .. are right")
    errors = {}
    for name in names:
        if not (folder / name).exists():
            raise UserError(f"{folder / name} is missing; {references / name} is its reference")
        ours, theirs = (read_image(path / name) for path in (folder, references))
        if ours.shape != theirs.shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (ours, theirs)]
            raise UserError(f"{folder / name} is {sizes[0]} pixels; its reference is {sizes[1]}")
        errors[name] = float(((ours.astype(np.float64) - theirs) ** 2).mean())
    return errors
