"""Weights files: headers that lie, values that are no numbers, what torch.save wrote."""

from __future__ import annotations

from pathlib import Path

import torch
from faults.inputs.base import CLASSIFY, DIGITS, Case, Maker, noise, picture
from safetensors.torch import save_file

from hw2lib.io.weights import _read_weights, save_weights

OURS = {
    "digits": f"{DIGITS} --weights {{d}}/w.safetensors",
    "faces": "sample-faces {d}/n {d}/o --steps 1 --weights {d}/w.safetensors",
    "dann": f"{CLASSIFY} --weights {{d}}/w.safetensors",
    "judge": "judge {d}/i --weights {d}/w.safetensors",
}


REMOVED = "removed"  # stands for a part of a header that is left out


def weights_with(kind: str, change: dict | None = None, value: float | None = None) -> Maker:
    """Weights of a kind with parts of the header changed, or one value changed."""

    def make(d: Path, w: Path) -> None:
        state, header = _read_weights(w / f"{kind}.safetensors")
        for key, new in (change or {}).items():
            where = header
            *path, last = key.split(".")
            for part in path:
                where = where[part]
            where[last] = new
            if new is REMOVED:
                del where[last]
        if value is not None:
            key = next(k for k, v in state.items() if v.is_floating_point())
            state[key] = state[key].clone()
            state[key].view(-1)[0] = value
        save_weights(d / "w.safetensors", state, header)

    return make


def nested(kind: str) -> Maker:
    """Weights of a kind with a header of 100,000 lists, each in the other."""

    def make(d: Path, w: Path) -> None:
        state, _ = _read_weights(w / f"{kind}.safetensors")
        text = '{"kind": ' + "[" * 100_000 + "]" * 100_000 + "}"
        save_file(state, d / "w.safetensors", metadata={"config": text})

    return make


def _ready(kind: str, make: Maker) -> Maker:
    """What the command reads beside the weights."""

    def both(d: Path, w: Path) -> None:
        make(d, w)
        picture(d / "i/1_001.png")
        noise(d, torch.zeros(1, 3, 8, 8))

    return both


BAD = {
    "digits": {
        "architecture": [None, REMOVED, 5, "x", [1]],
        "n_train_steps": ["x", -5, None, REMOVED, 10**12, 1.5],
        "schedule": [[], "x", None, REMOVED], "prediction": ["x", 3, REMOVED],
        "zero_one": ["x", 2], "images_seen": ["x", -1],
        "architecture.blocks": [[4096, 4096], "x", -1, [1] * 3],
        "architecture.widths": [[7, 9], [10**9, 10**9], "x"],
        "architecture.c_condition": [0, 10**9],
    },
    "faces": {
        "architecture": [None, 5, []], "n_train_steps": ["x", 0, 10**12],
        "schedule": [[], REMOVED], "prediction": [REMOVED, "y"], "size": ["x", -1],
        "architecture.widths": [[], [16] * 100, [10**9] * 2], "architecture.blocks": [10**9],
        "architecture.groups": [0, -1, "x"], "architecture.unfold": [0, 1000],
    },
    "dann": {
        "channels": ["x", None, REMOVED, -1, 2, 10**6, 10**9], "readings": [3, "x", []],
        "standardise": ["x", REMOVED, 2], "separate": ["x", REMOVED], "target": [7],
    },
    "judge": {
        "test_accuracy": [None, REMOVED, "x", 0.5, []], "test_accuracy.mean": ["x", REMOVED, 7],
        "test_accuracy.n": ["x", -1],
    },
}  # fmt: skip


def cases() -> list[Case]:
    unet = "sample-faces {d}/n {d}/o --steps 1 --weights {d}/U.pt"

    def saved(value: object) -> Maker:
        return lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)), noise(d, value, "U.pt"))

    return [
        *(Case(f"{kind} header {key} {str(value)[:20]} {k}", OURS[kind],
               ("w.safetensors", key.split(".")[0]), _ready(kind, weights_with(kind, {key: value})))
          for kind, keys in BAD.items() for key, values in keys.items()
          for k, value in enumerate(values)),
        *(Case(f"{kind} weights with {value}", OURS[kind], ("w.safetensors", "not finite"),
               _ready(kind, weights_with(kind, value=value)))
          for kind in OURS for value in (float("nan"), float("inf"))),
        *(Case(f"{kind} header of lists", OURS[kind], ("w.safetensors", "copy it again"),
               _ready(kind, nested(kind))) for kind in OURS),
        Case("UNet.pt is a list", unet, ("U.pt", "holds a list"), saved([1])),
        Case("UNet.pt is wrapped", unet, ("U.pt", "net, epoch"), saved({"net": {}, "epoch": 1})),
        Case("UNet.pt with nan", unet, ("U.pt", "not finite"),
             saved({"a": torch.full((2,), float("nan"))})),
        Case("UNet.pt of another network", unet, ("U.pt", "another architecture"),
             saved({"a": torch.zeros(2)})),
        Case("UNet.pt is text", unet, ("U.pt", "truncated"),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)), (d / "U.pt").write_text("x"))),
        Case("weights are missing", unet, ("U.pt", "does not exist"),
             lambda d, w: noise(d, torch.zeros(1, 3, 8, 8))),
        Case("weights of nobody", f"{DIGITS} --weights ~nobodyx/w", ("~nobodyx", "in full")),
        Case("weights of another target", f"{CLASSIFY.replace('usps', 'svhn')} --weights "
             "{w}/dann.safetensors", ("dann.safetensors is for usps",),
             lambda d, w: picture(d / "i/a.png")),
    ]  # fmt: skip
