"""Files of data sets that are none, and places of data that are none."""

from __future__ import annotations

import bz2
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faults.inputs.base import TRAIN, Case, Maker, huge_png, picture
from helpers.files import make_course, save

Lines = Callable[[list[str]], list[str]]


def cells(column: int, value: str) -> Lines:
    """The second line with one cell changed."""
    return lambda line: [*line[:column], value, *line[column + 1 :]]


USPS: dict[str, tuple[Lines, str]] = {
    "class 1.7": (cells(0, "1.7"), "line 2 has a class"),
    "class 11": (cells(0, "11"), "line 2 has a class"),
    "class nan": (cells(0, "nan"), "line 2 has a class"),
    "a text": (cells(0, "x"), "line 2 is not a class and 256 values"),
    "value nan": (cells(3, "3:nan"), "line 2 has a value"),
    "value 1e30": (cells(3, "3:1e30"), "line 2 has a value"),
    "falling indices": (cells(3, "2:0"), "line 2 has other indices"),
    "one value less": (lambda line: line[:-1], "line 2 is not"),
    "one value more": (lambda line: [*line, "257:0"], "line 2 is not"),
    "a class alone": (lambda line: line[:1], "line 2 has other indices"),
}


def usps(change: Lines) -> bytes:
    """A file of USPS whose second line is changed."""
    line = ["1", *(f"{k}:-1" for k in range(1, 257))]
    return bz2.compress("\n".join(" ".join(one) for one in (line, change(line))).encode())


def npz(content: dict | np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **content) if isinstance(content, dict) else np.save(stream, content)
    return stream.getvalue()


def _claims(n: int) -> bytes:
    """An npz whose first array says that it has n bytes, and has none."""
    header, stream = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (n,)}
    )
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("x.npy", header.getvalue())
    return stream.getvalue()


def _crops(**labels: object) -> bytes:
    return npz({"x": np.zeros((3, 32, 32, 3), np.uint8), "y": np.array(labels["y"])})


SVHN = {  # an npz, and words of its line
    "an npy": (npz(np.zeros(3)), "cannot be read"),
    "300 TB": (_claims(3 * 10**14), "cannot be read"),
    "no labels": (npz({"x": np.zeros((3, 32, 32, 3), np.uint8)}), "cannot be read"),
    "label 10": (_crops(y=[1, 2, 10]), "the label 10 for its crop 2; 0 to 9"),
    "label -1": (_crops(y=[-1, 2, 1]), "the label -1 for its crop 0; 0 to 9"),
    "label 1.5": (_crops(y=[1, 1.5, 1]), "the label 1.5 for its crop 1; 0 to 9"),
    "label nan": (_crops(y=[1, 2, np.nan]), "the label nan for its crop 2; 0 to 9"),
    "a text": (_crops(y=["1", "2", "x"]), "the label 1 for its crop 0; 0 to 9"),
    "fewer labels": (_crops(y=[1, 2]), "and 2 labels"),
}


def tar(d: Path, name: str, file: Path) -> None:
    """The tar of faces with one member."""
    (d / "data/faces").mkdir(parents=True)
    with tarfile.open(d / "data/faces/celeba64.tar", "w") as stream:
        stream.add(file, name)


def _faces(name: str, side: int) -> Maker:
    def make(d: Path, w: Path) -> None:
        if side > 10_000:
            huge_png(d / "a.png", side)
        else:
            picture(d / "a.png", (side, side))
        tar(d, name, d / "a.png")

    return make


def _course(old: str = "", new: str = "") -> Maker:
    """Two of the course's digit domains, with a part of train.csv's text replaced."""

    def make(d: Path, w: Path) -> None:
        for name in ("mnistm", "usps"):
            table = make_course(d / "data", name) / "train.csv"
            table.write_text(table.read_text().replace(old, new) if old else table.read_text())

    return make


def cases() -> list[Case]:
    here = (("HW2_DATA", "{d}/data"), ("HW2_BUILD", "{d}/data"))
    auto = TRAIN.replace("--data embedded ", "")
    faces = auto.replace("digits", "faces") + " save_every_s=1"
    course = auto.replace("--out", "--data course --out")
    return [
        Case("HW2_DATA is missing", auto, ("HW2_DATA", "data is no folder"), env=here),
        Case("HW2_DATA is a file", auto, ("HW2_DATA", "data is no folder"),
             lambda d, w: (d / "data").touch(), here),
        Case("HW2_DATA leads to itself", auto, ("HW2_DATA", "leads nowhere"),
             lambda d, w: (d / "data").symlink_to(d / "data"), here[:1]),
        Case("HW2_DATA of nobody", "data status", ("~nobodyx", "in full"),
             env=(("HW2_DATA", "~nobodyx/data"),)),
        Case("fetch over another file", "data fetch svhn", ("train_32x32.mat", "remove it"),
             lambda d, w: save(d / "data/SVHN/train_32x32.mat", b"x"), here),
        Case("fetch faces", "data fetch faces", ("CelebA", "celeba64.tar"), env=here),
        Case("a huge face", faces, ("celeba64.tar", "a.png", "exceeds limit"),
             _faces("a.png", 60_000), here),
        Case("a small face", faces, ("celeba64.tar", "a.png is 9x9 pixels"), _faces("a.png", 9),
             here),
        Case("companions for faces", faces, ("celeba64.tar holds no images",),
             _faces("./__MACOSX/._a.png", 64), here),
        Case("a tar that is none", faces, ("celeba64.tar", "cannot be read"),
             lambda d, w: save(d / "data/faces/celeba64.tar", b"x"), here),
        Case("a course without MNIST-M", course, ("mnistm", "train.csv is missing"),
             lambda d, w: (d / "data").mkdir(), here),
        Case("a label of the course", course, ("train.csv line 2", "0 to 9"),
             _course("train0.png,0", "train0.png,11"), here),
        Case("a picture of the course", course, ("gone.png is missing",),
             _course("train0.png", "gone.png"), here),
        Case("faces of no course", "sample-faces course {d}/o", ("noise is missing",), env=here),
        Case("a course's list", "classify course {d}/o.csv --target usps --list all",
             ("list 'all' is unknown", "train, val, test"), _course(), here),
    ]  # fmt: skip
