"""face_unet: the course's checkpoint fits and computes the same; smaller ones follow its rules."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hw2lib.errors import UserError
from hw2lib.experiments.ddim import Sampling, load_face_unet, sample_faces
from hw2lib.io.paths import ROOT
from hw2lib.models.face_unet import (
    SMALL,
    TINY,
    Attention,
    FaceConfig,
    FaceUNet,
    MeanPath,
    ResidualBlock,
    SinusoidalEmbedding,
    in_mixed_precision,
)

COURSE = Path(os.environ.get("HW2_COURSE_UNET") or ROOT.parent / "shared" / "course_unet")
course_facts = pytest.mark.skipif(
    not (COURSE / "state_dict.json").is_file(),
    reason="the course UNet's facts are not here; HW2_COURSE_UNET names their folder",
)
CONFIGS = [
    TINY,
    FaceConfig(widths=(32, 64), blocks=1, attention=(), unfold=2, groups=16, mean=True),
    FaceConfig(widths=(16, 16, 32), blocks=2, attention=(1,), unfold=1, groups=4),
]


def make(config):
    torch.manual_seed(0)
    return FaceUNet(config).eval()


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def default():
    """The default configuration without its 455 MB of values."""
    with torch.device("meta"):
        return FaceUNet()


# --- the course's checkpoint ---------------------------------------------------------------------


def test_the_default_has_the_courses_size(default):
    assert sum(p.numel() for p in default.parameters()) == 113_673_219
    assert len(default.state_dict()) == 427


def test_the_default_is_laid_out_as_the_course_tells(default):
    """down1 a convolution; strided ones at 4, 7, .., 16; upsampling at 4, 8, .., 20; attention."""
    keys = list(default.state_dict())
    plain = [n for n in range(1, 18) if f"down{n}.0.weight" in keys]
    grown = [n for n in range(1, 24) if f"up{n}.1.weight" in keys]
    attends = {k.split(".")[0] for k in keys if ".attention." in k}
    assert "down1.weight" in keys and plain == [4, 7, 10, 13, 16] and grown == [4, 8, 12, 16, 20]
    assert attends == {"down14", "down15", "mid1", "up5", "up6", "up7"}
    assert (default.n_down, default.n_up) == (18, 23)


@course_facts
def test_keys_and_shapes_are_the_courses(default):
    """Every name, in order: load_state_dict(strict=True) then takes the course's UNet.pt."""
    facts = json.loads((COURSE / "state_dict.json").read_text())
    facts = facts.items() if isinstance(facts, dict) else facts
    expected = [(key, tuple(shape)) for key, shape in facts]
    assert [(k, tuple(v.shape)) for k, v in default.state_dict().items()] == expected


@course_facts
def test_the_function_is_the_courses():
    """The course's test vector, to 1e-4."""
    with torch.device("meta"):
        model = FaceUNet()
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for i, (key, value) in enumerate(model.state_dict().items()):
            if key.endswith("inv_freq"):
                value.copy_(SinusoidalEmbedding(128).inv_freq)
                continue
            torch.randn(value.shape, generator=torch.Generator().manual_seed(i), out=value)
            if value.ndim > 1:
                value /= math.sqrt(value[0].numel())
            elif key.endswith("weight"):
                value.mul_(0.1).add_(1)
            else:
                value *= 0.1
        y = model(normal(2, 3, 64, 64, seed=1000), torch.tensor([981, 1]))
    facts = np.load(COURSE / "forward.npz")
    assert facts["t"].tolist() == [981, 1]
    torch.testing.assert_close(y, torch.from_numpy(facts["y"]), rtol=0, atol=1e-4)


# --- smaller ones --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 3)])
def test_the_prediction_has_the_images_shape(config, factors):
    multiple = config.unfold * 2 ** (len(config.widths) - 1)
    x = normal(2, 3, *(f * multiple for f in factors))
    y = make(config)(x, torch.tensor([0, 999]))
    assert y.shape == x.shape and y.isfinite().all()


def test_the_shipped_model_fits_its_file():
    """fp16 weights of at most 16 MiB: 8 M parameters."""
    with torch.device("meta"):
        assert sum(p.numel() for p in FaceUNet(SMALL).parameters()) * 2 < 16 * 2**20


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_reach_every_parameter(config):
    model = make(config)
    model(normal(2, 3, 16, 16), torch.tensor([3, 700])).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("config", CONFIGS)
def test_time_reaches_the_output_of_each_image(config):
    """Group norms of single channels would make the network blind to the time."""
    model, x = make(config), normal(2, 3, 16, 16)
    a, b = model(x, torch.tensor([5, 5])), model(x, torch.tensor([5, 600]))
    torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-5)
    assert (a[1] - b[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"widths": []}, "widths=[] is not allowed; some of a whole number from 2 to 4096"),
        ({"blocks": 0}, "blocks=0 is not allowed; a whole number from 1 to 16"),
        ({"widths": [33]}, "widths=(33,); multiples of groups=32"),
    ],
)
def test_a_network_that_cannot_be_built_is_one_line(wrong, line):
    with pytest.raises(UserError) as caught:
        FaceConfig(**wrong)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("config", "size", "multiple"),
    [
        (TINY, (12, 16), 8), (TINY, (16, 20), 8), (TINY, (4, 4), 8),
        (CONFIGS[1], (6, 8), 4), (CONFIGS[2], (64, 66), 4), (None, (48, 64), 32),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_are_one_line(config, size, multiple, default):
    model = default if config is None else make(config)
    device = "meta" if config is None else "cpu"
    with pytest.raises(UserError) as caught:
        model(torch.zeros(1, 3, *size, device=device), torch.zeros(1, device=device))
    line = str(caught.value)
    assert f"{size[0]}x{size[1]} pixels" in line and f"multiples of {multiple}" in line
    assert "\n" not in line


# --- its parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 32, 128])
def test_the_time_embedding_is_its_formula(width):
    t = torch.tensor([0, 1, 17, 999])
    f = torch.tensor([math.exp(-math.log(10000) * k / width) for k in range(0, width, 2)])
    expected = torch.cat([torch.sin(t[:, None] * f), torch.cos(t[:, None] * f)], 1)
    torch.testing.assert_close(SinusoidalEmbedding(width)(t), expected, rtol=0, atol=2e-4)


def test_all_time_steps_have_an_embedding_of_their_own():
    e = SinusoidalEmbedding(32)(torch.arange(1000))
    distance = torch.cdist(e, e) + 9 * torch.eye(1000)
    assert distance.min() > 0.1


def test_attention_is_its_formula():
    """softmax(q . k / sqrt(C)) v over all positions, one head, added to the input."""
    torch.manual_seed(0)
    a, x = Attention(32), normal(2, 32, 3, 4)
    q, k, v = a.qkv(a.norm(x)).flatten(2).chunk(3, dim=1)
    score = torch.einsum("bci,bcj->bij", q, k) / math.sqrt(32)
    y = torch.einsum("bij,bcj->bci", score.softmax(2), v).reshape(x.shape)
    torch.testing.assert_close(a(x), x + a.out(y), rtol=1e-4, atol=1e-5)


def test_the_mean_path_is_its_formula():
    """W(t) m, the same at every position; nothing before training."""
    torch.manual_seed(0)
    path, x, time = MeanPath(5, 8), normal(2, 5, 3, 4), normal(2, 8)
    assert not path(x, time).any()
    torch.nn.init.normal_(path.matrix[1].weight)
    torch.nn.init.normal_(path.matrix[1].bias)
    for k in range(2):
        w = path.matrix[1](F.silu(time[k])).reshape(5, 5)
        expected = (w @ x[k].mean((1, 2)))[:, None, None]
        torch.testing.assert_close(path(x, time)[k], expected)


def test_norms_of_two_channels_hide_the_mean_and_the_path_shows_it():
    """With W(t) = I the mean of each channel of patches moves the prediction's by as much."""
    config = FaceConfig(widths=(32, 64), blocks=1, attention=(), unfold=2, groups=16)
    torch.manual_seed(0)
    blind, seeing = FaceUNet(config), FaceUNet(replace(config, mean=True))
    seeing.load_state_dict(blind.state_dict(), strict=False)
    x, t = normal(2, 3, 16, 16), torch.tensor([3, 700])
    torch.testing.assert_close(seeing(x, t), blind(x, t))
    torch.nn.init.eye_(seeing.mean.matrix[1].bias.data.view(12, 12))
    gained = F.pixel_unshuffle(seeing(x, t) - blind(x, t), 2)
    mean = F.pixel_unshuffle(x, 2).mean((2, 3), keepdim=True)
    torch.testing.assert_close(gained, mean.expand_as(gained), rtol=1e-4, atol=1e-5)


def test_shipped_faces_have_no_dots():
    """Mean of one diagonal of 2x2 patches less the other: power 1 in noise, 0 in photographs."""
    model, header = load_face_unet()
    noise = normal(8, 3, 64, 64)
    drawn = sample_faces(in_mixed_precision(model), header, noise, Sampling(5), batch=8)
    for images, low, high in ((noise, 0.5, 2), (drawn, 0, 0.05)):
        a, b, c, d = (images[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
        power = 32 * 32 * ((a - b - c + d) / 2).mean((2, 3)).square().mean()
        assert low < power < high


@pytest.mark.parametrize("config", CONFIGS)
def test_mixed_precision_changes_little_and_not_the_network(config):
    model, x, t = make(config).eval(), normal(2, 3, 16, 16), torch.tensor([3, 700])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.inference_mode():
        close, exact = in_mixed_precision(model)(x, t), model(x, t)
    assert close.dtype == torch.float32
    torch.testing.assert_close(close, exact, rtol=0, atol=0.05)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("c_in", "c_out"), [(32, 32), (32, 64)])
def test_a_residual_block_adds_its_input(c_in, c_out):
    """With the last convolution at zero what is left is the input, through `skip` if need be."""
    torch.manual_seed(0)
    block, x = ResidualBlock(c_in, c_out, 8), normal(2, c_in, 4, 4)
    torch.nn.init.zeros_(block.conv2.weight)
    torch.nn.init.zeros_(block.conv2.bias)
    assert hasattr(block, "skip") == (c_in != c_out)
    expected = block.skip(x) if c_in != c_out else x
    assert torch.equal(block(x, normal(2, 8)), expected)
