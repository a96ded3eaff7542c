"""Lists of images, and folders of them."""

from __future__ import annotations

from pathlib import Path

from faults.inputs.base import CLASSIFY, Case, Maker, huge_png, picture

LIST = f"{CLASSIFY} --weights {{w}}/dann.safetensors --list {{d}}/l.csv"


def lines(name: str, text: str) -> Maker:
    def make(d: Path, w: Path) -> None:
        picture(d / "i/a.png")
        (d / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    return make


def cases() -> list[Case]:
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
        "missing": ("image_name\na.png\nz.png", "l.csv names z.png, which is not in"),
        "missing below": ("image_name\nb/z.png", "l.csv names b/z.png, which is not in"),
        "UTF-16": ("\udcff\udcfei\0", "begins"),
        "no name": ('image_name,label\n"",3', "line 2"),
    }
    return [
        *(Case(f"list {name}", LIST, (words,), lines("l.csv", text))
          for name, (text, words) in bad.items()),
        Case("list is empty text", LIST.replace("{d}/l.csv", "{empty}"), ("path ''", "it is empty"),
             lambda d, w: picture(d / "i/a.png")),
        Case("list is missing", LIST, ("l.csv is missing",), lambda d, w: picture(d / "i/a.png")),
        Case("list of nobody", LIST.replace("{d}/l.csv", "~nobodyx/l.csv"), ("~nobodyx", "in full"),
             lambda d, w: picture(d / "i/a.png")),
        Case("list without images", LIST, ("i does not exist",),
             lambda d, w: (d / "l.csv").write_text("image_name\na.png")),
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
