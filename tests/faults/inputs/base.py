"""A bad input: a command, what makes its input, and the words that its one line must hold."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from PIL import Image

from hw2lib.errors import UserError

Maker = Callable[[Path, Path], object]  # of (folder {d}, weights {w})


@dataclass(frozen=True)
class Case:
    name: str
    command: str
    words: tuple[str, ...]
    make: Maker = lambda d, w: None
    env: tuple[tuple[str, str], ...] = ()  # variables and their values


def fault(case: Case, folder: Path, weights: Path, told: Callable) -> str:
    """What is wrong with the answer to a bad input; empty if it is right."""
    d = folder / "".join(c if c.isalnum() else "-" for c in case.name)
    d.mkdir(parents=True)
    case.make(d, weights)
    before = {p.relative_to(d) for p in d.rglob("*")}
    argv = [word.format(d=d, w=weights, empty="") for word in case.command.split()]
    variables = {name: value.format(d=d) for name, value in case.env}
    try:
        with contextlib.chdir(d), patch.dict(os.environ, variables):
            status, err = told(argv)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    lines = [line for line in err.splitlines() if line and "%|" not in line]  # without bars
    if status != 2 or len(lines) != 1 or not lines[0].startswith("hw2: error: "):
        return f"status {status}: {err[-500:]}"
    missing = [word for word in case.words if word not in lines[0]]
    if missing:
        return f"{missing} not in {lines[0]}"
    new = {p.relative_to(d).as_posix() for p in d.rglob("*")} - {p.as_posix() for p in before}
    return f"it left {new}" if new else ""


def said(read: Callable, *arguments: object) -> str:
    """The line of a UserError; "" where there is none."""
    try:
        read(*arguments)
    except UserError as error:
        return str(error)
    return ""


# --- makers ---------------------------------------------------------------------------------------


def picture(file: Path, size: tuple[int, int] = (28, 28), mode: str = "RGB") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 7).save(file)
    return file


def noise(d: Path, value: object, name: str = "n/00.pt", **how) -> None:
    (d / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, d / name, **how)


def huge_png(file: Path, side: int = 60_000) -> None:
    """A PNG of side x side black pixels, of few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    end = chunk(b"IEND", b"")
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + end)


# --- commands -------------------------------------------------------------------------------------

DIGITS = "sample-digits {d}/o --per-digit 1 --steps 1"
FACES = "sample-faces {d}/n {d}/o --steps 1 --weights {w}/faces.safetensors"
CLASSIFY = "classify {d}/i {d}/o.csv --target usps"
TRAIN = "train digits --data embedded --out {d}/r --set steps=1 batch_size=2"
