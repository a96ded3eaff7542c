"""Disks that are full, and disks that are read only."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from faults.commands import LIBRARY, TRAIN, environment, told
from faults.inputs.base import picture
from helpers.files import make_mnist, make_photos

# What a shell does before the commands: a file system of their own, where that is allowed, with a
# folder for each of them.
MOUNT = "mount -t tmpfs -o size=1m none . && cd . && mkdir {} && "
FULL = MOUNT + "head -c 2M /dev/zero >full 2>/dev/null; "
READ_ONLY = MOUNT + "mount -o remount,ro none . && cd . && "


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
    commands = {name: [str(a) for a in argv]
                for name, argv in disk_commands(folder, weights).items()}  # fmt: skip
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    may_mount = shutil.which("unshare") and not subprocess.call(mount, stderr=subprocess.DEVNULL)
    disk = folder / "disk"
    disk.mkdir()
    run = [sys.executable, "-m", "faults.disks"]
    if may_mount:
        script = before.format(shlex.join(commands)) + 'exec "$@"'
        run = ["unshare", "-rm", "sh", "-c", script, "sh", *run]
    else:
        for name in commands:
            (disk / name).mkdir(mode=0o755 if before == FULL else 0o555)
    variables = environment(folder)
    path = os.pathsep.join([variables["PYTHONPATH"], str(LIBRARY / "tests")])
    done = subprocess.run(
        run, cwd=disk, input=json.dumps(commands), capture_output=True, text=True, check=True,
        env={**variables, "PYTHONPATH": path, "HW2_DATA": str(folder / "data"),
             "HW2_BUILD": "build", "JOBLIB_MULTIPROCESSING": "0"},
        preexec_fn=None if may_mount else _held_back[before],
    )  # fmt: skip
    wrong = []
    for name, (status, lines, left) in json.loads(done.stdout).items():
        named = len(lines) == 1 and "reading or writing" not in lines[0]
        if status != 2 or not named or left:
            wrong.append(f"{name}: status {status}, {lines[-3:]}, left {left}")
    return wrong, len(commands)


def answer() -> None:
    """What the process on the disk does: each command in the folder of its name. Prints, for each,
    its exit status, its lines on standard error and the files that it left."""
    torch.set_num_threads(1)
    found = {}
    for name, argv in json.load(sys.stdin).items():
        with contextlib.chdir(name):
            status, err = told(argv)
            lines = [line for line in err.splitlines() if line and "it/s" not in line]  # bars
            left = [
                str(file) for file in Path().rglob("*") if file.is_file() and file.stat().st_size
            ]
            found[name] = status, lines, left
    print(json.dumps(found))


def _no_root() -> None:
    """Give up the right to write where nobody may (CAP_DAC_OVERRIDE, by PR_CAPBSET_DROP)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


_held_back = {
    FULL: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
    READ_ONLY: _no_root,
}

if __name__ == "__main__":
    answer()
