"""What breaks programs: kills, full disks, lying and damaged files. Everything follows from a seed.

    PYTHONPATH=tests:. python -m faults.campaign                     # prints one table
    PYTHONPATH=tests:. python -m faults.campaign --chains 3 --copies 100
    PYTHONPATH=tests:. python -m faults.campaign --only inputs disks

With --record NAME the table becomes the library's data/results/NAME.json, which the book's page
shows; with --only the other parts of that file stay. --before CLONE runs the commands of an older
clone on the same inputs, after it was seen to do the good ones; its rows stand beside this
library's. Files that are damaged byte by byte are read in this process, so by this library alone.

Expected everywhere: one line that names the file or parameter, what is wrong and what would be
right, exit status 2, nothing lost. The tests beside run the short form of the same functions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from faults import inputs
from faults.commands import HW2, OLDER, TRAIN, apart, begun, environment, made, make_weights
from faults.disks import FULL, READ_ONLY, disks
from faults.inputs.base import CLASSIFY, DIGITS, FACES, fault, noise, picture
from faults.inputs.base import TRAIN as ONE_STEP

from hw2lib.commands.classify import classify, listed
from hw2lib.datasets import faces
from hw2lib.errors import UserError
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg, ddim
from hw2lib.io import results
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models import dann_net
from hw2lib.models.face_unet import FaceUNet
from hw2lib.training import Checkpoint, Fitted, TrainConfig

PARTS = ("kills", "disks", "inputs", "memory", "files")
BEFORE = (*PARTS[:4], "speed")  # parts with an older clone
PAIRS = 12  # of runs whose speed is compared


# --- kills ----------------------------------------------------------------------------------------


def kills(folder: Path, chains: int, seed: int = 0) -> tuple[int, int]:
    """(chains that end with the bytes of a run that was left alone and with no other file, kills):
    each chain starts a training, kills it at random moments and resumes it until it ends."""
    rng, killed, right = random.Random(seed), 0, 0
    whole = folder / "whole"

    def ends(*argv: object) -> bool:
        process = begun([*TRAIN, *argv], folder)
        process.join()
        return process.exitcode == 0

    assert ends("--out", whole)
    for chain in range(chains):
        out = folder / f"chain-{chain}"
        command = [*TRAIN, "save_every_s=0", "--out", out, "--resume"]
        for _ in range(3):
            process = begun(command, folder)
            while process.is_alive() and not (out / "checkpoint.pt").exists():
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 2))
            if process.is_alive():
                os.kill(process.pid, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            process.join()
            killed += process.exitcode != 0
        ended = ends("--out", out, "--resume")
        left = sorted(p.name for p in out.iterdir())
        files = left == ["checkpoint.pt", "weights.safetensors"]
        right += ended and files and _tensors(out) == _tensors(whole)
    return right, killed


def _tensors(out: Path) -> bytes:
    """The weights without their header, which holds the seconds."""
    data = (out / "weights.safetensors").read_bytes()
    return data[8 + int.from_bytes(data[:8], "little") :]


# --- memory and time ------------------------------------------------------------------------------


USED = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)"""


def used(argv: list, folder: Path) -> tuple[int, float]:
    """(MiB that a command takes at most, seconds of processors). A small process starts it: what a
    process has at most counts the memory of the one that it was forked from."""
    done = subprocess.run([sys.executable, "-c", USED, *HW2, *map(str, argv)], cwd=folder,
                          text=True, check=True, env=environment(folder),
                          stdout=subprocess.PIPE)  # fmt: skip
    memory, seconds = done.stdout.split()
    return int(memory) // 1024, float(seconds)


def ratios(folder: Path, pairs: int) -> dict[str, list[float]]:
    """Seconds of processors that good inputs take in this library, each divided by those in the
    older in a run right beside it."""
    for name in ("now", "before"):
        (folder / name).mkdir()
    small_images(folder, 3000)
    commands = {
        "classifying 3,000 small images": ["classify", folder / "small", "s.csv", "--target",
                                           "usps"],
        "sampling 10 digits": ["sample-digits", "digits", "--per-digit", 1],
        "training for 40 steps": [*TRAIN, "--out", "run"],
    }  # fmt: skip
    found = {}
    for what, argv in commands.items():
        found[what] = []
        for pair in range(pairs):
            took = {}
            for name in ("now", "before")[:: (-1) ** pair]:  # who begins changes
                where = folder / name / f"{what} {pair}"
                where.mkdir()
                with patch.dict(os.environ, {} if name == "before" else {OLDER: ""}):
                    took[name] = used(argv, where)[1]
            found[what].append(took["now"] / took["before"])
    return found


def small_images(folder: Path, n: int) -> None:
    first = picture(folder / "small" / "0.png")
    for k in range(1, n):
        os.link(first, folder / "small" / f"{k}.png")


def huge_images(folder: Path, n: int) -> list:
    """The command that classifies n pictures of 8000x8000 pixels with transparency."""
    first = picture(folder / "huge" / "0.png", (8000, 8000), "RGBA")
    for k in range(1, n):
        os.link(first, folder / "huge" / f"{k}.png")
    return ["classify", folder / "huge", folder / "huge.csv", "--target", "usps"]


def ceilings(folder: Path) -> dict[str, int]:
    """MiB that the commands take at most, by what they do."""
    small_images(folder, 20_000)
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
    return {name: used(argv, folder)[0] for name, argv in commands.items()}


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


def check_good_inputs(folder: Path, weights: Path) -> None:
    """The commands of the bad inputs do what they should on good ones, else no answer counts."""
    picture(folder / "i" / "1_001.png")
    picture(folder / "g" / "00.png")
    noise(folder, torch.zeros(1, 3, 8, 8))
    commands = [
        f"{DIGITS} --weights {{w}}/digits.safetensors", FACES.replace("{d}/o", "{d}/f"), ONE_STEP,
        f"{CLASSIFY} --weights {{w}}/dann.safetensors", "compare-faces {d}/g {d}/g",
        "judge {d}/i --weights {w}/judge.safetensors",
    ]  # fmt: skip
    for command in commands:
        status, err = made([word.format(d=folder, w=weights) for word in command.split()])
        assert status == 0, f"{command}: status {status}: {err[-500:]}"


def measure(
    folder: Path, parts: Sequence[str], chains: int, n: int, before: bool = False
) -> tuple[list[dict], dict]:
    """Records of how many ended as they should, `n` in all, and of memory; the run's settings.

    chains: of killed trainings; n: damaged copies of each kind of file; before: of an older clone.
    """
    weights, records, settings = folder / "weights", [], {}
    rows = ("made_before", "taken_before") if before else ("made", "taken")
    weights.mkdir()
    make_weights(weights)
    check_good_inputs(folder / "good", weights)

    def row(what: str, right: int, of: int) -> None:
        print(f"{what:<44} {right:>5} of {of:>5}", flush=True)
        records.append(results.record(rows[0], "as_expected", metric([right], of, "number"),
                                      fault=what))  # fmt: skip

    if "kills" in parts:
        right, settings["kills_before" if before else "kills"] = kills(folder, chains)
        row("trainings killed at random moments", right, chains)
    for name, before in (("full", FULL), ("read-only", READ_ONLY)) if "disks" in parts else ():
        (folder / name).mkdir()
        wrong, of = disks(folder / name, weights, before)
        print(*wrong, sep="\n", end="\n" if wrong else "")
        row(f"commands on a {name} disk", of - len(wrong), of)
    if "inputs" in parts:
        found = {case.name: fault(case, folder, weights, apart) for case in inputs.CASES}
        wrong = [f"{name}: {what}" for name, what in found.items() if what]
        print(*wrong, sep="\n", end="\n" if wrong else "")
        row("bad inputs", len(found) - len(wrong), len(found))
    if "files" in parts:
        (folder / "m").mkdir()
        for kind, faults in mutations(folder / "m", n).items():
            row(f"damaged {kind}", n - len(faults), n)
    if "memory" in parts:
        (folder / "c").mkdir()
        for what, most in ceilings(folder / "c").items():
            print(f"{'memory of ' + what:<44} {most:>10} MiB", flush=True)
            records.append(results.record(rows[1], "memory", metric([most], 1, "MiB"), by=what))
    if "speed" in parts and before:
        (folder / "s").mkdir()
        for what, values in ratios(folder / "s", PAIRS).items():
            entry = metric(values, 1, "ratio")
            print(f"{'time of ' + what:<44} {entry['mean']:.3f} of before", flush=True)
            records.append(results.record("now_to_before", "time", entry, by=what))
    return records, settings


def record(name: str, records: list[dict], settings: dict, seconds: float) -> None:
    """Write the result file; records and settings of one that is there stay, but for these."""
    with contextlib.suppress(UserError):
        old, new = results.load(name, results.RESULTS), {results.said(r) for r in records}
        kept = [r for r in old["records"] if results.said(r) not in new]
        if kept:
            settings = {**old["settings"], **settings, "others": f"recorded at {old['commit']}"}
            records, seconds = records + kept, seconds + old["seconds"]
    results.write(name, preset="full", data={"source": "none", "sha256": {}}, seeds=[0],
                  seconds=seconds, records=records, settings=settings,
                  directory=results.RESULTS)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chains", type=int, default=20, help="killed trainings")
    parser.add_argument("--copies", type=int, default=2000, help="of each kind of file")
    parser.add_argument("--only", nargs="+", choices={*PARTS, *BEFORE}, help="parts")
    parser.add_argument("--before", type=Path, metavar="CLONE", help="whose commands are run")
    parser.add_argument("--record", metavar="NAME", help="write the library's data/results/NAME")
    args = parser.parse_args()
    parts = args.only or (BEFORE if args.before else PARTS)
    if other := set(parts) - set(BEFORE if args.before else PARTS):
        parser.error(f"{', '.join(other)}: speed needs --before, files goes without it")
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        os.environ["HW2_BUILD"] = f"{name}/build"
        if args.before:
            os.environ[OLDER] = str(args.before.resolve())
        records, settings = measure(Path(name), parts, args.chains, args.copies, bool(args.before))
    if args.before:
        head = ["git", "-C", str(args.before), "rev-parse", "HEAD"]
        settings["before"] = subprocess.check_output(head, text=True).strip()
    if args.record:
        record(args.record, records, settings, time.perf_counter() - began)


if __name__ == "__main__":
    main()
