"""Weights files, and trainings that go on from one.

    save_weights(path, model.state_dict(), {"kind": "judge"})
    state, header = load_weights(path, "judge")
    origin = warm_start(model, "data/weights/faces.safetensors", "face_unet", out)

A warm-started run's origin is kept beside its checkpoint in `origin.json`, so that the header of
its weights tells the whole history, of resumed runs too.
"""

import json
import struct
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from hw2lib.errors import UserError
from hw2lib.io.parameters import Natural, NonNegative
from hw2lib.io.paths import atomic_write, locked, place, sha256


def save_weights(path: str | Path, state: dict[str, Tensor], header: dict) -> Path:
    """Write a state dict as safetensors; `header` (with "kind") as JSON in the header.

    Tensors of two or more axes are stored in fp16. Vectors stay as they are: they weigh nothing,
    and the frequencies of a time embedding rounded to fp16 would be off by .24 rad at t = 1000.
    """
    if "kind" not in header:
        raise ValueError('header needs a "kind", the name of the architecture')
    tensors = {
        key: (value.half() if value.is_floating_point() and value.ndim > 1 else value)
        .detach()
        .cpu()
        .contiguous()
        .clone()
        for key, value in state.items()
    }
    with atomic_write(path) as part:
        part.write_bytes(to_bytes(tensors, metadata={"config": json.dumps(header, sort_keys=True)}))
    return Path(path)


def weights_header(path: str | Path) -> dict:
    """What a weights file says of itself; {} for a file of another format, as UNet.pt."""
    if Path(path).suffix != ".safetensors":
        return {}
    return _read_weights(path)[1]


class Header(BaseModel):
    """What the headers of all weights files hold; each kind of network declares the rest."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    kind: str
    images_seen: Natural = 0
    seconds: NonNegative = 0.0


def load_weights(
    path: str | Path, kind: str, holds: type[Header] = Header
) -> tuple[dict[str, Tensor], dict]:
    """Read (state dict in fp32, header) of a weights file made for the architecture `kind`.

    UserError for a header that is not what `holds` declares, for a file that is damaged, and for
    values that are not finite.
    """
    state, header = _read_weights(path)
    if header.get("kind") != kind:
        found = header.get("kind") or "an unknown architecture"
        raise UserError(f"weights file {path} is for {found}; this command needs {kind}")
    try:
        holds.model_validate_json(json.dumps(header))
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except UserError as error:  # of a network's own configuration
        reason = f"architecture: {error}"
    else:
        return plain_state(state, path), header
    raise UserError(
        f"weights file {path} has a header that does not fit ({reason}); use a file that "
        "`hw2 train` wrote"
    )


def plain_state(state: dict[str, Tensor], path: str | Path) -> dict[str, Tensor]:
    """A state dict in fp32; UserError for values that are not finite."""
    state = {key: v.float() if v.is_floating_point() else v for key, v in state.items()}
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise UserError(
                f"weights file {path} holds values that are not finite (in {key}); copy it again, "
                "or train again with a lower lr"
            )
    return state


def _read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    path = place(path)
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist; name a .safetensors file")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("config", "{}"))
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        if not isinstance(header, dict):
            raise ValueError
    except (SafetensorError, struct.error, ValueError, OSError, RecursionError):
        raise UserError(
            f"weights file {path} is truncated or no safetensors file; copy it again"
        ) from None
    return state, header


def load_state(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> nn.Module:
    """`load_state_dict(strict=True)` whose failure is one line that names the file.

    A model on the meta device takes the tensors of `state` as its own.
    """
    try:
        empty = any(parameter.is_meta for parameter in model.parameters())
        model.load_state_dict(state, strict=True, assign=empty)
    except (RuntimeError, AttributeError, TypeError):  # the latter two: keys that are no names
        raise UserError(
            f"weights file {path} is for another architecture than {type(model).__name__}; "
            "use weights that were trained with this configuration"
        ) from None
    return model.eval()


ORIGIN = "origin.json"
COLD: dict = {"images_seen": 0, "seconds": 0.0}  # a run that starts from random weights


def warm_start(model: nn.Module, weights: str | Path | None, kind: str, out: str | Path) -> dict:
    """Load `weights` into `model` (in place) if the run in `out` is new; return the run's origin.

    {"images_seen": .., "seconds": ..} of the weights, with "file" and "sha256" unless the start
    is from random weights. Raises UserError for unreadable weights, those of another architecture,
    or a run in `out` that started from something else.
    """
    out, state, origin = place(out), {}, COLD
    if weights is not None:
        path = place(weights)
        state, header = load_weights(path, kind)
        origin = {
            "images_seen": int(header.get("images_seen", 0)),
            "seconds": float(header.get("seconds", 0.0)),
            "file": path.name,
            "sha256": sha256(path),
        }
    with locked(out):
        started = (out / "checkpoint.pt").exists()
        kept = _read_origin(out / ORIGIN) if started else COLD
        if weights is None:
            if not started:
                (out / ORIGIN).unlink(missing_ok=True)  # left by a run without a checkpoint
            return kept
        if started and kept.get("sha256") != origin["sha256"]:
            raise UserError(
                f"the run in {out} started from {kept.get('file', 'random weights')}, not from "
                f"{path}; name a new folder"
            )
        if not started:
            load_state(model, state, path).train()
            with atomic_write(out / ORIGIN) as part:
                part.write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
    return origin


def _read_origin(path: Path) -> dict:
    if not path.is_file():
        return COLD
    try:
        kept = {**json.loads(path.read_text())}
        return {**kept, "images_seen": int(kept["images_seen"]), "seconds": float(kept["seconds"])}
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(f"{path} is damaged; delete the run's folder and start again") from None
