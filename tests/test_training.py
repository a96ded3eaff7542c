"""training: precision, exact resume, errors of one line."""

import math
import signal

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import network
from torch import nn

from hw2lib import device, training
from hw2lib.diffusion import draw_noise
from hw2lib.errors import UserError
from hw2lib.training import TrainConfig, fit

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


# --- precision -----------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [False, True])
def test_bfloat16_only_where_the_processor_has_units_for_it(monkeypatch, units):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    cpu, net = torch.device("cpu"), network()
    with device.mixed_precision(cpu):
        y = net[0](torch.zeros(1, 1, 8, 8))
    assert y.dtype == (torch.bfloat16 if units else torch.float32)
    weight = device.training_layout(net)[0].weight
    assert weight.dtype == torch.float32
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # torch 2.11
    assert not device.fast_bfloat16(cpu) and device.fast_bfloat16(torch.device("cuda"))


# --- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0, 1, 4, 8])
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
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


@pytest.mark.parametrize(
    "where",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
def test_the_generator_alone_fixes_the_noise_wherever_it_is_drawn(where):
    x = torch.zeros(64, 3, 8, 8, device=where)
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    first, second = (draw_noise(x, generator) for _ in range(2))
    generator.set_state(state)
    assert torch.equal(draw_noise(x, generator), first) and first.device == x.device
    assert not torch.equal(first, second)
    assert abs(first.mean()) < 0.05 and abs(first.std() - 1) < 0.05
