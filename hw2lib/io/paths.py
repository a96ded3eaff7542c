"""Where things lie. The only module that knows folders; everything else asks here."""

import fcntl
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from hw2lib.errors import UserError

ROOT = Path(__file__).resolve().parents[2]  # of the clone; site-packages where installed
CLONE = (ROOT / "pyproject.toml").is_file()
_SHIPPED = ROOT / "data" if CLONE else ROOT / "hw2lib" / "data"
WEIGHTS = _SHIPPED / "weights"  # shipped weights, safetensors
NOISE = _SHIPPED / "noise"  # shipped noise files 00.pt ..
RESULTS = _SHIPPED / "results"  # recorded results, JSON; in a clone alone
MADE = ".hw2lib"  # stands in a build folder that was made here; `make clean` removes from no other


def place(path: str | Path) -> Path:
    """`path` with its tilde read as a home folder: what every path that a user gives goes through.

    UserError for a tilde that names no user, for a NUL, and for no text: an unset variable's.
    """
    try:
        if not str(path) or "\0" in str(path):
            raise RuntimeError("it holds a NUL" if str(path) else "it is empty")
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"path {str(path)!r} cannot be read ({error}); write it in full") from None


def _folder(variable: str, name: str) -> Path:
    """What the environment's variable names, else the folder `name` of the clone, or, where the
    package is installed without it, of the current folder."""
    path = place(os.environ.get(variable) or (ROOT if CLONE else Path.cwd()) / name)
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # the latter: a link that leads back to itself
        raise UserError(f"{variable}={path} leads nowhere; the name of a folder is right") from None


def data_dir() -> Path:
    """Folder with the data sets: `HW2_DATA`, else `data/`."""
    return _folder("HW2_DATA", "data")


def check_data_dir() -> None:
    """UserError where HW2_DATA names a folder that is not there: who set it means no stand-ins."""
    if os.environ.get("HW2_DATA") and not data_dir().is_dir():
        raise UserError(
            f"HW2_DATA={data_dir()} is no folder; name the folder of the data sets, or leave it out"
        )


def build_dir() -> Path:
    """Folder for everything that is made again at will: `HW2_BUILD`, else `build/`."""
    return _folder("HW2_BUILD", "build")


def runs_dir() -> Path:
    """Folder with one sub-folder for each training run."""
    return build_dir() / "runs"


def writable_dir(path: str | Path) -> Path:
    """Make the folder `path` if need be and return it; UserError if it cannot be written."""
    path, build = place(path), build_dir()
    try:
        new = path.is_relative_to(build) and not (build.is_dir() and any(build.iterdir()))
        path.mkdir(parents=True, exist_ok=True)
        if new:
            (build / MADE).touch()
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"output folder {path} cannot be written ({reason}); name another folder"
        ) from None
    return path


@contextmanager
def atomic_write(path: str | Path, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` only if the block succeeds.

    What is written is on the disk before it takes the name. new: UserError where `path` is there,
    at the start or at the end.
    """
    path = place(path)
    folder = writable_dir(path.parent)
    if new:
        _check_new(path)
    with temporary(folder, path.name) as part:
        yield part
        if not part.stat().st_size:
            raise FileNotFoundError(f"nothing was written for {path}")
        synced(part)
        if new:
            _check_new(path)
        part.replace(path)
        synced(folder)


def _check_new(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.lstat()  # OSError where the name is too long
        raise UserError(f"{path} exists; name a new file")


@contextmanager
def temporary(folder: Path, name: str, directory: bool = False) -> Iterator[Path]:
    """A hidden, empty file or directory in `folder`; what is left of it at the end is removed.

    What killed processes left under the same `name` goes first: their hold on it went with them.
    """
    stem = f".{name[:50]}."  # with the rest at most 255 bytes
    for old in folder.glob(f"{glob.escape(stem)}*.part"):
        with suppress(OSError), _held(old, sure=True):
            _remove(old)
    part = folder / f"{stem}{os.getpid()}.part"
    part.mkdir() if directory else part.touch()
    with _held(part):
        try:
            yield part
        except OSError as error:  # that of a full disk does not say where, a user knows no part
            if error.errno and str(error.filename or part) == str(part):
                error.filename = str(folder / name)
            raise
        finally:
            _remove(part)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _held(path: Path, sure: bool = False) -> Iterator[None]:
    """A lock on a file or directory that ends with its holder; BlockingIOError if it is taken.

    On file systems without locks there is none; with `sure` that is an OSError.
    """
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if sure or isinstance(error, BlockingIOError):
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Only one process at a time works in `folder`; UserError in the others.

    The folder is made if need be, and removed again if the block leaves nothing in it. Of several
    processes of one training (`torchrun`) the first holds the lock for all.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    path = place(folder)
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    lock = writable_dir(path) / ".lock"
    lock.touch()
    with ExitStack() as stack:
        try:
            stack.enter_context(_held(lock))
        except BlockingIOError:
            raise UserError(
                f"another process is at work in {path}; wait for its end or name another folder"
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # not empty: the block left something
                for empty in made:
                    empty.rmdir()


def synced(path: Path) -> None:
    """Have what was written to a file or directory on the disk, whatever happens next."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(*files: Path) -> str:
    """Hex digest over the contents of `files` in the given order."""
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()
