"""Noise files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from faults.inputs.base import FACES, Case, noise


def old_and_turned(d: Path, _: Path) -> None:
    noise(d, torch.zeros(1, 3, 8, 8), _use_new_zipfile_serialization=False)
    data = bytearray((d / "n/00.pt").read_bytes())
    data[20] ^= 255
    (d / "n/00.pt").write_bytes(data)


def cases() -> list[Case]:
    wide = torch.zeros(1, 3, 1, 1).expand(1, 3, 200_000, 200_000)
    values = {
        "a text": "x", "a dict": {"a": 1}, "flat": torch.zeros(3, 8),
        "grey": torch.zeros(1, 1, 8, 8),
        "whole numbers": torch.zeros(1, 3, 8, 8, dtype=torch.long),
        "empty": torch.zeros(1, 3, 0, 8),
        "nan": torch.full((1, 3, 8, 8), float("nan")),
        "inf in float32": torch.full((1, 3, 8, 8), 1e300, dtype=torch.float64),
        "far from normal": torch.full((1, 3, 8, 8), 1e30),
        "expanded": wide, "sparse": torch.zeros(1, 3, 8, 8).to_sparse(),
        "meta": torch.zeros(1, 3, 8, 8, device="meta"),
    }  # fmt: skip
    made = [
        Case(f"noise {name}", FACES, ("00.pt", "would be right"), lambda d, w, v=v: noise(d, v))
        for name, v in values.items()
    ]
    return [
        *made,
        Case("noise old and turned", FACES, ("00.pt",), old_and_turned),
        Case("noise is text", FACES, ("00.pt", "would be right"),
             lambda d, w: ((d / "n").mkdir(), (d / "n/00.pt").write_text("x"))),
        Case("noise that is cut", FACES, ("00.pt", "damaged"),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)), os.truncate(d / "n/00.pt", 100))),
        Case("noise of code", FACES, ("00.pt", "other things than a tensor"),
             lambda d, w: noise(d, Path)),
        Case("no noise", FACES, ("n holds no .pt file",), lambda d, w: (d / "n").mkdir()),
        Case("companions alone", FACES, ("n holds no .pt file",),
             lambda d, w: noise(d, torch.zeros(1, 3, 8, 8), "n/._00.pt")),
        Case("noises of nobody", FACES.replace("{d}/n", "~nobodyx/n"), ("~nobodyx", "in full")),
        Case("no folder of noises", FACES, ("n does not exist",)),
        Case("noise of a wrong size", FACES, ("multiples of",),
             lambda d, w: noise(d, torch.zeros(1, 3, 9, 9))),
        Case("sizes in a batch", FACES + " --batch 2", ("00.pt 8x8 but 01.pt 16x16",),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)),
                           noise(d, torch.zeros(1, 3, 16, 16), "n/01.pt"))),
    ]  # fmt: skip
