"""Disks that are full, and disks that are read only."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from faults.commands import TRAIN, environment, told
from faults.inputs.base import picture
from helpers.files import make_mnist, make_photos

# What a shell does before the commands: a file system of its own, where that is allowed.
MOUNT = 'mount -t tmpfs -o size=1m none . && cd . && mkdir "$@" && '
FULL = MOUNT + "{ head -c 2M /dev/zero >full 2>/dev/null; true; }"
READ_ONLY = MOUNT + "mount -o remount,ro none . && cd ."


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
    commands, where = disk_commands(folder, weights), folder / f"disk {before == FULL}"
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(folder)]
    may_mount = shutil.which("unshare") and not subprocess.call(mount, stderr=subprocess.DEVNULL)
    first = ["unshare", "-rm"] if may_mount else []
    script = before if may_mount else 'mkdir "$@"'
    if not may_mount and before == READ_ONLY:
        script += ' && chmod 555 "$@"'
    script += ' && exec "$PYTHON" -m faults.disks "$COMMANDS"'
    where.mkdir()
    known = environment(folder)
    paths = [known["PYTHONPATH"], str(Path(__file__).parents[1])]
    done = subprocess.run(
        [*first, "sh", "-c", script, "sh", *commands], cwd=where, capture_output=True, text=True,
        env={**known, "HW2_DATA": str(folder / "data"), "HW2_BUILD": "build",
             "PYTHONPATH": os.pathsep.join(paths), "PYTHON": sys.executable,
             "COMMANDS": json.dumps(commands, default=str)},
        preexec_fn=None if may_mount else _held_back[before],
    )  # fmt: skip
    if done.returncode:
        return [done.stderr], len(commands)
    wrong = []
    for name, (status, err, left) in json.loads(done.stdout).items():
        lines = [line for line in err.splitlines() if line and "it/s" not in line]  # bars
        if status != 2 or len(lines) != 1 or "reading or writing" in lines[0] or left:
            wrong.append(f"{name}: status {status}, {lines[-3:]}, left {left}")
    return wrong, len(commands)


def run_all(commands: dict[str, list[str]]) -> dict[str, tuple[int, str, list[str]]]:
    """Of each command, in the folder of its name: exit status, standard error, what it left."""
    found, home = {}, Path.cwd()
    for name, argv in commands.items():
        os.chdir(home / name)
        status, err = told(argv)
        files = [str(f) for f in Path().rglob("*") if f.is_file() and f.stat().st_size]
        found[name] = status, err, files
    return found


def _no_root() -> None:
    """Give up the right to write where nobody may (CAP_DAC_OVERRIDE, by PR_CAPBSET_DROP)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


_held_back = {
    FULL: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
    READ_ONLY: _no_root,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run_all(json.loads(sys.argv[1]))))
