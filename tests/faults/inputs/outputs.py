"""Places that cannot be written."""

from __future__ import annotations

from faults.inputs.base import CLASSIFY, TRAIN, Case, picture


def cases() -> list[Case]:
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
        Case("csv of 300 letters", CLASSIFY.replace("o.csv", "x" * 300) + " --weights "
             "{w}/dann.safetensors", ("/xxx", "File name too long"),
             lambda d, w: picture(d / "i/a.png")),
        Case("out is empty", "sample-digits {empty} --per-digit 1", ("path ''", "it is empty")),
        Case("run is empty", "train digits --data embedded --out {empty} --set steps=1",
             ("path ''", "it is empty")),
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
