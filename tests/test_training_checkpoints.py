"""training: runs that are cut off and resumed, and checkpoints that do not fit, in one line."""

import signal

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import network
from helpers.runs import CFG, loss, same, stopped_at
from torch import nn

from hw2lib.errors import UserError
from hw2lib.training import TrainConfig, fit

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


def test_what_was_watched_comes_back_as_it_was(tmp_path):
    class Watch:
        every = 3

        def __call__(self, model, step):
            return {"step": step, "accuracy": 0.5}

    first = fit(network(), loss, CFG, tmp_path, watch=Watch()).watched
    again = fit(network(), loss, CFG, tmp_path, resume=True, watch=Watch()).watched
    assert repr(again) == repr(first) and len(first) == 3  # a whole number stays one


# --- mistakes ------------------------------------------------------------------------------------


def test_a_run_is_not_overwritten(tmp_path):
    fit(network(), loss, CFG, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(UserError, match="already holds a run; add --resume") as caught:
        fit(network(), loss, CFG, tmp_path)
    assert str(tmp_path) in one_line(caught)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_two_trainings_in_one_folder(tmp_path):
    """The second is told; the first goes on to its end."""

    def first(net, step, generator):
        with pytest.raises(UserError, match="another process is at work in"):
            fit(network(), loss, CFG, tmp_path, resume=True)
        return loss(net, step, generator)

    assert fit(network(), first, CFG, tmp_path).step == CFG.steps
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


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
