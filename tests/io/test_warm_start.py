"""warm_start: what a run began with is loaded, told in the header, and survives a resume."""

import json
import signal
from functools import cache

import pytest
import torch

from hw2lib.commands import cli
from hw2lib.errors import UserError
from hw2lib.experiments import ddim, recipe
from hw2lib.experiments.ddim import FACE_PRESETS, train_faces
from hw2lib.experiments.recipe import Preset, preset_name, with_settings
from hw2lib.io import weights
from hw2lib.io.weights import load_weights
from hw2lib.models.face_unet import TINY, FaceConfig
from hw2lib.training import TrainConfig

TRAIN = TrainConfig(steps=2, batch_size=2, warmup=1, ema=0.5)
SMALL = FaceConfig(widths=(16, 16), blocks=1, attention=(), unfold=8, groups=4)
PRESET = Preset(TRAIN, SMALL, "linear")


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ddim.faces, "load", cache(ddim.faces.load))
        yield


@pytest.mark.parametrize("name", FACE_PRESETS)
def test_another_seed_keeps_the_presets_name(name):
    other = with_settings(FACE_PRESETS[name], {"seed": "2"})
    assert preset_name(FACE_PRESETS, other) == name
    changed = with_settings(other, {"lr": "0.5"})
    assert preset_name(FACE_PRESETS, changed) == "custom"


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


def test_weights_of_another_architecture_are_one_line(first, tmp_path):
    file, _ = first
    other = Preset(TRAIN, TINY, "linear")
    with pytest.raises(UserError, match="another architecture"):
        train_faces(other, data="embedded", out=tmp_path, start=file)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_damaged_origin_is_one_line(first, tmp_path):
    file, _ = first
    run(tmp_path, file)
    assert json.loads((tmp_path / weights.ORIGIN).read_text())["images_seen"] == 4
    (tmp_path / weights.ORIGIN).write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        run(tmp_path, resume=True)


def test_a_cold_run_does_not_take_over_an_older_origin(first, tmp_path):
    (tmp_path / weights.ORIGIN).write_text('{"images_seen": 99}')
    _, header = run(tmp_path)
    assert header["images_seen"] == 4 and header["warm_start"] is None


def test_the_command_takes_a_start_for_faces_alone(first, tmp_path, capsys, monkeypatch):
    file, _ = first
    monkeypatch.setitem(ddim.FACE_PRESETS, "quick", PRESET)
    argv = ["train", "faces", "--data", "embedded", "--out", str(tmp_path / "o")]
    assert cli.main([*argv, "--warm-start", str(file)]) == 0
    header = load_weights(tmp_path / "o" / "weights.safetensors", "face_unet")[1]
    assert header["images_seen"] == 8
    assert cli.main(["train", "digits", "--warm-start", str(file)]) == 2
    assert "--warm-start is for faces" in capsys.readouterr().err
