"""training: the arithmetic of its parts, what a run gives, mistakes of one line."""

import math
import signal

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import network
from helpers.runs import CFG, loss, same, stopped_at
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hw2lib import training
from hw2lib.errors import UserError
from hw2lib.training import TrainConfig, fit, learning_rate

# --- the arithmetic ------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(0, 60), st.integers(1, 500))
@settings(deadline=None)
def test_learning_rate_warms_up_and_never_exceeds_lr(step, warmup, steps):
    cfg = TrainConfig(steps=steps, lr=0.5, warmup=warmup)
    rate = learning_rate(step, cfg)
    assert 0 < rate <= 0.5 and (rate == 0.5) == (step + 1 >= warmup)
    if step < warmup:
        assert rate == pytest.approx(0.5 * (step + 1) / warmup)


def test_cosine_falls_to_almost_nothing_and_never_rises_after_the_warm_up():
    cfg = TrainConfig(steps=100, lr=1.0, warmup=10, schedule="cosine")
    rates = [learning_rate(k, cfg) for k in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[50] == pytest.approx(0.5)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))
    assert rates[99] < 1e-3 and rates[100] == 0


def test_a_trapezoid_is_level_for_half_the_way_and_ends_at_zero():
    cfg = TrainConfig(steps=100, lr=1.0, warmup=10, schedule="trapezoid")
    rates = [learning_rate(k, cfg) for k in range(101)]
    assert rates[9:51] == [1.0] * 42
    assert rates[50:] == pytest.approx([1 - k / 50 for k in range(51)])


def test_stairs_fall_to_a_tenth_after_each_quarter():
    cfg = TrainConfig(steps=100, lr=1.0, warmup=10, schedule="stairs")
    rates = [learning_rate(k, cfg) for k in range(9, 100)]
    assert rates == pytest.approx([1.0] * 16 + [0.1] * 25 + [0.01] * 25 + [0.001] * 25)


def test_the_learning_rate_reaches_the_optimiser(tmp_path):
    """AdamW's first step has the length of the learning rate: here lr / warmup."""
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    cfg = TrainConfig(steps=1, lr=0.1, warmup=10, weight_decay=0.0)
    fit(model, lambda m, step, g: m.weight.sum(), cfg, tmp_path)
    assert before - model.weight.item() == pytest.approx(0.01, rel=1e-3)


@given(st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=40), st.floats(0, 0.999))
@settings(deadline=None, max_examples=60)
def test_ema_is_its_closed_form(values, decay):
    """sum over k of (1 - d_k) value_k times the product of the later d, plus what is left."""
    ema, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(ema.weight, 2.0)
    rates = [min(decay, (1 + k) / (10 + k)) for k in range(len(values))]
    for k, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        training.update_ema(ema, model, k, decay)
    expected = 2.0 * math.prod(rates) + sum(
        (1 - rates[k]) * value * math.prod(rates[k + 1 :]) for k, value in enumerate(values)
    )
    assert ema.weight.item() == pytest.approx(expected, abs=1e-4)


def test_ema_averages_batch_statistics_and_copies_counts():
    ema, model = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    model.running_mean.fill_(1.0)
    model.num_batches_tracked.fill_(7)
    training.update_ema(ema, model, 0, 0.999)
    assert torch.allclose(ema.running_mean, torch.tensor(0.9))  # d = 1 / 10 at the first step
    assert ema.num_batches_tracked == 7


def test_gradients_are_clipped(tmp_path):
    """The clip bounds the gradient that the optimiser sees, however steep the loss."""
    seen = []
    model = nn.Linear(3, 1)
    step = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        gradients = [p.grad.flatten() for p in model.parameters()]
        seen.append(torch.cat(gradients).norm().item())
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", spy)
        steep = TrainConfig(steps=3, clip=0.5, warmup=0)
        fit(model, lambda m, k, g: 1e4 * m(torch.ones(2, 3)).sum(), steep, tmp_path)
    assert seen == pytest.approx([0.5] * 3, rel=1e-4)


# --- a run ---------------------------------------------------------------------------------------


def test_the_global_generator_has_no_say(tmp_path):
    models = []
    for seed in (1, 2):
        model = network()
        torch.manual_seed(seed)
        models.append(fit(model, loss, CFG, tmp_path / str(seed)).model)
    assert same(*models)


def test_another_seed_is_another_run(tmp_path):
    other = TrainConfig(**{**vars(CFG), "seed": 1})
    runs = [fit(network(), loss, c, tmp_path / str(c.seed)) for c in (CFG, other)]
    assert runs[0].losses != runs[1].losses


def test_the_signals_are_given_back(tmp_path):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    fit(network(), loss, CFG, tmp_path / "a")
    with pytest.raises(UserError):
        fit(network(), stopped_at(1), CFG, tmp_path / "b")
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before


def test_results_are_ready_for_use(tmp_path):
    fitted = fit(network(), loss, CFG, tmp_path)
    assert not fitted.model.training and not fitted.ema.training
    assert not any(p.requires_grad for p in fitted.ema.parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("steps", [3, 4, 100])
def test_losses_that_are_read_seldom_are_the_same_losses(tmp_path, monkeypatch, steps):
    """As on a GPU, also where a run stops between two looks."""
    at_once = fit(network(), loss, CFG, tmp_path / "a")
    monkeypatch.setitem(training.READ_EVERY, "cpu", steps)
    with pytest.raises(UserError, match="interrupted after step 6"):
        fit(network(), stopped_at(5), CFG, tmp_path / "b")
    seldom = fit(network(), loss, CFG, tmp_path / "b", resume=True)
    assert seldom.losses == at_once.losses and len(seldom.losses) == CFG.steps
    assert same(seldom.ema, at_once.ema)


def test_a_loss_that_is_not_finite_is_named_by_its_step_however_late_it_is_read(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(training.READ_EVERY, "cpu", 100)

    def failing(model, step, generator):
        return loss(model, step, generator) * (math.nan if step == 4 else 1)

    with pytest.raises(UserError) as caught:
        fit(network(), failing, CFG, tmp_path)
    assert "nan at step 4" in one_line(caught)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_one_line(tmp_path, value):
    def diverges(model, step, generator):
        return loss(model, step, generator) * (value if step == 3 else 1)

    with pytest.raises(UserError, match=rf"the loss is {value} at step 3; lower lr") as caught:
        fit(network(), diverges, CFG, tmp_path, label="digits")
    assert one_line(caught).startswith("digits: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1), ("batch_size", 0), ("lr", 0.0), ("lr", math.nan), ("lr", math.inf),
        ("schedule", "linear"), ("weight_decay", -1.0), ("warmup", -1), ("clip", 0.0),
        ("ema", 1.0), ("ema", -0.1), ("seed", -1), ("seed", 2**32), ("save_every_s", -1.0),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_one_line(key, value):
    with pytest.raises(UserError, match=f"^{key}={value} is not allowed; .* right$") as caught:
        TrainConfig(**{"steps": 1, key: value})
    one_line(caught)
