"""Checkpoints that are damaged."""

from __future__ import annotations

from pathlib import Path

import torch
from faults.commands import made
from faults.inputs.base import TRAIN, Case, Maker

BAD = {
    "no model": {"model": None}, "no optimizer": {"optimizer": None},
    "model is a list": {"model": []}, "optimizer is empty": {"optimizer": {}},
    "step is text": {"step": "x"}, "step below 0": {"step": -1},
    "three bytes": {"generator": torch.zeros(3).byte()}, "generator is text": {"generator": "x"},
    "losses are text": {"losses": "x"}, "no losses": {"losses": None},
    "config is a list": {"config": []}, "watched is a number": {"watched": 3},
    "seconds are text": {"seconds": "x"},
}  # fmt: skip


def broken(**changes: object) -> Maker:
    """The folder of a run whose checkpoint has parts changed (None: removed)."""

    def make(d: Path, w: Path) -> None:
        made(TRAIN.format(d=d).split())
        file = d / "r/checkpoint.pt"
        state = torch.load(file, weights_only=True) | changes
        torch.save({k: v for k, v in state.items() if v is not None}, file)

    return make


def cases() -> list[Case]:
    resume = TRAIN.replace("{d}/r", "{d}/r --resume")
    words = ("checkpoint.pt", "not a readable checkpoint", "delete it")
    return [
        *(Case(f"checkpoint {name}", resume, words, broken(**changes))
          for name, changes in BAD.items()),
        Case("checkpoint of another setting", resume + " lr=0.5", ("checkpoint.pt", "lr=", "0.5"),
             broken()),
        Case("a run is there", TRAIN, ("r already holds a run", "--resume"), broken()),
    ]  # fmt: skip
