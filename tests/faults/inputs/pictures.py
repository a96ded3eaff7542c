"""Pictures that are none, too large, or not the ones asked for."""

from __future__ import annotations

import os
from pathlib import Path

from faults.inputs.base import Case, Maker, huge_png, picture


def cases() -> list[Case]:
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
