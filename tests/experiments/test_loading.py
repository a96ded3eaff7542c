"""Loading of weights: what is wrong with a file is said in one line, and no code in it runs."""

import os
import pickle
import sys
from dataclasses import asdict

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import same

from hw2lib.errors import UserError
from hw2lib.experiments import ddim
from hw2lib.experiments.cfdg import load_digit_unet
from hw2lib.experiments.ddim import load_face_unet
from hw2lib.io.weights import save_weights
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.models.face_unet import TINY, FaceUNet

SMALL = DigitConfig(widths=(8, 16), c_condition=16)
DIFFUSION = {"schedule": "cosine", "n_train_steps": 1000, "prediction": "v"}
WHOLE = {**DIFFUSION, "architecture": asdict(SMALL)}


@pytest.mark.parametrize("load", [load_digit_unet, load_face_unet])
@pytest.mark.parametrize("name", ["none.safetensors", "UNet.pt"])
def test_missing_weights_are_one_line(tmp_path, load, name):
    with pytest.raises(UserError, match="does not exist") as caught:
        load(tmp_path / name)
    assert name in one_line(caught)


@pytest.mark.parametrize("load", [load_digit_unet, load_face_unet])
def test_no_compiler_is_imported(load, monkeypatch):
    """torch's takes as long as the rest of a short command."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    load()


class Code:
    """What a malicious checkpoint would hold."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"a": Code()}, tmp_path / "UNet.pt")
    with pytest.raises(UserError, match="truncated or holds more than tensors") as caught:
        load_face_unet(tmp_path / "UNet.pt")
    one_line(caught)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_truncated_checkpoint_is_one_line(tmp_path, share):
    file = tmp_path / "UNet.pt"
    torch.save({"a": torch.zeros(1000)}, file)
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(UserError, match="truncated") as caught:
        load_face_unet(file)
    assert "UNet.pt" in one_line(caught)


@pytest.mark.parametrize("content", [torch.zeros(3), [1], "text", 3])
def test_a_checkpoint_that_is_no_state_dict_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "UNet.pt")
    with pytest.raises(UserError, match="not a state dict") as caught:
        load_face_unet(tmp_path / "UNet.pt")
    one_line(caught)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "for another architecture"),
        ({"a": torch.zeros(1)}, "for another architecture"),
        ({"state_dict": {}}, "for another architecture"),
        ({0: 1}, "holds 0; the state dict alone is right"),
        ({"net": {}, "epoch": 3}, "holds net, epoch; the state dict alone is right"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_one_line(tmp_path, monkeypatch, content, words):
    # 455 MB are not needed to see that the names do not fit
    monkeypatch.setattr(ddim, "FaceUNet", lambda _: FaceUNet(TINY))
    torch.save(content, tmp_path / "UNet.pt")
    with pytest.raises(UserError, match=words) as caught:
        load_face_unet(tmp_path / "UNet.pt")
    assert "UNet.pt" in one_line(caught)


def test_a_plain_state_dict_is_the_courses(tmp_path, monkeypatch):
    """It predicts the noise, with the linear schedule, at 256x256."""
    face_model = FaceUNet(TINY)
    monkeypatch.setattr(ddim, "FaceUNet", lambda _: FaceUNet(TINY))
    torch.save(face_model.state_dict(), tmp_path / "UNet.pt")
    model, config = load_face_unet(tmp_path / "UNet.pt")
    assert same(model, face_model) and not model.training
    assert (config["prediction"], config["schedule"], config["size"]) == ("eps", "linear", 256)
    assert config["n_train_steps"] == 1000


@pytest.mark.parametrize("load", [load_digit_unet, load_face_unet])
def test_weights_of_the_other_experiment_are_one_line(tmp_path, load):
    other = "face_unet" if load is load_digit_unet else "digit_unet"
    file = save_weights(tmp_path / "w.safetensors", {}, {"kind": other})
    with pytest.raises(UserError, match=f"is for {other}; this command needs") as caught:
        load(file)
    one_line(caught)


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ({**DIFFUSION, "architecture": {"widths": [8, 24]}}, "another architecture"),
        ({**DIFFUSION, "architecture": {"depth": 3}}, "a header that does not fit"),
        ({**DIFFUSION, "architecture": [1]}, "a header that does not fit"),
        (DIFFUSION, "a header that does not fit"),
        ({"architecture": asdict(SMALL)}, "a header that does not fit"),
        ({**WHOLE, "student": {"steps": 4, "w_max": 3.0}}, "guidance_input and student go"),
        ({**WHOLE, "architecture": {**asdict(SMALL), "guidance_input": True}}, "student go"),
        ({**WHOLE, "student": {"steps": 0, "w_max": 3.0}}, "student.steps"),
        ({**WHOLE, "student": 4}, "student"),
    ],
)
def test_a_header_that_does_not_fit_is_one_line(tmp_path, header, line):
    header = {"kind": "digit_unet", **header}
    file = save_weights(tmp_path / "w.safetensors", DigitUNet(SMALL).state_dict(), header)
    with pytest.raises(UserError, match=line) as caught:
        load_digit_unet(file)
    assert str(file) in one_line(caught)


@pytest.mark.parametrize("how", ["half", "double", "module", "state_dict"])
def test_a_course_network_saved_in_another_way_is_the_same(tmp_path, monkeypatch, how):
    face_model = FaceUNet(TINY).half().float()
    monkeypatch.setattr(ddim, "FaceUNet", lambda _: FaceUNet(TINY))
    state = face_model.state_dict()
    if how in ("half", "double"):
        state = {key: getattr(value, how)() for key, value in state.items()}
    elif how == "module":
        state = {f"module.{key}": value for key, value in state.items()}
    else:
        state = {"state_dict": state, "epoch": 3}
    torch.save(state, tmp_path / "UNet.pt")
    model, _ = load_face_unet(tmp_path / "UNet.pt")
    for key, value in model.state_dict().items():
        near = 1e-3 if how == "half" else 0
        assert torch.allclose(value, face_model.state_dict()[key], atol=near), key
    assert next(model.parameters()).dtype == torch.float32
