"""The console command: each command on tiny weights, and one clear line for each mistake."""

import os
import signal
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
import tqdm
from helpers.lines import fails, run
from PIL import Image

from hw2lib.commands import folders
from hw2lib.datasets import faces
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg, ddim
from hw2lib.experiments.recipe import N_TRAIN_STEPS
from hw2lib.io import weights as weights_files
from hw2lib.io.paths import NOISE
from hw2lib.io.weights import save_weights
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.models.face_unet import TINY, FaceUNet

KINDS = {"digits": "digit_unet", "faces": "face_unet"}
DIFFUSION = {"n_train_steps": N_TRAIN_STEPS, "prediction": "v"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of untrained tiny networks, one for each kind."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    digit = DigitUNet(DigitConfig(widths=(8, 16), c_condition=16))
    torch.nn.init.normal_(digit.last.weight, std=0.1)
    face = FaceUNet(TINY)
    accuracy = {"mean": 0.5, "n": 10, "low": 0.2, "high": 0.8}
    headers = {
        "digits": (digit, {"kind": "digit_unet", "schedule": "cosine", **DIFFUSION}),
        "faces": (face, {"kind": "face_unet", "schedule": "linear", **DIFFUSION}),
        "judge": (judge.Judge(), {"kind": "judge", "test_accuracy": accuracy}),
    }
    for name, (model, header) in headers.items():
        if name != "judge":
            header["architecture"] = asdict(model.config)
        save_weights(folder / f"{name}.safetensors", model.state_dict(), header)
    return folder


def sample(capsys, weights, out, *more):
    few = ("--per-digit", 2, "--steps", 2, "--weights", weights / "digits.safetensors")
    return run(capsys, "sample-digits", out, *few, *more)


def test_sample_digits_names_and_sizes(capsys, weights, tmp_path):
    status, out, _ = sample(capsys, weights, tmp_path / "a")
    assert status == 0
    assert "20 images" in out
    names = sorted(f.name for f in (tmp_path / "a").iterdir())
    assert names == sorted(f"{d}_{k:03d}.png" for d in range(10) for k in (1, 2))
    with Image.open(tmp_path / "a" / "3_001.png") as image:
        assert image.size == (28, 28)
        assert image.mode == "RGB"


def test_sample_digits_same_seed_same_bytes(capsys, weights, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert sample(capsys, weights, tmp_path / name, "--seed", seed)[0] == 0
    read = {n: (tmp_path / n / "7_002.png").read_bytes() for n in "abc"}
    assert read["a"] == read["b"]
    assert read["a"] != read["c"]


def test_sample_digits_never_writes_into_a_used_folder(capsys, weights, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    file = weights / "digits.safetensors"
    line = fails(capsys, "sample-digits", tmp_path, "--weights", file)
    assert "not empty" in line
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


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


def test_a_sample_does_not_depend_on_how_many_are_asked_for(capsys, weights, tmp_path):
    for count in (1, 2):
        assert sample(capsys, weights, tmp_path / str(count), "--per-digit", count)[0] == 0
    for digit in range(10):
        one, two = (tmp_path / n / f"{digit}_001.png" for n in "12")
        assert one.read_bytes() == two.read_bytes()
    seconds = {f.read_bytes() for f in (tmp_path / "2").iterdir()}
    assert len(seconds) == 20  # no noise comes twice


@pytest.fixture
def interruptible():
    """What a shell starts in the background may have to ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("command", ["sample-digits", "sample-faces"])
def test_an_interrupted_sampling_leaves_nothing(
    capsys, weights, tmp_path, monkeypatch, command, name
):
    module = cfdg if command == "sample-digits" else ddim
    monkeypatch.setattr(module, command.replace("-", "_"), lambda *a, **k: raise_signal(name))
    before = signal.getsignal(name)
    out = tmp_path / "new" / "out"
    file = weights / f"{command.split('-')[1]}.safetensors"
    first = [NOISE, out] if command == "sample-faces" else [out]
    status, _, err = run(capsys, command, *first, "--weights", file)
    assert (status, err) == (130, "hw2: error: interrupted\n")
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(name) == before


def raise_signal(name):
    signal.raise_signal(name)
    pytest.fail("the signal was lost")


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


def test_the_bar_of_sampled_faces_moves_with_each_step(capsys, weights, tmp_path, monkeypatch):
    bars = []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "delay": 0})
            bars.append(self)

    monkeypatch.setattr(folders, "tqdm", Bar)
    more = ("--weights", weights / "faces.safetensors", "--steps", 3)
    for batch, steps in ((("--batch", 4), 9), ((), 3)):  # 10 faces; 32 at a time by default
        bars.clear()
        out = tmp_path / str(steps)
        assert run(capsys, "sample-faces", NOISE, out, *batch, *more)[0] == 0
        assert (bars[0].n, bars[0].total) == (steps, steps)


def test_steps_above_T(capsys, weights, tmp_path):
    file = weights / "digits.safetensors"
    out = tmp_path / "o"
    line = fails(capsys, "sample-digits", out, "--steps", 1001, "--weights", file)
    assert "1 to 1000" in line
    assert list(tmp_path.iterdir()) == []


def test_sample_faces_one_png_for_each_noise(capsys, weights, tmp_path):
    noise = tmp_path / "noise"
    noise.mkdir()
    for k in range(2):
        x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(k))
        torch.save(x, noise / f"{k:02d}.pt")
    file = weights / "faces.safetensors"
    for eta in (0, 1):
        out = tmp_path / f"out{eta}"
        more = ("--weights", file, "--steps", 3, "--eta", eta)
        assert run(capsys, "sample-faces", noise, out, *more)[0] == 0
        assert sorted(f.name for f in out.iterdir()) == ["00.png", "01.png"]
    with Image.open(tmp_path / "out0" / "00.png") as image:
        assert image.size == (64, 64)


def noises(folder, sizes):
    folder.mkdir()
    for k, size in enumerate(sizes):
        x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(k))
        torch.save(x, folder / f"{k:02d}.pt")
    return folder


def pictures(folder):
    return {f.name: torch.from_numpy(np.array(Image.open(f))).int() for f in folder.iterdir()}


@pytest.mark.parametrize("eta", [0, 1])
def test_a_batch_of_faces_is_the_same_faces(capsys, weights, tmp_path, eta):
    """But for rounding: one grey level."""
    noise = noises(tmp_path / "noise", [(16, 24)] * 5)
    more = ("--weights", weights / "faces.safetensors", "--steps", 3, "--eta", eta)
    for batch in (1, 2, 8):
        out = tmp_path / str(batch)
        assert run(capsys, "sample-faces", noise, out, "--batch", batch, *more)[0] == 0
    one = pictures(tmp_path / "1")
    assert len(one) == 5 and one["00.png"].shape == (16, 24, 3)
    for batch in ("2", "8"):
        other = pictures(tmp_path / batch)
        assert other.keys() == one.keys()
        assert all((other[name] - one[name]).abs().max() <= 1 for name in one)


def test_noises_of_several_sizes_one_by_one_only(capsys, weights, tmp_path):
    noise = noises(tmp_path / "noise", [(16, 16), (24, 16)])
    more = ("--weights", weights / "faces.safetensors", "--steps", 2)
    assert run(capsys, "sample-faces", noise, tmp_path / "a", *more)[0] == 0
    assert pictures(tmp_path / "a")["01.png"].shape == (24, 16, 3)
    line = fails(capsys, "sample-faces", noise, tmp_path / "b", "--batch", 2, *more)
    assert "00.pt 16x16 but 01.pt 24x16; --batch 1 is right" in line
    assert not (tmp_path / "b").exists()


def grey(folder, **values):
    folder.mkdir(exist_ok=True)
    for name, value in values.items():
        Image.new("RGB", (8, 6), (value,) * 3).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(("value", "status"), [(104, 0), (105, 1)])
def test_compare_faces_prints_each_error_and_the_mean(capsys, tmp_path, value, status):
    """Squares of 4 or 5, and of 3: means below and above the limit of 13.5."""
    reference = grey(tmp_path / "gt", a=100, b=100)
    ours = grey(tmp_path / "out", a=value, b=103)
    found, out, _ = run(capsys, "compare-faces", ours, reference, "--limit", 13.5)
    squares = [(value - 100) ** 2, 9]
    lines = [line.split() for line in out.splitlines()]
    assert lines[:2] == [["a.png", f"{squares[0]:.4f}"], ["b.png", "9.0000"]]
    assert lines[2][:2] == ["mean", f"{sum(squares) / 2:.4f}"]
    assert (found, lines[2][2]) == (status, "failed," if status else "passed,")


def test_compare_faces_names_what_is_wrong(capsys, tmp_path):
    reference, ours = grey(tmp_path / "gt", a=1, b=2), grey(tmp_path / "out", a=1)
    (tmp_path / "none").mkdir()
    assert "b.png is missing" in fails(capsys, "compare-faces", ours, reference)
    assert "holds no .png" in fails(capsys, "compare-faces", ours, tmp_path / "none")
    assert "does not exist" in fails(capsys, "compare-faces", tmp_path / "x", reference)
    Image.new("RGB", (8, 8)).save(ours / "b.png")
    line = fails(capsys, "compare-faces", ours, reference)
    assert "b.png is 8x8 pixels; its reference is 8x6" in line
    (ours / "b.png").write_bytes((ours / "b.png").read_bytes()[:40])
    assert "b.png cannot be read" in fails(capsys, "compare-faces", ours, reference)


@pytest.mark.parametrize("content", ["shape", "no tensor", "truncated", "pickled code"])
def test_bad_noise_files(capsys, weights, tmp_path, content):
    noise = tmp_path / "noise"
    noise.mkdir()
    file = noise / "00.pt"
    if content == "shape":
        torch.save(torch.zeros(3, 64), file)
    elif content == "no tensor":
        torch.save({"a": 1}, file)
    elif content == "truncated":
        torch.save(torch.zeros(1, 3, 64, 64), file)
        file.write_bytes(file.read_bytes()[:100])
    else:
        torch.save(faces.FaceSet, file)
    model = weights / "faces.safetensors"
    line = fails(capsys, "sample-faces", noise, tmp_path / "out", "--weights", model)
    assert "00.pt" in line
    assert not (tmp_path / "out").exists()


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


def test_memory_that_is_not_there_is_one_line(capsys, monkeypatch, tmp_path):
    def greedy(*_):
        torch.empty(2**55)

    monkeypatch.setattr(folders, "digits_into", greedy)
    assert "out of memory" in fails(capsys, "sample-digits", tmp_path / "o")


def test_a_fault_of_ours_is_not_hidden(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "digits_into", lambda *_: [].pop())
    with pytest.raises(IndexError):
        run(capsys, "sample-digits", tmp_path / "o")
