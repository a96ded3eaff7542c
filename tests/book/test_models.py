"""The page of the shipped models names the command that makes each file."""

import re

import pytest
import torch

from hw2lib.commands import cli
from hw2lib.io.paths import NOISE, ROOT, WEIGHTS

PAGE = (ROOT / "book" / "models.md").read_text()
TABLE = dict(re.findall(r"^\| `([^`]+)`[^|]* \| (.+) \|$", PAGE, re.M))


def test_every_shipped_file_stands_in_the_table():
    weights = {file.name for file in WEIGHTS.iterdir()}
    static = (ROOT / "book" / "_static").iterdir()
    drawn = {file.name for file in static if file.suffix not in (".css", ".svg")}  # by programs
    assert set(TABLE) == weights | {"noise/00.pt"} | drawn


@pytest.mark.parametrize("file", [file for file in TABLE if file.endswith(".safetensors")])
def test_each_command_can_be_called(file):
    command, name = re.match(r"`hw2 ([^`]+)`", TABLE[file]), file.removesuffix(".safetensors")
    if command:
        args = cli.build_parser().parse_args([*command[1].split(), "--preset", "full"])
        made = f"dann-{args.target}-{args.rows}" if args.what == "dann" else args.what
        assert (made, args.preset) == (name, "full")
    elif name in ("digits-student", "digits-longer"):
        assert TABLE[file] == f"`benchmarks/{name.replace('digits', 'digit').replace('-', '_')}.py`"
    else:
        assert TABLE[file] == f"`notebooks/dann.ipynb`, target {name.removeprefix('dann-')}"


@pytest.mark.parametrize("file", [file for file in TABLE if "`hw2" not in TABLE[file]])
def test_each_program_is_there(file):
    program = re.match(r"`([\w/.]+)`", TABLE[file])[1]
    assert program == "torch.randn" or (ROOT / program).is_file()


@pytest.mark.parametrize("k", range(10))
def test_each_noise_is_what_its_number_draws(k):
    noise = torch.load(NOISE / f"{k:02d}.pt", weights_only=True)
    again = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(k))
    assert torch.equal(noise, again) and "seed 0" in TABLE["noise/00.pt"]
