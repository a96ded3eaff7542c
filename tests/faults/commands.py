"""What the faults meet: commands, run here or in a process of their own, on tiny weights."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from unittest.mock import patch

import torch

import hw2lib
from hw2lib.commands import cli
from hw2lib.evaluators import judge
from hw2lib.io.weights import save_weights
from hw2lib.models import dann_net
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.models.face_unet import TINY, FaceUNet

LIBRARY = Path(hw2lib.__file__).parents[1]
OLDER = "FAULTS_OLDER"  # names an older clone, whose commands are run instead of this one's
HW2 = [sys.executable, "-m", "hw2lib.commands.cli"]
LIMITS, SECONDS = (resource.RLIMIT_AS, (12 << 30, 12 << 30)), 120
TRAIN = ["train", "digits", "--data", "embedded", "--set", "steps=40", "batch_size=4"]


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
            chosen = {name: value for name, value in asdict(net.config).items() if value}
            header["architecture"] = chosen  # without what is off, and new to an older library
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


def made(argv: list) -> tuple[int, str]:
    """`told` by the library that is measured, this one or the older."""
    return _asked("told", argv) if os.environ.get(OLDER) else told(argv)


def apart(argv: list) -> tuple[int, str]:
    """`made` in a process of its own, which gets two minutes and 12 GiB."""
    if os.environ.get(OLDER):
        return _asked("apart", argv)
    with get_context("fork").Pool(1, resource.setrlimit, LIMITS) as pool:
        try:
            return pool.apply_async(told, (argv,)).get(SECONDS)
        except Exception as error:
            return 1, f"{type(error).__name__}: {error}"


@cache
def _other() -> subprocess.Popen:
    """A process with the older library, for a fork of this one would have this one's."""
    path = os.pathsep.join([os.environ[OLDER], str(Path(__file__).parents[1])])
    return subprocess.Popen(
        [sys.executable, "-c", "from faults.commands import answer; answer()"], text=True,
        env={**environment(), "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def _asked(how: str, argv: list) -> tuple[int, str]:
    question = [how, [str(a) for a in argv], os.getcwd(), dict(os.environ)]
    print(json.dumps(question), file=_other().stdin, flush=True)
    return tuple(json.loads(_other().stdout.readline()))


def answer() -> None:
    """What the process with the older library does: a line for each line."""
    assert Path(os.environ[OLDER]) == LIBRARY, f"this is {LIBRARY}"
    torch.set_num_threads(1)
    for line in sys.stdin:
        how, argv, folder, variables = json.loads(line)
        with contextlib.chdir(folder), patch.dict(os.environ, variables, clear=True):
            del os.environ[OLDER]
            print(json.dumps({"told": told, "apart": apart}[how](argv)), flush=True)


def begun(argv: list, folder: Path) -> ForkProcess:
    """A process that runs a command in a folder, silently. This library's is a fork, which has
    loaded all it needs: a kill meets the training, not the imports. The older one begins anew."""
    process = get_context("fork").Process(target=_run, args=(argv, folder), daemon=True)
    process.start()
    return process


def _run(argv: list, folder: Path) -> None:
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nothing, stream)
    argv, variables = [str(a) for a in argv], environment(folder)
    if os.environ.get(OLDER):
        os.execve(sys.executable, [*HW2, *argv], variables)
    os.environ.update(variables)
    sys.exit(cli.main(argv))


def environment(build: Path | None = None) -> dict[str, str]:
    """Variables of a command that runs in a process of its own, by this library or by an older."""
    library = os.environ.get(OLDER) or str(LIBRARY)
    more = {"HW2_BUILD": str(build)} if build else {}
    more["PYTHONSAFEPATH"] = "1"  # a library in the current folder does not come first
    return {**os.environ, **more, "OMP_NUM_THREADS": "1", "PYTHONPATH": library}
