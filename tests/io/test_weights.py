"""The weights files of training: what was put in comes out, anything else is one line."""

import json
import struct

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import network
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from hw2lib.errors import UserError
from hw2lib.io.weights import load_state, load_weights, save_weights


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
