"""Make once, keep: the only cache.

found, spared = kept("faces", sha256(path), lambda: {"images": read(path)})
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike

from hw2lib.io.paths import atomic_write, build_dir

_SECONDS = "seconds of the making"
used: list[Path] = []  # the files that this process made or found


def kept(
    name: str,
    key: Any,
    make: Callable[[], Mapping[str, ArrayLike]],
    folder: str | Path | None = None,
) -> tuple[dict[str, np.ndarray], float]:
    """What `make()` returns, as arrays, or what it returned before for the same `key`.

    key: all that it depends on, in JSON's types and arrays. The file is FOLDER/NAME-DIGEST.npz, by
    default below build/cache; one that is damaged is made again.
    Also the seconds that were spared: what the earlier making took, 0 if it is made now.
    """
    text = json.dumps(key, sort_keys=True, default=_array)
    digest = hashlib.sha256(text.encode()).hexdigest()
    file = Path(folder or build_dir() / "cache") / f"{name}-{digest[:24]}.npz"
    used.append(file)
    try:
        with np.load(file, allow_pickle=False) as stored:
            found = dict(stored)
        return found, float(found.pop(_SECONDS))
    except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile, MemoryError):
        pass  # not there; or damaged, which is no one's fault
    began = time.perf_counter()
    made = {field: np.asarray(value) for field, value in make().items()}
    with atomic_write(file) as part, open(part, "wb") as stream:
        np.savez(stream, **made, **{_SECONDS: time.perf_counter() - began})
    return made, 0.0


def _array(value: Any) -> list:
    """What stands for an array in a key."""
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError(f"{type(value).__name__} in a key; JSON's types and arrays are right")
    return [value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
