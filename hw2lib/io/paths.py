"""Where things lie. The only module that knows folders; everything else asks here."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2lib.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "data" / "weights"  # shipped weights, safetensors
RESULTS = ROOT / "data" / "results"  # recorded results, JSON
NOISE = ROOT / "data" / "noise"  # shipped noise files 00.pt ..


def data_dir() -> Path:
    """Folder with the data sets: `HW2_DATA`, else `data/`."""
    return Path(os.environ.get("HW2_DATA") or ROOT / "data").expanduser().resolve()


def build_dir() -> Path:
    """Folder for everything that is made again at will: `HW2_BUILD`, else `build/`."""
    return Path(os.environ.get("HW2_BUILD") or ROOT / "build").expanduser().resolve()


def runs_dir() -> Path:
    """Folder with one sub-folder for each training run."""
    return build_dir() / "runs"


def writable_dir(path: str | Path) -> Path:
    """Make the folder `path` if need be and return it; UserError if it cannot be written."""
    path = Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"output folder {path} cannot be written ({reason}); name another folder"
        ) from None
    return path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` only if the block succeeds."""
    path = Path(path)
    writable_dir(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(*files: Path) -> str:
    """Hex digest over the contents of `files` in the given order."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
