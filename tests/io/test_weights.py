"""The weights files of training: what was put in comes out, anything else is one line; what a run
began with is loaded, told in the header, and survives a resume."""

import json
import signal
import struct
from functools import cache

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import network
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hw2lib.commands import cli
from hw2lib.errors import UserError
from hw2lib.experiments import ddim, recipe
from hw2lib.experiments.ddim import train_faces
from hw2lib.experiments.recipe import Preset
from hw2lib.io import weights
from hw2lib.io.weights import load_state, load_weights, save_weights
from hw2lib.models.face_unet import TINY, FaceConfig
from hw2lib.training import TrainConfig


def test_weights_round_trip(tmp_path):
    """Kernels in fp16, vectors and counts exactly, the header word for word."""
    state = network().state_dict()
    config = {"kind": "test", "widths": [1, 2], "note": "é", "nested": {"a": None}}
    file = save_weights(tmp_path / "new" / "w.safetensors", state, config)
    found, header = load_weights(file, "test")
    assert header == config and found.keys() == state.keys()
    for key, value in state.items():
        expected = value.half().float() if value.ndim > 1 else value
        assert torch.equal(found[key], expected) and found[key].dtype == value.dtype


def test_weights_are_small_and_their_header_can_be_read_by_anything(tmp_path):
    save_weights(tmp_path / "w", {"w": torch.zeros(100, 100)}, {"kind": "test"})
    raw = (tmp_path / "w").read_bytes()
    assert 20_000 < len(raw) < 20_500  # two bytes a number
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    assert json.loads(header["__metadata__"]["config"]) == {"kind": "test"}
    with safe_open(tmp_path / "w", "pt") as file:
        assert file.get_tensor("w").dtype == torch.float16


def test_the_same_weights_are_the_same_bytes(tmp_path):
    for name in "ab":
        save_weights(tmp_path / name, network().state_dict(), {"kind": "k", "b": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_strided_and_shared_tensors_can_be_saved(tmp_path):
    """channels_last weights, and two names for one tensor, which safetensors alone refuses."""
    w = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w", {"a": w, "b": w, "c": w.mT}, {"kind": "k"})
    found, _ = load_weights(tmp_path / "w", "k")
    assert torch.equal(found["a"], w.half().float()) and torch.equal(found["c"], found["a"].mT)


def test_a_header_needs_a_kind(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        save_weights(tmp_path / "w", {}, {})
    assert not list(tmp_path.iterdir())


def test_missing_weights_are_one_line(tmp_path):
    with pytest.raises(UserError, match="does not exist") as caught:
        load_weights(tmp_path / "none.safetensors", "test")
    assert "none.safetensors" in one_line(caught)


@pytest.mark.parametrize("keep", [0, 4, 8, 60, 0.5, 0.99])
def test_truncated_weights_are_one_line(tmp_path, keep):
    file = save_weights(tmp_path / "w", network().state_dict(), {"kind": "test"})
    raw = file.read_bytes()
    file.write_bytes(raw[: keep if isinstance(keep, int) else int(keep * len(raw))])
    with pytest.raises(UserError, match="truncated or no safetensors file") as caught:
        load_weights(file, "test")
    assert str(file) in one_line(caught)


@pytest.mark.parametrize("metadata", [None, {"config": "not json"}, {"config": "[1]"}])
def test_a_file_without_our_header_is_one_line(tmp_path, metadata):
    save_file({"w": torch.zeros(2)}, tmp_path / "w", metadata)
    with pytest.raises(UserError, match="unknown architecture|truncated") as caught:
        load_weights(tmp_path / "w", "test")
    one_line(caught)


def test_weights_of_another_kind_are_one_line(tmp_path):
    save_weights(tmp_path / "w", {}, {"kind": "judge"})
    with pytest.raises(UserError, match="is for judge; this command needs digit_unet") as caught:
        load_weights(tmp_path / "w", "digit_unet")
    one_line(caught)


@pytest.mark.parametrize(
    "state",
    [{}, {"weight": torch.zeros(3, 3), "bias": torch.zeros(2)}, {"weight": 1, "bias": 2}, {0: 1}],
)
def test_weights_of_another_architecture_are_one_line(state):
    with pytest.raises(UserError, match="f.pt is for another architecture than Linear") as caught:
        load_state(nn.Linear(2, 2), state, "f.pt")
    one_line(caught)


# --- going on from a weights file ----------------------------------------------------------------

TRAIN = TrainConfig(steps=2, batch_size=2, warmup=1, ema=0.5)
SMALL = FaceConfig(widths=(16, 16), blocks=1, attention=(), unfold=8, groups=4)
PRESET = Preset(TRAIN, SMALL, "linear")


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ddim.faces, "load", cache(ddim.faces.load))
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A finished run of 2 steps: its folder's weights and their header."""
    out = tmp_path_factory.mktemp("first")
    _, header = train_faces(PRESET, data="embedded", out=out)
    return out / "weights.safetensors", header


def run(out, start=None, **more):
    return train_faces(PRESET, data="embedded", out=out, start=start, **more)


def test_the_header_counts_both_runs_and_names_the_start(first, tmp_path):
    file, before = first
    _, header = run(tmp_path, file)
    assert (before["images_seen"], before["warm_start"]) == (4, None)
    assert (header["images_seen"], header["warm_start"]) == (8, "weights.safetensors")
    assert header["seconds"] >= before["seconds"]
    found = load_weights(tmp_path / "weights.safetensors", "face_unet")[1]
    assert (found["images_seen"], found["warm_start"]) == (8, "weights.safetensors")


def test_training_begins_with_the_weights(first, tmp_path, monkeypatch):
    file, _ = first
    state, seen = load_weights(file, "face_unet")[0], []

    def fit(model, *args, **options):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        raise UserError("enough")

    monkeypatch.setattr(recipe, "fit", fit)
    for start in (file, None):
        with pytest.raises(UserError, match="enough"):
            run(tmp_path / str(start is None), start)
    warm, cold = seen
    assert all(torch.equal(warm[key], state[key]) for key in state)
    assert not torch.equal(cold["down1.weight"], state["down1.weight"])


def test_an_interrupted_warm_run_resumes_to_the_same_bytes(first, tmp_path, monkeypatch):
    file, _ = first
    run(tmp_path / "whole", file)
    original, calls = recipe.diffusion_loss, []

    def and_stop(*args):
        calls.append(1)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return original(*args)

    monkeypatch.setattr(recipe, "diffusion_loss", and_stop)
    with pytest.raises(UserError, match="interrupted after step 1 of 2"):
        run(tmp_path / "cut", file)
    _, header = run(tmp_path / "cut", resume=True)  # the start need not be named again
    assert header["images_seen"] == 8 and header["warm_start"] == file.name
    states = [load_weights(tmp_path / n / "weights.safetensors", "face_unet")[0]
              for n in ("whole", "cut")]  # fmt: skip
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_run_that_started_from_something_else_is_one_line(first, tmp_path):
    file, _ = first
    run(tmp_path)
    with pytest.raises(UserError, match="started from random weights, not from") as caught:
        run(tmp_path, file, resume=True)
    assert "\n" not in str(caught.value)


def test_a_start_from_another_architecture_is_one_line(first, tmp_path):
    file, _ = first
    other = Preset(TRAIN, TINY, "linear")
    with pytest.raises(UserError, match="another architecture"):
        train_faces(other, data="embedded", out=tmp_path, start=file)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("content", ["{", "[1]", "{}", '{"images_seen": "x", "seconds": 1}'])
def test_a_damaged_origin_is_one_line(first, tmp_path, content):
    file, _ = first
    run(tmp_path, file)
    assert json.loads((tmp_path / weights.ORIGIN).read_text())["images_seen"] == 4
    (tmp_path / weights.ORIGIN).write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        run(tmp_path, resume=True)


def test_a_cold_run_does_not_take_over_an_older_origin(first, tmp_path):
    (tmp_path / weights.ORIGIN).write_text('{"images_seen": 99}')
    _, header = run(tmp_path)
    assert header["images_seen"] == 4 and header["warm_start"] is None


def test_the_command_takes_a_start_for_faces_and_digits_alone(first, tmp_path, capsys, monkeypatch):
    file, _ = first
    monkeypatch.setitem(ddim.FACE_PRESETS, "quick", PRESET)
    argv = ["train", "faces", "--data", "embedded", "--out", str(tmp_path / "o")]
    assert cli.main([*argv, "--warm-start", str(file)]) == 0
    header = load_weights(tmp_path / "o" / "weights.safetensors", "face_unet")[1]
    assert header["images_seen"] == 8
    assert cli.main(["train", "judge", "--warm-start", str(file)]) == 2
    assert "--warm-start is for digits and faces" in capsys.readouterr().err
    assert cli.main(["train", "digits", "--out", str(tmp_path), "--warm-start", str(file)]) == 2
    assert "digit_unet" in capsys.readouterr().err
