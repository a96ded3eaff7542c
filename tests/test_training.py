"""training: the arithmetic of its parts, exact resume, errors of one line, several processes."""

import math
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hw2lib import training
from hw2lib.errors import UserError
from hw2lib.io.paths import ROOT
from hw2lib.training import TrainConfig, fit, learning_rate

CFG = TrainConfig(steps=9, lr=0.01, warmup=3, ema=0.9, save_every_s=1e9)


def loss(model, step, generator):
    x = torch.randn(4, 1, 8, 8, generator=generator)
    return (model(x) - 1).square().mean()


def stopped_at(k, name=signal.SIGINT):
    """The loss of a run to which somebody sends a signal in its k-th step."""

    def loss_and_signal(model, step, generator):
        if step == k:
            signal.raise_signal(name)
        return loss(model, step, generator)

    return loss_and_signal


def same(a: nn.Module, b: nn.Module) -> bool:
    states = a.state_dict(), b.state_dict()
    return all(torch.equal(x, y) for x, y in zip(*(s.values() for s in states), strict=True))


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


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 4, 8])
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "trapezoid"])
def test_an_interrupted_and_resumed_run_ends_with_the_same_bytes(tmp_path, k, name, schedule):
    cfg = TrainConfig(**{**vars(CFG), "schedule": schedule})
    whole = fit(network(), loss, cfg, tmp_path / "whole")
    with pytest.raises(UserError, match=f"interrupted after step {k + 1} of 9") as caught:
        fit(network(), stopped_at(k, name), cfg, tmp_path / "cut")
    assert "--resume" in one_line(caught) and "checkpoint.pt" in one_line(caught)
    torch.manual_seed(99)  # a new process does not have the old one's global generator
    resumed = fit(network(), loss, cfg, tmp_path / "cut", resume=True)
    assert resumed.losses == whole.losses and len(whole.losses) == 9
    assert same(resumed.model, whole.model) and same(resumed.ema, whole.ema)


def test_a_run_cut_off_twice_ends_with_the_same_bytes(tmp_path):
    whole = fit(network(), loss, CFG, tmp_path / "whole")
    for k in (2, 5):
        with pytest.raises(UserError):
            fit(network(), stopped_at(k), CFG, tmp_path / "cut", resume=k > 2)
    resumed = fit(network(), loss, CFG, tmp_path / "cut", resume=True)
    assert resumed.losses == whole.losses and same(resumed.model, whole.model)


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(tmp_path):
    """No signal to catch: what counts is the checkpoint saved every so often."""
    cfg = TrainConfig(**{**vars(CFG), "save_every_s": 0.0})

    def dies(model, step, generator):
        if step == 6:
            raise MemoryError
        return loss(model, step, generator)

    whole = fit(network(), loss, CFG, tmp_path / "whole")
    with pytest.raises(MemoryError):
        fit(network(), dies, cfg, tmp_path / "cut")
    seen = []

    def watched(model, step, generator):
        seen.append(step)
        return loss(model, step, generator)

    resumed = fit(network(), watched, cfg, tmp_path / "cut", resume=True)
    assert seen == [6, 7, 8] and same(resumed.model, whole.model)


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


def test_a_finished_run_returns_at_once(tmp_path):
    first = fit(network(), loss, CFG, tmp_path)
    file = tmp_path / "checkpoint.pt"
    stamp = file.stat().st_mtime_ns

    def never(*_):
        raise AssertionError

    again = fit(network(), never, CFG, tmp_path, resume=True)
    assert same(again.model, first.model) and same(again.ema, first.ema)
    assert again.losses == first.losses and file.stat().st_mtime_ns == stamp
    assert again.seconds == pytest.approx(first.seconds, abs=1)


def test_a_constant_run_may_go_on_longer(tmp_path):
    longer = TrainConfig(**{**vars(CFG), "steps": 12, "save_every_s": 5})
    fit(network(), loss, CFG, tmp_path / "a")
    grown = fit(network(), loss, longer, tmp_path / "a", resume=True)
    whole = fit(network(), loss, longer, tmp_path / "b")
    assert grown.losses == whole.losses and same(grown.model, whole.model)


def test_resume_without_a_run_starts_one(tmp_path):
    assert len(fit(network(), loss, CFG, tmp_path / "new", resume=True).losses) == 9


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


# --- mistakes ------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten(tmp_path):
    fit(network(), loss, CFG, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match="already holds a run; add --resume") as caught:
        fit(network(), loss, CFG, tmp_path)
    assert str(tmp_path) in one_line(caught)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("key", "value"),
    [("lr", 0.5), ("batch_size", 7), ("ema", 0.5), ("seed", 3), ("schedule", "cosine")],
)
def test_resuming_with_other_settings_is_one_line(tmp_path, key, value):
    fit(network(), loss, CFG, tmp_path)
    other = TrainConfig(**{**vars(CFG), key: value})
    with pytest.raises(UserError, match=f"made with {key}={getattr(CFG, key)}, not {value}") as e:
        fit(network(), loss, other, tmp_path, resume=True)
    one_line(e)


def test_a_cosine_run_has_one_length(tmp_path):
    """Its learning rate depends on the length: more steps would be another run."""
    cosine = TrainConfig(**{**vars(CFG), "schedule": "cosine"})
    fit(network(), loss, cosine, tmp_path)
    with pytest.raises(UserError, match="made with steps=9, not 20"):
        fit(network(), loss, TrainConfig(**{**vars(cosine), "steps": 20}), tmp_path, resume=True)


def test_a_constant_run_goes_on_as_the_first_half_of_a_trapezoid(tmp_path):
    """To the same bytes as the trapezoid at one go; what has begun to fall has one length."""
    falling = TrainConfig(**{**vars(CFG), "steps": 18, "schedule": "trapezoid"})
    whole = fit(network(), loss, falling, tmp_path / "whole")
    fit(network(), loss, CFG, tmp_path / "cut")  # 9 steps
    resumed = fit(network(), loss, falling, tmp_path / "cut", resume=True)
    assert resumed.losses == whole.losses and same(resumed.ema, whole.ema)
    longer = TrainConfig(**{**vars(falling), "steps": 20})
    with pytest.raises(UserError, match="made with steps=18, not 20"):
        fit(network(), loss, longer, tmp_path / "cut", resume=True)


def test_a_constant_run_past_the_half_is_no_trapezoid(tmp_path):
    fit(network(), loss, CFG, tmp_path)
    late = TrainConfig(**{**vars(CFG), "steps": 17, "schedule": "trapezoid"})
    with pytest.raises(UserError, match="made with schedule=constant, not trapezoid"):
        fit(network(), loss, late, tmp_path, resume=True)


def test_a_run_past_the_steps_asked_for_is_one_line(tmp_path):
    fit(network(), loss, CFG, tmp_path)
    with pytest.raises(UserError, match="at step 9 already, past steps=5") as caught:
        fit(network(), loss, TrainConfig(**{**vars(CFG), "steps": 5}), tmp_path, resume=True)
    one_line(caught)


def test_resuming_another_architecture_is_one_line(tmp_path):
    fit(network(), loss, CFG, tmp_path)
    with pytest.raises(UserError, match="another architecture") as caught:
        fit(nn.Conv2d(1, 1, 3), loss, CFG, tmp_path, resume=True)
    assert "checkpoint.pt" in one_line(caught)


IDENTITY = {"data": {"a.npz": "0" * 64}, "widths": (8, 16), "min_snr": 5.0}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"data": {"a.npz": "1" * 64, "b.npz": "2" * 64}}, "other data"),
        ({"widths": (8, 32)}, r"widths=\[8, 16\], not \[8, 32\]"),
        ({"min_snr": 0.0}, "min_snr=5.0, not 0.0"),
        ({"shift": 2}, "shift=None, not 2"),
    ],
)
def test_resuming_what_is_another_run_is_one_line(tmp_path, changed, words):
    """Other data, another architecture, another loss: none of them shows in `cfg`."""
    fit(network(), loss, CFG, tmp_path, identity=IDENTITY)
    fit(network(), loss, CFG, tmp_path, identity=IDENTITY, resume=True)
    with pytest.raises(UserError, match=f"made with {words}; resume with the same") as caught:
        fit(network(), loss, CFG, tmp_path, identity=IDENTITY | changed, resume=True)
    assert "checkpoint.pt" in one_line(caught)


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


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_one_line(tmp_path, share):
    fit(network(), loss, CFG, tmp_path)
    file = tmp_path / "checkpoint.pt"
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(UserError, match="not a readable checkpoint") as caught:
        fit(network(), loss, CFG, tmp_path, resume=True)
    assert str(file) in one_line(caught)


@pytest.mark.parametrize("content", ["text", {"model": {}}, {"config": 3}, [1]])
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="not a readable checkpoint") as caught:
        fit(network(), loss, CFG, tmp_path, resume=True)
    one_line(caught)


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
            _, complaint = worker.communicate(timeout=300)
            assert worker.returncode == 0, complaint.decode()[-2000:]
    finally:
        for worker in workers:
            worker.kill()
    (first, losses), (second, other_losses) = (torch.load(tmp_path / f"run{r}") for r in "01")
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert losses[0] != other_losses[0]
    assert (tmp_path / "run" / "checkpoint.pt").is_file()


def test_two_trainings_in_one_folder(tmp_path):
    """The second is told; the first goes on to its end."""

    def first(net, step, generator):
        with pytest.raises(UserError, match="another process is at work in"):
            fit(network(), loss, CFG, tmp_path, resume=True)
        return loss(net, step, generator)

    assert fit(network(), first, CFG, tmp_path).step == CFG.steps
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_what_was_watched_comes_back_as_it_was(tmp_path):
    class Watch:
        every = 3

        def __call__(self, model, step):
            return {"step": step, "accuracy": 0.5}

    first = fit(network(), loss, CFG, tmp_path, watch=Watch()).watched
    again = fit(network(), loss, CFG, tmp_path, resume=True, watch=Watch()).watched
    assert repr(again) == repr(first) and len(first) == 3  # a whole number stays one
