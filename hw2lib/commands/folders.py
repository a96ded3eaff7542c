"""Folders of samples: written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hw2lib.errors import UserError
from hw2lib.io.paths import writable_dir


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` at the end; `out` must be new or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"output folder {out} is not empty; name a new folder")
    parent = out.absolute().parent
    found = next(path for path in (parent, *parent.parents) if path.exists())
    part = Path(tempfile.mkdtemp(dir=writable_dir(found), prefix=f".{out.name}."))
    try:
        yield part
        part.chmod(0o755)
        parent.mkdir(parents=True, exist_ok=True)  # not before: an interrupted run leaves nothing
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
