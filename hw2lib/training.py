"""One training loop for every model: EMA, atomic checkpoints, exact resume, mixed precision.

    loss(model, step, generator) -> scalar

is all that a model brings. Every random draw comes from `generator`, whose state is part of the
checkpoint: a run that was interrupted and resumed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from tqdm import tqdm

from hw2lib.device import device, mixed_precision
from hw2lib.errors import UserError
from hw2lib.io.parameters import Count, Natural, NonNegative, Positive, Seed, settings
from hw2lib.io.paths import atomic_write, writable_dir

Loss = Callable[[nn.Module, int, torch.Generator], Tensor]
Watch = Callable[[nn.Module, int], dict[str, float]]
READ_EVERY = {"cuda": 50}  # steps between looks at the losses, which wait for the GPU; else 1


@settings
class TrainConfig:
    """Settings of one run; steps are optimiser steps, `ema` the decay of the weight average.

    The learning rate's schedule comes after a linear warm-up, see `learning_rate`.
    """

    steps: Natural
    batch_size: Count = 64
    lr: Positive = 1e-3
    schedule: Literal["constant", "cosine", "trapezoid"] = "constant"
    weight_decay: NonNegative = 1e-4
    warmup: Natural = 100
    clip: Positive = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    seed: Seed = 0
    save_every_s: NonNegative = 120.0


@dataclass
class Fitted:
    """What a run leaves: the last weights, their average, one loss a step, seconds of training."""

    model: nn.Module
    ema: nn.Module
    losses: list[float]
    seconds: float
    watched: list[dict[str, float]] = field(default_factory=list)  # what `watch` saw


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """Linear warm-up, then constant, a cosine that ends at zero, or a trapezoid: constant for the
    first half of the steps, then a straight line that ends at zero (Hu et al. 2024)."""
    warm = min(1.0, (step + 1) / max(1, cfg.warmup))
    done = min(1.0, step / max(1, cfg.steps))
    factor = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "trapezoid": min(1.0, 2 * (1 - done)),
    }[cfg.schedule]
    return cfg.lr * warm * factor


def _level(cfg: dict, done: int) -> bool:
    """Whether none of the first `done` steps has come down from the warm-up's end: such a run is
    the same run for whatever number of steps is asked for."""
    schedule, steps = cfg["schedule"], cfg["steps"]
    return schedule == "constant" or (schedule == "trapezoid" and 2 * done <= steps)


def fit(
    model: nn.Module,
    loss: Loss,
    cfg: TrainConfig,
    out: str | Path,
    *,
    resume: bool = False,
    label: str = "training",
    identity: dict | None = None,
    watch: Watch | None = None,
    watch_every: int = 1,
) -> Fitted:
    """Train `model` in place and keep `out/checkpoint.pt`; a finished run returns at once.

    `identity` holds what makes the run what it is beside `cfg`, in JSON's types: digests of the
    data, the architecture, settings of the loss. It is kept in the checkpoint.

    `watch(model, steps done)` looks at the model in eval mode after every `watch_every` steps and
    after the last; what it returns is kept in the checkpoint too.

    Errors: UserError when `out` already holds a run and `resume` is false, when its settings
    differ from `cfg` (where the learning rate has been constant so far, another number of steps
    will do, and a trapezoid that begins later) or its identity from `identity`,
    when the loss is no longer finite, and, after saving, when the run is interrupted (SIGINT or
    SIGTERM).

    Under torchrun or `accelerate launch` the first process keeps the checkpoint; after a resume
    the others draw anew, so only a run of one process is resumed exactly.
    """
    out = writable_dir(out)
    file = out / "checkpoint.pt"
    if file.exists() and not resume:
        raise UserError(f"{out} already holds a run; add --resume to go on or name another folder")
    where = device()
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    rank = int(os.environ.get("RANK", "0"))
    model.to(where).train()
    ema = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=cfg.lr,
        weight_decay=cfg.weight_decay,
        betas=(0.9, 0.99),
        fused=True,
    )
    # Each process draws its own batches.
    generator = torch.Generator().manual_seed(cfg.seed + 1_000_003 * rank)
    start, losses, watched, before = 0, [], [], 0.0
    identity = json.loads(json.dumps(identity or {}))  # tuples become lists, as in a file
    if file.exists():
        start, losses, watched, before = _restore(
            file, cfg, identity, model, ema, optimizer, generator
        )
        if rank > 0:  # the checkpoint's generator is the first process's
            generator.manual_seed(cfg.seed + 1_000_003 * rank + 7_919 * start)
    net: nn.Module = model
    if several:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=where.type == "cpu")
        net, optimizer = accelerator.prepare(model, optimizer)

    def read() -> None:
        for value in torch.stack(unread).tolist() if unread else []:
            if not math.isfinite(value):
                raise UserError(f"{label}: the loss is {value} at step {len(losses)}; lower lr")
            losses.append(value)
        unread.clear()

    def save(step: int) -> None:
        read()
        if rank == 0:
            state = {
                "config": asdict(cfg),
                "identity": identity,
                "step": step,
                "model": model.state_dict(),
                "ema": ema.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "losses": losses,
                "watched": watched,
                "seconds": before + time.perf_counter() - began,
            }
            with atomic_write(file) as part:
                torch.save(state, part)

    unread: list[Tensor] = []  # losses that may not have been computed yet
    read_every = READ_EVERY.get(where.type, 1)
    began = saved = time.perf_counter()
    step = start
    with _Stop() as stop:
        bar = tqdm(
            range(start, cfg.steps), label, initial=start, total=cfg.steps, delay=2, mininterval=2
        )
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, cfg)
            with mixed_precision(where):
                value = loss(net, step, generator)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(value) if several else value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
            optimizer.step()
            update_ema(ema, model, step, cfg.ema)
            unread.append(value.detach())
            if step % read_every == 0:
                read()
            if watch and ((step + 1) % watch_every == 0 or step + 1 == cfg.steps):
                model.eval()
                watched.append(watch(model, step + 1))
                model.train()
            if step % 50 == 0:
                bar.set_postfix(loss=f"{sum(losses[-200:]) / len(losses[-200:]):.4f}")
            if stop.asked:
                save(step + 1)
                raise UserError(
                    f"{label}: interrupted after step {step + 1} of {cfg.steps}; "
                    f"the checkpoint is {file}; go on with --resume"
                )
            if time.perf_counter() - saved > cfg.save_every_s:
                save(step + 1)
                saved = time.perf_counter()
    read()
    seconds = before + time.perf_counter() - began
    if start < cfg.steps:
        save(cfg.steps)
    return Fitted(model.eval(), ema, losses, seconds, watched)


class _Stop:
    """Turns the first SIGINT or SIGTERM into a flag, so that a step is never cut in half."""

    def __enter__(self) -> _Stop:
        self.asked = False
        self.old = {}
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self.old[name] = signal.signal(name, self._ask)
        except ValueError:  # not the main thread: leave the signals alone
            pass
        return self

    def _ask(self, *_: object) -> None:
        self.asked = True

    def __exit__(self, *_: object) -> None:
        for name, handler in self.old.items():
            signal.signal(name, handler)


def _restore(
    file, cfg, identity, model, ema, optimizer, generator
) -> tuple[int, list[float], list[dict[str, float]], float]:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        old, new = dict(state["config"]), asdict(cfg)
        old_identity = dict(state.get("identity", identity))  # older checkpoints have none
        done, losses, seconds = state["step"], state["losses"], state["seconds"]
        watched = state.get("watched", [])
    except Exception as error:
        raise UserError(
            f"{file} is not a readable checkpoint ({type(error).__name__}); "
            "delete it to start again"
        ) from None
    level = all(_level({**new, **settings}, done) for settings in (old, new))
    free = {"save_every_s"} | ({"steps", "schedule"} if level else set())
    _check_same(file, old | {key: new[key] for key in free}, new)
    _check_same(file, old_identity, identity)
    if done > cfg.steps:
        raise UserError(f"{file} is at step {done} already, past steps={cfg.steps}; ask for more")
    try:
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
    except RuntimeError:
        raise UserError(
            f"{file} holds another architecture; resume with the same one or name another folder"
        ) from None
    optimizer.load_state_dict(state["optimizer"])
    generator.set_state(state["generator"])
    return done, losses, watched, seconds


def _check_same(file: Path, old: dict, new: dict) -> None:
    """UserError that names the first setting whose value is not that of the checkpoint."""
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            values = f"{key}={old.get(key)}, not {new.get(key)}"
            raise UserError(
                f"{file} was made with {values if len(values) < 120 else 'other ' + key}; "
                "resume with the same settings or name another folder"
            )


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """ema <- d ema + (1 - d) model with d = min(decay, (1 + step) / (10 + step)).

    Buffers (batch statistics) are averaged too where they are floating point.
    """
    d = min(decay, (1 + step) / (10 + step))
    average = list(ema.parameters()) + list(ema.buffers())
    current = list(model.parameters()) + list(model.buffers())
    pairs = list(zip(average, current, strict=True))
    floating = [(a, c.detach()) for a, c in pairs if a.is_floating_point()]
    torch._foreach_lerp_(*map(list, zip(*floating, strict=True)), 1 - d)  # few launches on a GPU
    for a, c in pairs:
        if not a.is_floating_point():
            a.copy_(c)
