"""Bad inputs as data: a command, what makes its input, and the words that its one line must hold.

In a command {d} is an empty folder, {w} a folder of small weights (`campaign.make_weights`).
"""

from __future__ import annotations

import bz2
import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hw2lib.errors import UserError
from hw2lib.io import results
from hw2lib.io.weights import _read_weights, save_weights

Maker = Callable[[Path, Path], object]  # of (folder {d}, weights {w})


@dataclass(frozen=True)
class Case:
    name: str
    command: str
    words: tuple[str, ...]
    make: Maker = lambda d, w: None
    left: tuple[str, ...] = ()  # what the command may leave in {d}, beside what was made


def fault(case: Case, folder: Path, weights: Path, told: Callable) -> str:
    """What is wrong with the answer to a bad input; empty if it is right."""
    d = folder / "".join(c if c.isalnum() else "-" for c in case.name)
    d.mkdir(parents=True)
    case.make(d, weights)
    before = {p.relative_to(d) for p in d.rglob("*")}
    argv = [word.format(d=d, w=weights).replace("%20", " ") for word in case.command.split()]
    home = os.getcwd()
    os.chdir(d)
    try:
        status, err = told(argv)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        os.chdir(home)
    lines = err.splitlines()
    if status != 2 or len(lines) != 1 or not lines[0].startswith("hw2: error: "):
        return f"status {status}: {err[-500:]}"
    missing = [word for word in case.words if word not in lines[0]]
    if missing:
        return f"{missing} not in {lines[0]}"
    new = {p.relative_to(d).as_posix() for p in d.rglob("*")} - {p.as_posix() for p in before}
    return f"it left {new}" if new - set(case.left) else ""


# --- makers ---------------------------------------------------------------------------------------


def picture(file: Path, size: tuple[int, int] = (28, 28), mode: str = "RGB") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 7).save(file)
    return file


def noise(d: Path, value: object, name: str = "n/00.pt", **how) -> None:
    (d / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, d / name, **how)


def old_and_turned(d: Path, _: Path) -> None:
    noise(d, torch.zeros(1, 3, 8, 8), _use_new_zipfile_serialization=False)
    data = bytearray((d / "n/00.pt").read_bytes())
    data[20] ^= 255
    (d / "n/00.pt").write_bytes(data)


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


def weights_with(kind: str, change: dict | None = None, value: float | None = None) -> Maker:
    """Weights of a kind with parts of the header changed (None: removed), or one value changed."""

    def make(d: Path, w: Path) -> None:
        state, header = _read_weights(w / f"{kind}.safetensors")
        for key, new in (change or {}).items():
            where = header
            *path, last = key.split(".")
            for part in path:
                where = where[part]
            where[last] = new
            if new is None:
                del where[last]
        if value is not None:
            key = next(k for k, v in state.items() if v.is_floating_point())
            state[key] = state[key].clone()
            state[key].view(-1)[0] = value
        save_weights(d / "w.safetensors", state, header)

    return make


def lines(name: str, text: str) -> Maker:
    def make(d: Path, w: Path) -> None:
        picture(d / "i/a.png")
        (d / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    return make


def usps(change: Callable[[list[str]], list[str]]) -> Maker:
    """USPS files whose second line is changed, beside which HW2_DATA points."""

    def make(d: Path, w: Path) -> None:
        cells = ["1", *(f"{k}:-1" for k in range(1, 257))]
        text = "\n".join([" ".join(cells), " ".join(change(cells))])
        for name in ("usps.bz2", "usps.t.bz2"):
            (d / "USPS").mkdir(exist_ok=True)
            (d / "USPS" / name).write_bytes(bz2.compress(text.encode()))

    return make


# --- the table ------------------------------------------------------------------------------------

DIGITS = "sample-digits {d}/o --per-digit 1 --steps 1"
FACES = "sample-faces {d}/n {d}/o --steps 1 --weights {w}/faces.safetensors"
CLASSIFY = "classify {d}/i {d}/o.csv --target usps"
LIST = f"{CLASSIFY} --weights {{w}}/dann.safetensors --list {{d}}/l.csv"
TRAIN = "train digits --data embedded --out {d}/r --set steps=1 batch_size=2"
OURS = {
    "digits": f"{DIGITS} --weights {{d}}/w.safetensors",
    "faces": "sample-faces {d}/n {d}/o --steps 1 --weights {d}/w.safetensors",
    "dann": f"{CLASSIFY} --weights {{d}}/w.safetensors",
    "judge": "judge {d}/i --weights {d}/w.safetensors",
}


def _ready(kind: str, make: Maker) -> Maker:
    """What the command reads beside the weights."""

    def both(d: Path, w: Path) -> None:
        make(d, w)
        picture(d / "i/1_001.png")
        noise(d, torch.zeros(1, 3, 8, 8))

    return both


def _headers() -> list[Case]:
    bad = {
        "digits": {
            "architecture": [None, 5, "x", [1]], "n_train_steps": ["x", -5, None, 10**12, 1.5],
            "schedule": [[], "x", None], "prediction": ["x", 3, None], "zero_one": ["x", 2],
            "architecture.blocks": [[4096, 4096], "x", -1, [1] * 3],
            "architecture.widths": [[7, 9], [10**9, 10**9], "x"],
            "architecture.c_condition": [0, 10**9], "images_seen": ["x", -1],
        },
        "faces": {
            "architecture": [None, 5, []], "n_train_steps": ["x", 0, 10**12],
            "schedule": [[], None], "prediction": [None, "y"], "size": ["x", -1],
            "architecture.widths": [[], [16] * 100, [10**9] * 2], "architecture.blocks": [10**9],
            "architecture.groups": [0, -1, "x"], "architecture.unfold": [0, 1000],
        },
        "dann": {
            "channels": ["x", None, -1, 2, 10**6, 10**9], "readings": [3, "x", []],
            "standardise": ["x", None, 2], "separate": ["x", None], "target": [7],
        },
        "judge": {
            "test_accuracy": [None, "x", 0.5, []], "test_accuracy.mean": ["x", None, 7],
            "test_accuracy.n": ["x", -1],
        },
    }  # fmt: skip
    return [
        Case(f"{kind} header {key} {str(value)[:20]} {k}", OURS[kind],
             ("w.safetensors", key.split(".")[0]), _ready(kind, weights_with(kind, {key: value})))
        for kind, keys in bad.items()
        for key, values in keys.items()
        for k, value in enumerate(values)
    ]  # fmt: skip


def _settings() -> list[Case]:
    def bad(key: str, *values: object) -> list[Case]:
        return [
            Case(f"set {key} {v}", TRAIN + f" {key}={v}", (f"{key}={v} is not allowed",))
            for v in values
        ]

    return [
        *bad("log_snr_mean", "nan", "inf", "x"), *bad("log_snr_std", "inf", "-1"),
        *bad("min_snr", "inf", "nan", "-1"), *bad("batch_size", 0, 10**12, "x", 1.5),
        *bad("lr", "nan", "inf", 0, -1), *bad("seed", -1, 2**32), *bad("p_drop", 2, "nan"),
        *bad("ema", 1, "nan"), *bad("exchange", "maybe"), *bad("save_every_s", -1, "inf"),
        Case("set unknown", TRAIN + " stepz=1", ("stepz", "steps")),
        Case("rows empty", "train dann --data embedded --rows= --out {d}/r", ("row ''", "dann")),
        Case("rows unknown", "train dann --data embedded --rows x --out {d}/r", ("row 'x'",)),
        Case("seed of dann", "train dann --data embedded --out {d}/r --set seed=-1", ("seed=-1",)),
        Case("dann every nan", "train dann --out {d}/r --set save_every_s=nan", ("save_every_s",)),
        *(Case(f"{opt} {v}", f"sample-digits {{d}}/o {opt}={v}", (opt, v, "is right"))
          for opt, v in [("--w", "1e30"), ("--w", "nan"), ("--w", "-2"), ("--per-digit", "10**9"),
                         ("--per-digit", "1000000000"), ("--per-digit", "0"), ("--steps", "0"),
                         ("--seed", "-1")]),
        Case("steps above T", f"{DIGITS} --weights {{w}}/digits.safetensors --steps 1001",
             ("steps=1001", "1 to 1000")),
        Case("warm start missing", "train faces --data embedded --out {d}/r --warm-start {d}/x",
             ("x", "does not exist")),
        Case("warm start of another kind", "train faces --data embedded --out {d}/r --warm-start "
             "{w}/digits.safetensors", ("digits.safetensors", "face_unet")),
        Case("runs away", TRAIN.replace("steps=1", "steps=30") + " lr=1e30 warmup=0",
             ("lower lr",)),
    ]  # fmt: skip


def _outputs() -> list[Case]:
    weights = " --weights {w}/digits.safetensors"
    draw = "sample-digits {out} --per-digit 1 --steps 1" + weights
    return [
        Case("out is a file", draw.format(out="{d}/f", w="{w}"), ("f is no folder",),
             lambda d, w: (d / "f").touch()),
        Case("out below a file", draw.format(out="{d}/f/o", w="{w}"), ("f", "cannot be written"),
             lambda d, w: (d / "f").touch()),
        Case("out is used", draw.format(out="{d}/u", w="{w}"), ("u is not empty",),
             lambda d, w: picture(d / "u/a.png")),
        Case("out is a dead link", draw.format(out="{d}/l", w="{w}"), ("l is no folder",),
             lambda d, w: (d / "l").symlink_to(d / "x")),
        Case("out is a looping link", draw.format(out="{d}/l", w="{w}"), ("l is no folder",),
             lambda d, w: (d / "l").symlink_to(d / "l")),
        Case("out of 300 letters", draw.format(out="{d}/" + "x" * 300, w="{w}"),
             ("xxx", "File name too long")),
        Case("out of nobody", draw.format(out="~nobodyx/o", w="{w}"), ("~nobodyx", "in full")),
        Case("run of nobody", TRAIN.replace("{d}/r", "~nobodyx/r"), ("~nobodyx", "in full")),
        Case("run below a file", TRAIN.replace("{d}/r", "{d}/f/r"), ("f", "cannot be written"),
             lambda d, w: (d / "f").touch()),
        Case("csv is there", CLASSIFY + " --weights {w}/dann.safetensors", ("o.csv exists",),
             lambda d, w: (picture(d / "i/a.png"), (d / "o.csv").touch())),
        Case("csv is a dead link", CLASSIFY + " --weights {w}/dann.safetensors",
             ("o.csv exists",),
             lambda d, w: (picture(d / "i/a.png"), (d / "o.csv").symlink_to(d / "x"))),
        Case("csv below a file", "classify {d}/i {d}/f/o.csv --target usps --weights "
             "{w}/dann.safetensors", ("f", "cannot be written"),
             lambda d, w: (picture(d / "i/a.png"), (d / "f").touch())),
    ]  # fmt: skip


def _noises() -> list[Case]:
    wide = torch.zeros(1, 3, 1, 1).expand(1, 3, 200_000, 200_000)
    values = {
        "a text": "x", "a dict": {"a": 1}, "flat": torch.zeros(3, 8),
        "grey": torch.zeros(1, 1, 8, 8),
        "whole numbers": torch.zeros(1, 3, 8, 8, dtype=torch.long),
        "empty": torch.zeros(1, 3, 0, 8),
        "nan": torch.full((1, 3, 8, 8), float("nan")),
        "inf in float32": torch.full((1, 3, 8, 8), 1e300, dtype=torch.float64),
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
        Case("no noise", FACES, ("n holds no .pt file",), lambda d, w: (d / "n").mkdir()),
        Case("companions alone", FACES, ("n holds no .pt file",),
             lambda d, w: noise(d, torch.zeros(1, 3, 8, 8), "n/._00.pt")),
        Case("no folder of noises", FACES, ("n is missing",)),
        Case("noise of a wrong size", FACES, ("multiples of",),
             lambda d, w: noise(d, torch.zeros(1, 3, 9, 9))),
        Case("sizes in a batch", FACES + " --batch 2", ("00.pt 8x8 but 01.pt 16x16",),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)),
                           noise(d, torch.zeros(1, 3, 16, 16), "n/01.pt"))),
    ]  # fmt: skip


def _values() -> list[Case]:
    return [
        Case(f"{kind} weights with {value}", OURS[kind], ("w.safetensors", "not finite"),
             _ready(kind, weights_with(kind, value=value)))
        for kind in OURS for value in (float("nan"), float("inf"))
    ]  # fmt: skip


def _pictures() -> list[Case]:
    compare, mine = "compare-faces {d}/o {d}/g", "judge {d}/i --weights {w}/judge.safetensors"

    def pipe(name: str) -> Maker:
        def make(d: Path, w: Path) -> None:
            (d / name).parent.mkdir(parents=True)
            os.mkfifo(d / name)
            picture(d / "g/00.png")

        return make

    def both_huge(d: Path, w: Path) -> None:
        for name in "og":
            huge_png(d / name / "00.png")

    return [
        Case("a pipe to judge", mine, ("1_001.png", "no file"), pipe("i/1_001.png")),
        Case("a pipe to compare", compare, ("00.png", "no file"), pipe("o/00.png")),
        Case("huge to compare", compare, ("00.png", "exceeds limit"), both_huge),
        Case("huge to judge", mine, ("1_001.png", "exceeds limit"),
             lambda d, w: huge_png(d / "i/1_001.png")),
        Case("a name to judge", mine, ("a.png", "3_001.png"), lambda d, w: picture(d / "i/a.png")),
        Case("a size to judge", mine, ("1_001.png", "9x9"),
             lambda d, w: picture(d / "i/1_001.png", (9, 9))),
        Case("grey to judge", mine, ("1_001.png", "28x28 L"),
             lambda d, w: picture(d / "i/1_001.png", mode="L")),
        Case("nothing to judge", mine, ("i does not exist",)),
        Case("a file to judge", mine, ("i is a file",), lambda d, w: (d / "i").touch()),
        Case("references are a file", compare, ("g is a file",),
             lambda d, w: (picture(d / "o/00.png"), (d / "g").touch())),
        Case("other sizes to compare", compare, ("00.png", "9x9", "28x28"),
             lambda d, w: (picture(d / "o/00.png", (9, 9)), picture(d / "g/00.png"))),
        Case("a face is missing", compare, ("00.png is missing",),
             lambda d, w: (picture(d / "g/00.png"), (d / "o").mkdir())),
    ]  # fmt: skip


def _lists() -> list[Case]:
    bad = {
        "nothing": ("", "begins with"),
        "another header": ("name\na.png", "image_name"),
        "semicolons": ("image_name;label\na.png;1", "commas"),
        "no line": ("image_name\n", "names no"),
        "twice": ("image_name\na.png\na.png", "twice"),
        "twice by ./": ("image_name\na.png\n./a.png", "twice"),
        "out by ..": ("image_name\n../a.png", "../a.png"),
        "absolute": ("image_name\n/etc/passwd", "/etc/passwd"),
        "NUL": ("image_name\na\0.png", "line 2"),
        "missing": ("image_name\nz.png", "z.png (missing)"),
        "UTF-16": ("\udcff\udcfei\0", "begins"),
        "no name": ('image_name,label\n"",3', "line 2"),
    }
    cases = [
        Case(f"list {name}", LIST, (words,), lines("l.csv", text))
        for name, (text, words) in bad.items()
    ]
    return [
        *cases,
        Case("list is missing", LIST, ("l.csv is missing",), lambda d, w: picture(d / "i/a.png")),
        Case("list is a folder", LIST, ("l.csv",),
             lambda d, w: (picture(d / "i/a.png"), (d / "l.csv").mkdir())),
        Case("images are a file", CLASSIFY + " --weights {w}/dann.safetensors", ("i is a file",),
             lambda d, w: (d / "i").touch()),
        Case("system files alone", CLASSIFY + " --weights {w}/dann.safetensors", ("i is empty",),
             lambda d, w: (picture(d / "i/._a.png"), (d / "i/Thumbs.db").touch())),
        Case("a line break in a name", CLASSIFY + " --weights {w}/dann.safetensors", ("a\\nb",),
             lambda d, w: (picture(d / "i/a.png"), (d / "i/a\nb").touch())),
        Case("huge to classify", CLASSIFY + " --weights {w}/dann.safetensors", ("far too big",),
             lambda d, w: huge_png(d / "i/a.png")),
    ]  # fmt: skip


def _states() -> list[Case]:
    """What torch.save wrote in place of UNet.pt, and in place of a checkpoint."""
    unet = "sample-faces {d}/n {d}/o --steps 1 --weights {d}/U.pt"
    resume = TRAIN.replace("{d}/r", "{d}/r --resume")

    def broken(**changes: object) -> Maker:
        def make(d: Path, w: Path) -> None:
            from faults.campaign import told

            told(TRAIN.format(d=d).split())
            file = d / "r/checkpoint.pt"
            state = torch.load(file, weights_only=True) | changes
            torch.save({k: v for k, v in state.items() if v is not None}, file)

        return make

    bad = {
        "no model": {"model": None}, "no optimizer": {"optimizer": None}, "model is a list": {
        "model": []}, "optimizer is empty": {"optimizer": {}}, "step is text": {"step": "x"},
        "step below 0": {"step": -1}, "three bytes": {"generator": torch.zeros(3).byte()},
        "generator is text": {"generator": "x"}, "losses are text": {"losses": "x"},
        "no losses": {"losses": None}, "config is a list": {"config": []},
        "watched is a number": {"watched": 3}, "seconds are text": {"seconds": "x"},
    }  # fmt: skip
    return [
        *(Case(f"checkpoint {name}", resume, ("checkpoint.pt", "not a readable checkpoint",
               "delete it"), broken(**changes)) for name, changes in bad.items()),
        Case("UNet.pt is a list", unet, ("U.pt", "holds a list"),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)), noise(d, [1], "U.pt"))),
        Case("UNet.pt is wrapped", unet, ("U.pt", "net, epoch"),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)),
                           noise(d, {"net": {}, "epoch": 1}, "U.pt"))),
        Case("UNet.pt with nan", unet, ("U.pt", "not finite"),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)),
                           noise(d, {"a": torch.full((2,), float("nan"))}, "U.pt"))),
        Case("UNet.pt is text", unet, ("U.pt", "truncated"),
             lambda d, w: (noise(d, torch.zeros(1, 3, 8, 8)), (d / "U.pt").write_text("x"))),
    ]  # fmt: skip


CASES = [
    *_headers(), *_settings(), *_outputs(), *_noises(), *_values(), *_pictures(), *_lists(),
    *_states(),
]  # fmt: skip


# --- files that the library reads without a command -----------------------------------------------


def said(read: Callable, *arguments: object) -> str:
    """The line of a UserError; "" where there is none."""
    try:
        read(*arguments)
    except UserError as error:
        return str(error)
    return ""


def result_text(**changes: object) -> str:
    """A result file's text; keys with a dot change the first record."""
    result = {
        "name": "made", "preset": "quick", "data": {"source": "embedded", "sha256": {}},
        "weights": {}, "settings": {}, "seeds": [0], "device": "x", "versions": {}, "commit": "x",
        "seconds": 1.0, "records": [{"row": "dann", "score": "accuracy", "setting": {},
        "values": [0.5], "mean": 0.5, "low": 0.4, "high": 0.6, "n": 10, "unit": "share"}],
    }  # fmt: skip
    for key, value in changes.items():
        where = result["records"][0] if key in result["records"][0] else result
        where[key] = value
    return json.dumps(result).replace('"1e400"', "1e400")


RESULTS = {
    "mean is text": result_text(mean="0.5"), "low is text": result_text(low="x"),
    "mean is NaN": result_text(mean=float("nan")), "mean is infinite": result_text(mean="1e400"),
    "no data": result_text(data=None), "n below 1": result_text(n=-1),
    "n is 1.5": result_text(n=1.5),
    "unit is a list": result_text(unit=[]), "another name": result_text(name="other"),
    "nesting": "[" * 100_000, "nesting of settings": result_text().replace(
        '"settings": {}', '"settings": {"a": ' + "[" * 5000 + "]" * 5000 + "}"),
    "a list": "[1]", "nothing": "", "no UTF-8": "\udcff",
}  # fmt: skip


def read_result(folder: Path, text: str) -> str:
    (folder / "made.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    return said(results.load, "made", folder)


def npz(content: dict | np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **content) if isinstance(content, dict) else np.save(stream, content)
    return stream.getvalue()
