"""The console command: each command on tiny weights, and one clear line for each mistake."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from faults.commands import make_weights
from helpers.lines import fails, run
from PIL import Image
from tqdm import tqdm

from hw2lib.commands import folders
from hw2lib.errors import UserError
from hw2lib.io import weights as weights_files
from hw2lib.io.paths import NOISE
from hw2lib.io.weights import save_weights

KINDS = {"digits": "digit_unet", "faces": "face_unet"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights"))


def test_output_folder_that_is_below_a_file(capsys, weights, tmp_path):
    (tmp_path / "file").write_text("")
    file = weights / "digits.safetensors"
    line = fails(capsys, "sample-digits", tmp_path / "file" / "out", "--weights", file)
    assert "cannot be written" in line


def test_weights_of_another_kind(capsys, weights, tmp_path):
    file = weights / "faces.safetensors"
    line = fails(capsys, "sample-digits", tmp_path / "o", "--weights", file)
    assert "face_unet" in line
    assert "digit_unet" in line
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    "option, value, right",
    [
        ("--per-digit", 0, "a whole number from 1"), ("--steps", 0, "a whole number from 1"),
        ("--steps", "x", "a whole number from 1"),
        ("--seed", -1, "a whole number from 0 to 2^32 - 1"),
        ("--seed", 2**32, "a whole number from 0 to 2^32 - 1"), ("--w", "nan", "a number"),
        ("--w", "inf", "a number"),
    ],
)  # fmt: skip
def test_values_out_of_range(capsys, tmp_path, option, value, right):
    line = fails(capsys, "sample-digits", tmp_path / "o", f"{option}={value}")
    assert f"{option}: {value} is not allowed; {right}" in line


@pytest.mark.parametrize("kind", ["digits", "faces"])
@pytest.mark.parametrize(
    "architecture",
    [{"widths": [7, 9]}, {"widths": [0, 0]}, {"widths": [-8, 16]}, {"widths": [10**9, 10**9]},
     {"widths": "wide"}, {"widths": [16, 8.5]}, {"blocks": -1}, {"blocks": "x"},
     {"blocks": [1] * 3}],
)  # fmt: skip
def test_weights_of_an_impossible_architecture(capsys, weights, tmp_path, kind, architecture):
    state, header = weights_files.load_weights(weights / f"{kind}.safetensors", KINDS[kind])
    header["architecture"] |= architecture
    file = save_weights(tmp_path / "w.safetensors", state, header)
    first = [NOISE, tmp_path / "o"] if kind == "faces" else [tmp_path / "o"]
    line = fails(capsys, f"sample-{kind}", *first, "--weights", file)
    assert str(file) in line and "architecture" in line


def test_unknown_target(capsys, tmp_path):
    line = fails(capsys, "classify", tmp_path, tmp_path / "o.csv", "--target", "svnh")
    assert "svnh" in line
    assert "usps" in line


def test_judge_prints_accuracy_and_confusion(capsys, weights, tmp_path):
    for digit in range(10):
        Image.new("RGB", (28, 28), (20 * digit, 5, 9)).save(tmp_path / f"{digit}_001.png")
    file = weights / "judge.safetensors"
    status, out, _ = run(capsys, "judge", tmp_path, "--weights", file)
    assert status == 0
    assert "confusion" in out
    assert "10 real test images" in out


def test_judge_empty_folder(capsys, weights, tmp_path):
    line = fails(capsys, "judge", tmp_path, "--weights", weights / "judge.safetensors")
    assert "is empty" in line


@pytest.mark.parametrize(
    "argv, word",
    [
        (["train", "digits", "--preset", "fast"], "quick"),
        (["train", "faces", "--preset", "fast"], "full"),
        (["train", "judge", "--preset", "fast"], "quick"),
        (["train", "dann", "--preset", "fast"], "quick"),
        (["train", "dann", "--target", "cifar"], "usps"),
        (["train", "digits", "--set", "stepz=4"], "steps"),
        (["train", "digits", "--set", "steps=many"], "a whole number"),
        (["train", "digits", "--set", "steps"], "key=value"),
        (["train", "dann", "--set", "stepz=4"], "steps"),
        (["train", "digits", "--data", "imagenet"], "embedded"),
        (["train", "digits", "--target", "svhn"], "--target is for dann alone"),
        (
            ["train", "dann", "--data", "embedded", "--set", "lr=-1"],
            "lr=-1 is not allowed; a number above 0",
        ),
        (["train", "planes"], "digits"),
        (["data", "fetch", "faces"], "CelebA"),
        (["nonsense"], "judge"),
        ([], "COMMAND"),
    ],
)
def test_mistakes_end_in_one_line(capsys, argv, word):
    assert word in fails(capsys, *argv)


def test_train_digits_writes_weights_that_sample(capsys, tmp_path):
    out = tmp_path / "run"
    more = ("--data", "embedded", "--out", out, "--set", "steps=2", "batch_size=4")
    status, text, _ = run(capsys, "train", "digits", *more)
    assert status == 0
    assert "mnistm: " in text.splitlines()[0]
    file = out / "weights.safetensors"
    few = ("--per-digit", 1, "--steps", 1, "--weights", file)
    assert run(capsys, "sample-digits", tmp_path / "s", *few)[0] == 0
    assert "--resume" in fails(capsys, "train", "digits", *more)


def test_data_status_names_every_domain(capsys):
    status, out, _ = run(capsys, "data", "status")
    assert status == 0
    for name in ("mnistm", "svhn", "usps", "mnist", "faces"):
        assert name in out


def process(*argv, **how):
    command = [sys.executable, "-m", "hw2lib.commands.cli", *map(str, argv)]
    env = {**os.environ, **how.pop("env", {})}
    return subprocess.run(command, capture_output="stdout" not in how, text=True, env=env, **how)


def test_a_full_or_closed_output_and_one_of_another_encoding(tmp_path, images_of_a_strange_name):
    with open("/dev/full", "w") as full:
        done = process("data", "status", stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space" in done.stderr
    there, gone = os.pipe()
    os.close(there)
    done = process("data", "status", stdout=gone, stderr=subprocess.PIPE)
    os.close(gone)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
    done = process("data", "status", stdout=None, stderr=subprocess.PIPE,
                   preexec_fn=lambda: os.close(1))  # fmt: skip  # as a shell's >&-
    assert (done.returncode, done.stderr) == (0, "")
    argv = images_of_a_strange_name
    done = process(*argv, env={"PYTHONIOENCODING": "ascii:strict", "OMP_NUM_THREADS": "1"})
    assert (done.returncode, done.stderr) == (0, "") and "\\xe9" in done.stdout


@pytest.fixture
def images_of_a_strange_name(tmp_path):
    (tmp_path / "i").mkdir()
    Image.new("L", (28, 28)).save(tmp_path / "i" / "a.png")
    return "classify", tmp_path / "i", tmp_path / "\u00e9.csv", "--target", "usps"


def test_a_tilde_of_the_shell_is_a_home_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    few = ("--data", "embedded", "--set", "steps=1", "batch_size=2")
    assert run(capsys, "train", "digits", "--out=~/run", *few)[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home/run/weights.safetensors").is_file()


def test_a_data_folder_that_is_missing_trains_on_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_DATA", str(tmp_path / "nowhere"))
    for what in ("digits", "faces", "judge", "dann"):
        assert "nowhere is no folder" in fails(capsys, "train", what, "--out", tmp_path / "o")
    assert list(tmp_path.iterdir()) == []
    assert "does not exist" in run(capsys, "data", "status")[1]


def test_true_is_written_as_python_writes_it(capsys, tmp_path):
    more = ("--data", "embedded", "--set", "steps=1", "batch_size=2", "exchange=True")
    assert run(capsys, "train", "digits", "--out", tmp_path / "r", *more)[0] == 0


def test_a_complaint_stands_below_the_bar(capsys, monkeypatch, tmp_path):
    def stop(*_):
        tqdm(total=3).update()
        raise UserError("stopped")

    monkeypatch.setattr(folders, "digits_into", stop)
    status, _, err = run(capsys, "sample-digits", tmp_path / "o")
    assert status == 2 and "1/3" in err and err.endswith("\nhw2: error: stopped\n")


def test_memory_that_is_not_there_is_one_line(capsys, monkeypatch, tmp_path):
    def greedy(*_):
        torch.empty(2**55)

    monkeypatch.setattr(folders, "digits_into", greedy)
    assert "out of memory" in fails(capsys, "sample-digits", tmp_path / "o")


def test_a_fault_of_ours_is_not_hidden(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "digits_into", lambda *_: [].pop())
    with pytest.raises(IndexError):
        run(capsys, "sample-digits", tmp_path / "o")
