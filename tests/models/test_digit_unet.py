"""unet: shapes, what reaches the output, and the report's own architecture."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hw2lib.experiments.cfdg import DIGIT_PRESETS
from hw2lib.models.digit_unet import (
    NULL_LABEL,
    AdaBlock,
    DigitConfig,
    DigitUNet,
    ReportConfig,
    ReportUNet,
    SelfAttention,
)

CONFIGS = [
    DigitConfig(widths=(8, 16), c_condition=16),
    DigitConfig(widths=(8, 24), blocks=(2, 1), c_condition=8),
    DigitConfig(widths=(16, 16), blocks=(1, 3), c_condition=32),
    DigitConfig(widths=(8, 16), c_condition=8, unfold=1),
]


def shaken(model: nn.Module) -> nn.Module:
    """Small random values in all that starts at zero, as after some training."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return model.eval()


def make(config=CONFIGS[0]):
    torch.manual_seed(0)
    return shaken(DigitUNet(config))


def inputs(b=3, seed=0):
    x = torch.randn(b, 3, 28, 28, generator=torch.Generator().manual_seed(seed))
    return x, torch.tensor([0, 500, 999][:b]), torch.tensor([0, 5, 9][:b])


def count(model):
    return sum(p.numel() for p in model.parameters())


# --- ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("b", [1, 3])
def test_the_prediction_has_the_images_shape(config, b):
    y = make(config)(*inputs(b))
    assert y.shape == (b, 3, 28, 28) and y.dtype == torch.float32 and y.isfinite().all()


def test_the_shipped_size():
    """Two bytes a parameter: the weights file stays below 8 MiB."""
    assert count(DigitUNet()) == 2_975_948
    assert count(DigitUNet(DIGIT_PRESETS["quick"].model)) < 700_000  # the quick preset


@pytest.mark.parametrize("config", CONFIGS)
def test_a_new_network_predicts_zero(config):
    """The last convolution starts at zero: the first loss is the target's power, no more."""
    assert not DigitUNet(config)(*inputs()).any()


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_reach_every_parameter(config):
    model = make(config)
    x, t, _ = inputs()
    model(x, t, torch.tensor([0, 5, NULL_LABEL])).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_only_the_embeddings_of_labels_in_the_batch_learn():
    model = make()
    x, t, _ = inputs()
    model(x, t, torch.tensor([0, 5, NULL_LABEL])).square().mean().backward()
    touched = model.label.weight.grad.abs().sum(1) > 0
    assert touched.nonzero().flatten().tolist() == [0, 5, NULL_LABEL]


@pytest.mark.parametrize("config", CONFIGS)
def test_label_and_time_reach_the_output(config):
    model, (x, t, label) = make(config), inputs()
    y = model(x, t, label)
    for other in (model(x, t, (label + 1) % 10), model(x, t - t.clamp(max=1) + 1, label)):
        assert (other - y).flatten(1).abs().amax(1).max() > 1e-4


def test_all_labels_with_the_null_label_differ():
    """Eleven embeddings, the null label's learnt like the others'."""
    model = make()
    assert model.label.weight.shape[0] == 11 == NULL_LABEL + 1
    x, t, _ = inputs(1)
    outputs = [model(x, t, torch.tensor([k])) for k in range(11)]
    assert all(not torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])


def test_the_null_label_is_the_last_one():
    x, t, _ = inputs(1)
    with pytest.raises(IndexError):
        make()(x, t, torch.tensor([NULL_LABEL + 1]))


def test_neighbouring_time_steps_are_told_apart():
    """Also at the far end, where rounded frequencies would blur them."""
    model, (x, _, label) = make(), inputs(1)
    for t in (0, 500, 998):
        a, b = (model(x, torch.tensor([k]), label) for k in (t, t + 1))
        assert not torch.equal(a, b)


@pytest.mark.parametrize("row", range(3))
def test_a_row_does_not_depend_on_the_others(row):
    model, (x, t, label) = make(), inputs()
    alone = model(x[row : row + 1], t[row : row + 1], label[row : row + 1])
    torch.testing.assert_close(model(x, t, label)[row : row + 1], alone, rtol=1e-4, atol=1e-5)


def test_every_pixel_sees_the_whole_image():
    """The attention at 7x7 lets background and stroke agree across the image."""
    model, (x, t, label) = make(), inputs(1)
    x.requires_grad_()
    model(x, t, label)[0, 0, 0, 0].backward()
    assert (x.grad[0].abs().sum(0) > 0).all()


def test_channels_last_computes_the_same():
    model, (x, t, label) = make(), inputs()
    expected = model(x, t, label)
    found = model.to(memory_format=torch.channels_last)(x, t, label)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_student_starts_as_its_teacher_and_can_learn_to_read_w():
    torch.manual_seed(0)
    teacher, student = make(), DigitUNet(replace(CONFIGS[0], guidance_input=True))
    student.load_state_dict({**student.state_dict(), **teacher.state_dict()})
    w = torch.tensor([0.0, 1.0, 3.0])
    assert torch.equal(student(*inputs(), w), teacher(*inputs()))
    shaken(student)
    apart = (student(*inputs(), w) - student(*inputs(), w + 1)).abs().flatten(1).amax(1)
    assert (apart > 1e-4).all()
    student(*inputs(), w).square().mean().backward()
    assert all(p.grad.any() for p in student.parameters())


@pytest.mark.parametrize(("c_in", "c_out"), [(8, 8), (16, 8)])
def test_a_new_block_is_the_identity_or_its_skip(c_in, c_out):
    block, x = AdaBlock(c_in, c_out, 4), torch.randn(2, c_in, 7, 7)
    assert torch.equal(block(x, torch.randn(2, 4)), block.skip(x))


def test_attention_is_its_formula():
    """Four heads, softmax(q k / sqrt(d)) v, added to the input; position by position."""
    a, x = shaken(SelfAttention(16)), torch.randn(2, 16, 3, 3)
    q, k, v = a.qkv(a.norm(x)).flatten(2).chunk(3, dim=1)  # (B, 16, 9)
    heads = []
    for h in range(4):
        part = slice(4 * h, 4 * h + 4)
        score = torch.einsum("bci,bcj->bij", q[:, part], k[:, part]) / 4**0.5
        heads.append(torch.einsum("bij,bcj->bci", score.softmax(2), v[:, part]))
    expected = x + a.out(torch.cat(heads, 1).reshape(x.shape))
    torch.testing.assert_close(a(x), expected, rtol=1e-4, atol=1e-5)


# --- the report's --------------------------------------------------------------------------------


def report(width=16):
    torch.manual_seed(0)
    return shaken(ReportUNet(ReportConfig(width)))


def test_the_report_unet_has_its_size():
    with torch.device("meta"):
        assert count(ReportUNet()) == 6_590_211


@pytest.mark.parametrize("b", [1, 3])
def test_the_report_unet_keeps_the_shape(b):
    assert report()(*inputs(b)).shape == (b, 3, 28, 28)


def test_the_report_unet_is_plain():
    """ReLU and no other nonlinearity, plain stacks of convolutions without a residual."""
    model = report()
    kinds = {type(m) for m in model.modules()}
    assert nn.ReLU in kinds and not kinds & {nn.SiLU, nn.GELU, nn.Tanh, nn.MultiheadAttention}
    containers = [m for m in model.modules() if list(m.children()) and m is not model]
    assert all(type(m) is nn.Sequential for m in containers)


def going_down(model, *args):
    """Features on the way down, and the first ones going up."""
    seen, hooks = {}, []
    for name in ("first", "down1", "down2", "to_vector", "up0", "up1", "up2"):
        part = getattr(model, name)
        hooks.append(part.register_forward_hook(lambda _, __, y, name=name: seen.update({name: y})))
    model(*args)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("what", ["label", "time"])
def test_label_and_time_act_on_the_way_up_only(what):
    model, (x, t, label) = report(), inputs()
    before = going_down(model, x, t, label)
    label, t = (label + 1, t) if what == "label" else (label, t + 100)
    after = going_down(model, x, t, label.clamp(max=9))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"up1", "up2"}


def test_the_report_unets_null_label_is_the_zero_vector():
    model, (x, t, _) = report(), inputs()
    seen = []
    model.label1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(x, t, torch.tensor([3, NULL_LABEL, 9]))
    one_hot = torch.zeros(3, 10)
    one_hot[0, 3] = one_hot[2, 9] = 1
    assert torch.equal(seen[0], one_hot)


def test_the_report_unets_time_is_a_share_of_all_steps():
    model, (x, _, label) = ReportUNet(ReportConfig(16, 400)).eval(), inputs()
    seen = []
    model.time1.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(x, torch.tensor([0, 100, 399]), label)
    assert seen[0].flatten().tolist() == pytest.approx([0, 0.25, 0.9975])


def test_label_scales_and_time_shifts():
    """up = label * up + time, at both resolutions."""
    model, (x, t, label) = report(), inputs()
    seen = {}
    for name in ("up0", "label1", "time1", "label2", "time2", "up1"):
        part = getattr(model, name)
        part.register_forward_hook(lambda _, args, y, name=name: seen.update({name: (args[0], y)}))
    model.up2.register_forward_hook(lambda _, args, y: seen.update(up2=(args[0], y)))
    model(x, t, label)
    for scale, shift, old, new in (
        ("label1", "time1", "up0", "up1"),
        ("label2", "time2", "up1", "up2"),
    ):
        expected = seen[scale][1] * seen[old][1] + seen[shift][1]
        assert torch.equal(seen[new][0][:, : expected.shape[1]], expected)


def test_gradients_reach_every_parameter_of_the_report_unet():
    model = report().train()
    model(*inputs()).square().mean().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent
