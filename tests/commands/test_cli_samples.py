"""The commands that draw and compare, on tiny weights."""

import signal

import numpy as np
import pytest
import torch
import tqdm
from faults.commands import make_weights
from helpers.lines import fails, run
from PIL import Image

from hw2lib.commands import folders
from hw2lib.experiments import cfdg, ddim
from hw2lib.io.paths import NOISE, WEIGHTS


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_weights(tmp_path_factory.mktemp("weights"))


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


def test_the_shipped_student_draws_in_its_own_steps_alone(capsys, tmp_path):
    asked = ("--per-digit", 1, "--weights", WEIGHTS / "digits-student.safetensors")
    for more in ((), ("--steps", 4, "--w", 3.5), ("--steps", 4, "--w", -1)):
        line = fails(capsys, "sample-digits", tmp_path / "o", *asked, *more)
        assert "a student draws in steps=4 of DDIM with w from 0 to 3" in line
        assert not (tmp_path / "o").exists()
    assert run(capsys, "sample-digits", tmp_path / "o", *asked, "--steps", 4, "--w", 3)[0] == 0
    assert len(list((tmp_path / "o").iterdir())) == 10


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
