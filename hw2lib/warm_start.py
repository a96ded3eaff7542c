"""Training goes on from a weights file: where a run started from, and what that start had seen.

    origin = begin(model, "data/weights/faces.safetensors", "face_unet", out)
    origin["images_seen"]   # what the weights had seen before this run

A resumed run goes on from its checkpoint; its origin is kept beside it in `origin.json`, so that
the header of the weights tells the whole history and not that of the last run alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from hw2lib import readers
from hw2lib.paths import UserError, atomic_write, writable_dir
from hw2lib.training import load_state, load_weights

NAME = "origin.json"
COLD: dict = {"images_seen": 0, "seconds": 0.0}  # a run that starts from random weights


def begin(model: nn.Module, weights: str | Path | None, kind: str, out: str | Path) -> dict:
    """Load `weights` into `model` (in place) if the run in `out` is new; return the run's origin.

    {"images_seen": .., "seconds": ..} of the weights, with "file" and "sha256" unless the start
    is from random weights. Raises UserError for unreadable weights, those of another architecture,
    or a run in `out` that started from something else.
    """
    out = writable_dir(out)
    started = (out / "checkpoint.pt").exists()
    kept = _read(out / NAME) if started else COLD
    if weights is None:
        if not started:
            (out / NAME).unlink(missing_ok=True)  # left by a run that died before its checkpoint
        return kept
    path = Path(weights)
    state, config = load_weights(path, kind)
    origin = {
        "images_seen": int(config.get("images_seen", 0)),
        "seconds": float(config.get("seconds", 0.0)),
        "file": path.name,
        "sha256": readers.sha256(path),
    }
    if started and kept.get("sha256") != origin["sha256"]:
        raise UserError(
            f"the run in {out} started from {kept.get('file', 'random weights')}, not from "
            f"{path}; name a new folder"
        )
    if not started:
        load_state(model, state, path).train()
        with atomic_write(out / NAME) as part:
            part.write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
    return origin


def _read(path: Path) -> dict:
    if not path.is_file():
        return COLD
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise UserError(f"{path} is damaged; delete the run's folder and start again") from None
