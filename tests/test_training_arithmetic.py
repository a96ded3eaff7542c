"""training: the arithmetic of its parts, and several processes."""

import math
import os
import socket
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hw2lib import training
from hw2lib.io.paths import ROOT
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


# --- several processes ---------------------------------------------------------------------------

WORKER = """
import os, sys, torch
from hw2lib.training import TrainConfig, fit
def loss(model, step, generator):
    return (model(torch.randn(4, 2, generator=generator)) - 1).square().mean()
torch.manual_seed(0)
cfg = TrainConfig(steps=5, lr=0.1, warmup=0)
fitted = fit(torch.nn.Linear(2, 1), loss, cfg, sys.argv[1])
torch.save((fitted.model.state_dict(), fitted.losses), sys.argv[1] + os.environ["RANK"])
"""


@pytest.mark.skipif(not os.environ.get("HW2_SLOW"), reason="two new processes: set HW2_SLOW=1")
def test_two_processes_train_one_model_on_batches_of_their_own(tmp_path):
    """As torchrun and `accelerate launch` start them, one a GPU; here on the CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "run")],
            env={**os.environ, **common, "RANK": r, "LOCAL_RANK": r, "PYTHONPATH": str(ROOT),
                 "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )
        for r in "01"
    ]  # fmt: skip
    try:
        for worker in workers:
            _, complaint = worker.communicate(timeout=120)
            assert worker.returncode == 0, complaint.decode()[-2000:]
    finally:
        for worker in workers:
            worker.kill()
    (first, losses), (second, other_losses) = (torch.load(tmp_path / f"run{r}") for r in "01")
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert losses[0] != other_losses[0]
    assert (tmp_path / "run" / "checkpoint.pt").is_file()
