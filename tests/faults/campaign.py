"""What breaks programs: kills, full disks, lying and damaged files. Everything follows from a seed.

    PYTHONPATH=tests:. python -m faults.campaign             # the long form; prints one table
    PYTHONPATH=tests:. python -m faults.campaign 3 100       # 3 chains, 100 of each kind of file

With --record the table becomes data/results/faults.json, which the book's page shows.

Expected everywhere: one line that names the file or parameter, what is wrong and what would be
right, exit status 2, nothing lost. The tests beside run the short form of the same functions.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from faults import inputs
from faults.inputs.base import fault, picture

from hw2lib.commands import cli
from hw2lib.commands.classify import classify, listed
from hw2lib.datasets import faces
from hw2lib.errors import UserError
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg, ddim
from hw2lib.io import results
from hw2lib.io.weights import save_weights
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models import dann_net
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.models.face_unet import TINY, FaceUNet
from hw2lib.training import Checkpoint, Fitted, TrainConfig

ROOT = Path(__file__).resolve().parents[2]
DISKS = 3  # commands that meet a full disk
TRAIN = ["train", "digits", "--data", "embedded", "--set", "steps=40", "batch_size=4"]


# --- what the campaign works on -------------------------------------------------------------------


def make_weights(folder: Path) -> Path:
    """Small untrained networks of each kind, as DIGITS.safetensors, FACES.., JUDGE.., DANN.. ."""
    torch.manual_seed(0)
    of = {"n_train_steps": 1000, "prediction": "v"}
    digits, faces_ = DigitUNet(DigitConfig(widths=(8, 16), c_condition=16)), FaceUNet(TINY)
    torch.nn.init.normal_(digits.last.weight, std=0.1)  # else it is 0, and no weight matters
    accuracy = {"mean": 0.5, "n": 10, "low": 0.2, "high": 0.8}
    for name, net, header in (
        ("digits", digits, {"kind": "digit_unet", "schedule": "cosine", **of}),
        ("faces", faces_, {"kind": "face_unet", "schedule": "linear", **of}),
        ("judge", judge.Judge(), {"kind": "judge", "test_accuracy": accuracy}),
    ):
        if hasattr(net, "config"):
            header["architecture"] = asdict(net.config)
        save_weights(folder / f"{name}.safetensors", net.state_dict(), header)
    dann_net.save(dann_net.Network(), folder / "dann.safetensors", target="usps")
    return folder


def told(argv: list) -> tuple[int, str]:
    """(exit status, standard error) of a command."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main([str(a) for a in argv])
    err.seek(0)
    return status, err.read()


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HW2_BUILD": str(folder / "build"), "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT)}  # fmt: skip


# --- kills ----------------------------------------------------------------------------------------


def kills(folder: Path, chains: int, seed: int = 0) -> tuple[int, int]:
    """(chains that end with the bytes of a run that was left alone, kills): each chain starts a
    training, kills it at random moments and resumes it until it ends."""
    rng, killed, right = random.Random(seed), 0, 0
    whole = folder / "whole"
    assert told([*TRAIN, "--out", whole])[0] == 0
    for chain in range(chains):
        out = folder / f"chain-{chain}"
        command = [sys.executable, "-m", "hw2lib.commands.cli", *TRAIN, "save_every_s=0",
                   "--out", str(out), "--resume"]  # fmt: skip
        for _ in range(3):
            process = subprocess.Popen(
                command, env=environment(folder), cwd=folder,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            while process.poll() is None and not (out / "checkpoint.pt").exists():
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 2))
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            process.wait()
            killed += process.returncode != 0
        assert told([*TRAIN, "--out", out, "--resume"])[0] == 0
        left = sorted(p.name for p in out.iterdir())
        alike = _tensors(out) == _tensors(whole)
        right += alike and left == ["checkpoint.pt", "weights.safetensors"]
    return right, killed


def _tensors(out: Path) -> bytes:
    """The weights without their header, which holds the seconds."""
    data = (out / "weights.safetensors").read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


# --- a full disk ----------------------------------------------------------------------------------


def full_disks(folder: Path, weights: Path) -> list[str]:
    """The commands that end otherwise than they should where no file may grow beyond some bytes."""
    images = folder / "images"
    picture(images / "a.png")
    commands = {
        "train digits": [*TRAIN, "steps=2", "--out", "run"],
        "sample-digits": ["sample-digits", "s", "--per-digit", 1, "--steps", 1, "--weights",
                          weights / "digits.safetensors"],
        "classify": ["classify", images, "o.csv", "--target", "usps", "--weights",
                     weights / "dann.safetensors"],
    }  # fmt: skip
    assert len(commands) == DISKS
    wrong = []
    for name, argv in commands.items():
        where = folder / name.replace(" ", "-")
        where.mkdir()
        limit = 10 if name in ("classify", "sample-digits") else 20_000
        done = subprocess.run(
            [sys.executable, "-m", "hw2lib.commands.cli", *map(str, argv)], cwd=where,
            env=environment(folder), capture_output=True, text=True,
            preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
        )  # fmt: skip
        lines = [line for line in done.stderr.splitlines() if line and "it/s" not in line]  # bars
        left = [p for p in where.rglob("*") if p.is_file() and p.stat().st_size]
        named = len(lines) == 1 and "reading or writing" not in lines[0]
        if done.returncode != 2 or not named or left:
            wrong.append(f"{name}: status {done.returncode}, {lines[-3:]}, left {left}")
    return wrong


# --- memory ---------------------------------------------------------------------------------------


PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def peak(argv: list, folder: Path) -> int:
    """MiB that a command takes at most. A small process starts it: what a process has at most
    counts the memory of the one that it was forked from."""
    command = [sys.executable, "-m", "hw2lib.commands.cli", *map(str, argv)]
    done = subprocess.run([sys.executable, "-c", PEAK, *command], cwd=folder, text=True, check=True,
                          env=environment(folder), stdout=subprocess.PIPE)  # fmt: skip
    return int(done.stdout) // 1024


def huge_images(folder: Path, n: int) -> list:
    """The command that classifies n pictures of 8000x8000 pixels with transparency."""
    first = picture(folder / "huge" / "0.png", (8000, 8000), "RGBA")
    for k in range(1, n):
        os.link(first, folder / "huge" / f"{k}.png")
    return ["classify", folder / "huge", folder / "huge.csv", "--target", "usps"]


def ceilings(folder: Path) -> dict[str, int]:
    """MiB that the commands take at most, by what they do."""
    first = picture(folder / "small" / "0.png")
    for k in range(1, 20_000):
        os.link(first, folder / "small" / f"{k}.png")
    torch.save(FaceUNet().state_dict(), folder / "UNet.pt")
    (folder / "noise").mkdir()
    torch.save(torch.randn(1, 3, 256, 256), folder / "noise" / "00.pt")
    commands = {
        "sampling 1,000 digits": ["sample-digits", folder / "digits"],
        "classifying 20,000 small images": ["classify", folder / "small", folder / "s.csv",
                                            "--target", "usps"],
        "classifying 50 huge images": huge_images(folder, 50),
        "one course-size face": ["sample-faces", folder / "noise", folder / "faces", "--steps", 2,
                                 "--weights", folder / "UNet.pt"],
    }  # fmt: skip
    return {name: peak(argv, folder) for name, argv in commands.items()}


# --- damaged files --------------------------------------------------------------------------------


def mutations(folder: Path, n: int, seed: int = 0) -> dict[str, list[str]]:
    """For each kind of file: what came of `n` copies with bytes turned, cut or doubled, other than
    that it was read or refused by a UserError."""
    rng, wrong = random.Random(seed), {}
    for kind, (whole, read) in _kinds(folder).items():
        wrong[kind], file = [], folder / f"mutated{whole.suffix}"
        content = whole.read_bytes()
        for k in range(n):
            file.write_bytes(_mutated(content, rng))
            try:
                read(file)
            except UserError as error:
                if "\n" in str(error):
                    wrong[kind].append(f"{k}: several lines: {error}")
            except Exception as error:
                wrong[kind].append(f"{k}: {type(error).__name__}: {error}")
    return wrong


def _mutated(content: bytes, rng: random.Random) -> bytes:
    data, front = bytearray(content), rng.random() < 0.7  # headers stand in front
    for _ in range(rng.choice([1, 1, 2, 8])):
        where = rng.randrange(min(len(data), 4096 if front else 2**62))
        how = rng.randrange(4)
        if how == 0:
            data[where] = rng.randrange(256)
        elif how == 1:
            data[where] ^= 1 << rng.randrange(8)
        elif how == 2:
            del data[where : where + rng.randrange(1, 9)]
        else:
            data[where:where] = data[where : where + rng.randrange(1, 9)]
    return bytes(data if rng.random() < 0.9 else data[: rng.randrange(len(data) + 1)])


def _kinds(folder: Path) -> dict:
    """kind -> (a whole file, what reads it)."""
    weights = make_weights(folder)
    torch.save(torch.randn(1, 3, 8, 8), folder / "00.pt")
    torch.save(torch.randn(1, 3, 8, 8), folder / "old.pt", _use_new_zipfile_serialization=False)
    for name in "ab":
        picture(folder / "picture" / f"{name}.png")
    (folder / "list.csv").write_text("image_name,label\n" + "a.png,1\nb.png,2\n")
    cfg, net = TrainConfig(steps=2), torch.nn.Linear(3, 2)

    def fitted() -> Fitted:
        optimizer = torch.optim.AdamW(net.parameters())
        return Fitted(net, torch.nn.Linear(3, 2), optimizer, torch.Generator())

    Checkpoint(folder / "checkpoint.pt", cfg, {}).save(fitted())
    entry = accuracy_metric([torch.tensor([True, False])])
    results.write("made", preset="quick", data={"source": "embedded", "sha256": {}}, seeds=[0],
                  seconds=1.0, records=[results.record("dann", "accuracy", entry)],
                  directory=folder)  # fmt: skip

    def label(file: Path) -> None:
        (folder / "picture" / "a.png").write_bytes(file.read_bytes())
        (folder / "o.csv").unlink(missing_ok=True)
        classify(folder / "picture", folder / "o.csv", "usps", weights / "dann.safetensors")

    def result(file: Path) -> None:
        results.load(file.stem, folder)

    return {
        "noises": (folder / "00.pt", faces.load_noise),
        "noises, torch's old format": (folder / "old.pt", faces.load_noise),
        "weights of digits": (weights / "digits.safetensors", cfdg.load_digit_unet),
        "weights of faces": (weights / "faces.safetensors", ddim.load_face_unet),
        "weights of classifiers": (weights / "dann.safetensors", dann_net.load),
        "weights of the judge": (weights / "judge.safetensors", judge.load),
        "images": (folder / "picture" / "a.png", label),
        "lists": (folder / "list.csv", lambda file: listed(file, folder / "picture")),
        "checkpoints": (
            folder / "checkpoint.pt", lambda file: Checkpoint(file, cfg, {}).restore(fitted()),
        ),
        "result files": (folder / "made.json", result),
    }  # fmt: skip


# --- the table ------------------------------------------------------------------------------------


def measure(folder: Path, chains: int, n: int) -> tuple[list[tuple[str, int, int]], dict, int]:
    """(what, how many ended as they should, of how many) of each fault; `ceilings`; kills.

    chains: of killed trainings; n: damaged copies of each kind of file.
    """
    weights = folder / "weights"
    weights.mkdir()
    make_weights(weights)
    right, killed = kills(folder, chains)
    rows = [("trainings killed at random moments", right, chains)]
    rows.append(("commands on a full disk", DISKS - len(full_disks(folder, weights)), DISKS))
    bad = [case for case in inputs.CASES if fault(case, folder, weights, told)]
    rows.append(("bad inputs", len(inputs.CASES) - len(bad), len(inputs.CASES)))
    (folder / "m").mkdir()
    for kind, faults in mutations(folder / "m", n).items():
        rows.append((f"damaged {kind}", n - len(faults), n))
    (folder / "c").mkdir()
    return rows, ceilings(folder / "c"), killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chains", type=int, nargs="?", default=20, help="killed trainings")
    parser.add_argument("copies", type=int, nargs="?", default=2000, help="of each kind of file")
    parser.add_argument("--record", action="store_true", help="write data/results/faults.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        os.environ["HW2_BUILD"] = f"{name}/build"
        rows, memory, killed = measure(Path(name), args.chains, args.copies)
    for what, right, of in rows:
        print(f"{what:<44} {right:>5} of {of:>5}")
    for what, most in memory.items():
        print(f"{'memory of ' + what:<44} {most:>10} MiB")
    if args.record:
        records = [results.record("made", "as_expected", metric([right], of, "number"), fault=what)
                   for what, right, of in rows]  # fmt: skip
        records += [results.record("taken", "memory", metric([most], 1, "MiB"), by=what)
                    for what, most in memory.items()]  # fmt: skip
        results.write("faults", preset="full", data={"source": "none", "sha256": {}}, seeds=[0],
                      seconds=time.perf_counter() - began, records=records,
                      settings={"kills": killed}, directory=results.RESULTS)  # fmt: skip


if __name__ == "__main__":
    main()
