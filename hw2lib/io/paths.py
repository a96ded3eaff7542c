"""Where things lie. The only module that knows folders; everything else asks here."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2lib.errors import UserError

ROOT = Path(__file__).resolve().parents[2]  # of the clone; site-packages where installed
CLONE = (ROOT / "pyproject.toml").is_file()
_SHIPPED = ROOT / "data" if CLONE else ROOT / "hw2lib" / "data"
WEIGHTS = _SHIPPED / "weights"  # shipped weights, safetensors
NOISE = _SHIPPED / "noise"  # shipped noise files 00.pt ..
RESULTS = _SHIPPED / "results"  # recorded results, JSON; in a clone alone


def _home() -> Path:
    """The clone, or where one stands if the package is installed without it."""
    return ROOT if CLONE else Path.cwd()


def data_dir() -> Path:
    """Folder with the data sets: `HW2_DATA`, else `data/`."""
    return Path(os.environ.get("HW2_DATA") or _home() / "data").expanduser().resolve()


def build_dir() -> Path:
    """Folder for everything that is made again at will: `HW2_BUILD`, else `build/`."""
    return Path(os.environ.get("HW2_BUILD") or _home() / "build").expanduser().resolve()


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
