"""Disks that are full, and disks that are read only."""

from __future__ import annotations

import ctypes
import resource
import shutil
import subprocess
from pathlib import Path

import torch
from faults.commands import HW2, TRAIN, environment
from faults.inputs.base import picture
from helpers.files import make_mnist, make_photos

# What a shell does before the command: a file system of its own, where that is allowed.
MOUNT = "mount -t tmpfs -o size=1m none . && cd . && "
FULL = MOUNT + "head -c 2M /dev/zero >full 2>/dev/null; "
READ_ONLY = MOUNT + "mount -o remount,ro none . && cd . && "
LIST = '"$@"; status=$?; find . -type f -size +0 ! -name full >&2; exit $status'


def disk_commands(folder: Path, weights: Path) -> dict[str, list]:
    """What writes: trainings, samples, a csv, and the cache of the data."""
    picture(folder / "images" / "a.png")
    (folder / "n").mkdir()
    torch.save(torch.zeros(1, 3, 8, 8), folder / "n" / "00.pt")
    make_mnist(folder / "data")
    make_photos(folder / "data")
    digits, faces_, dann = (weights / f"{n}.safetensors" for n in ("digits", "faces", "dann"))
    return {
        "train digits": [*TRAIN, "steps=2", "--out", "run"],
        "train dann": ["train", "dann", "--data", "embedded", "--target", "usps", "--rows", "dann",
                       "--out", "run", "--set", "steps=1"],
        "the data's cache": ["train", "judge", "--data", "public", "--set", "steps=1"],
        "sample-digits": ["sample-digits", "s", "--per-digit", 1, "--steps", 1, "--weights",
                          digits],
        "sample-faces": ["sample-faces", folder / "n", "s", "--steps", 1, "--weights", faces_],
        "classify": ["classify", folder / "images", "o.csv", "--target", "usps", "--weights", dann],
    }  # fmt: skip


def disks(folder: Path, weights: Path, before: str) -> tuple[list[str], int]:
    """The commands that end otherwise than they should on a disk that is FULL or READ_ONLY, and how
    many there are.

    Where no file system may be mounted, no file may grow beyond some bytes, or the folder is one
    that may not be written.
    """
    wrong, commands = [], disk_commands(folder, weights)
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    may_mount = shutil.which("unshare") and not subprocess.call(mount, stderr=subprocess.DEVNULL)
    for name, argv in commands.items():
        where = folder / f"{before == FULL} {name}"
        where.mkdir()
        first = ["unshare", "-rm"] if may_mount else []
        script = before + LIST if may_mount else LIST
        if not may_mount and before == READ_ONLY:
            where.chmod(0o555)
        done = subprocess.run(
            [*first, "sh", "-c", script, "sh", *HW2, *map(str, argv)],
            cwd=where, capture_output=True, text=True,
            env={**environment(folder), "HW2_DATA": str(folder / "data"), "HW2_BUILD": "build"},
            preexec_fn=None if may_mount else _held_back[before],
        )  # fmt: skip
        lines = [line for line in done.stderr.splitlines() if line and "it/s" not in line]  # bars
        named = len(lines) == 1 and "reading or writing" not in lines[0]
        if done.returncode != 2 or not named:
            wrong.append(f"{name}: status {done.returncode}, {lines[-3:]}")
    return wrong, len(commands)


def _no_root() -> None:
    """Give up the right to write where nobody may (CAP_DAC_OVERRIDE, by PR_CAPBSET_DROP)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


_held_back = {
    FULL: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
    READ_ONLY: _no_root,
}
