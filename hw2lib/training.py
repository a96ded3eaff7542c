"""One training loop for every model: EMA, atomic checkpoints, exact resume, mixed precision.

    loss(model, step, generator) -> scalar

is all that a model brings. Every random draw comes from `generator`, whose state is part of the
checkpoint: a run that was interrupted and resumed ends with the same bytes as one that was not.

Under `torchrun` several processes train one model as one would: each draws the same whole batches
and computes a part of each (`shared_out`).
"""

import copy
import errno
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from tqdm import tqdm

from hw2lib.device import device, mixed_precision, process
from hw2lib.errors import UserError
from hw2lib.io.parameters import Batch, Natural, NonNegative, Positive, Seed, settings
from hw2lib.io.paths import atomic_write, locked, place

Loss = Callable[[nn.Module, int, torch.Generator], Tensor]
LrSchedule = Literal["constant", "cosine", "trapezoid", "stairs"]  # see `learning_rate`


class Watch(Protocol):
    """Looks at the model in eval mode after every `every` steps."""

    every: int

    def __call__(self, model: nn.Module, step: int) -> dict[str, float]: ...


READ_EVERY = {"cuda": 50}  # steps between looks at the losses, which wait for the GPU; else 1


@settings
class TrainConfig:
    """Settings of one run; steps are optimiser steps, `ema` the decay of the weight average.

    The learning rate's schedule comes after a linear warm-up, see `learning_rate`.
    """

    steps: Natural
    batch_size: Batch = 64
    lr: Positive = 1e-3
    schedule: LrSchedule = "constant"
    weight_decay: NonNegative = 1e-4
    warmup: Natural = 100
    clip: Positive = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.999
    seed: Seed = 0
    save_every_s: NonNegative = 120.0


@dataclass
class Fitted:
    """A training, under way or done: networks, and what was seen on the way."""

    model: nn.Module  # the last weights
    ema: nn.Module  # their average
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    step: int = 0  # steps done
    losses: list[float] = field(default_factory=list)  # one a step
    watched: list[dict[str, float]] = field(default_factory=list)  # what `watch` saw
    seconds: float = 0.0  # of training, in all


def learning_rate(step: int, cfg: TrainConfig) -> float:
    """Linear warm-up, then constant, a cosine to zero, a trapezoid (half of the steps constant,
    then a line to zero: Hu et al. 2024), or stairs (a tenth of it after each quarter)."""
    done = min(1.0, step / max(1, cfg.steps))
    factor = {
        "constant": 1.0,
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "trapezoid": min(1.0, 2 * (1 - done)),
        "stairs": 0.1 ** int(4 * done),
    }[cfg.schedule]
    return cfg.lr * min(1.0, (step + 1) / max(1, cfg.warmup)) * factor


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
    shared: bool = False,
) -> Fitted:
    """Train `model` in place and keep `out/checkpoint.pt`; a finished run returns at once.

    identity: what makes the run what it is beside `cfg`, in JSON's types: digests of the data, the
    architecture, settings of the loss. watch: called after the last step too. shared: no sample's
    output depends on the others of its batch, so that several processes may share the batches.

    Errors: UserError when another process trains in `out`, when `out` already holds a run and
    `resume` is false, when its settings differ from `cfg` (where the learning rate has been
    constant so far, another number of steps will do, and a trapezoid that begins later) or its
    identity from `identity`, when the loss is no longer finite, when several processes cannot share
    a batch, and, after saving, when the run is interrupted (SIGINT, SIGTERM, SIGHUP).
    """
    where, (rank, world) = device(), process()
    if world > 1:
        join(where, world, label, cfg.batch_size, shared)
    model.to(where).train()
    ema = copy.deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), cfg.lr, (0.9, 0.99), weight_decay=cfg.weight_decay, fused=True
    )
    run = Fitted(model, ema, optimizer, torch.Generator().manual_seed(cfg.seed))
    checkpoint = Checkpoint(place(out) / "checkpoint.pt", cfg, identity or {})
    with locked(out):
        if checkpoint.file.exists():
            if not resume:
                raise UserError(
                    f"{out} already holds a run; add --resume to go on or name another folder"
                )
            checkpoint.restore(run)
        net = shared_out(model) if world > 1 else model

        unread: list[Tensor] = []  # losses that may not have been computed yet
        saved = time.perf_counter()
        began = saved - run.seconds  # as if the run had never stopped
        steps = range(run.step, cfg.steps)
        bar = tqdm(steps, label, initial=run.step, total=cfg.steps, delay=2, mininterval=2,
                   disable=rank > 0)  # fmt: skip
        with signals() as stop, bar:
            for step in bar:
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, cfg)
                with mixed_precision(where):
                    value = loss(net, step, run.generator)
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                if world > 1:
                    votes = sum_gradients(model, bool(stop))
                nn.utils.clip_grad_norm_(model.parameters(), cfg.clip)
                optimizer.step()
                update_ema(ema, model, step, cfg.ema)

                run.step, last = step + 1, step + 1 == cfg.steps
                look = step % READ_EVERY.get(where.type, 1) == 0
                asked = bool(stop) if world == 1 else look and votes.item() > 0  # in all alike
                save = last or asked or time.perf_counter() - saved > cfg.save_every_s
                unread.append(value.detach())
                if save or look:
                    run.losses += finite(unread, label, len(run.losses))
                    unread.clear()
                if watch and (last or run.step % watch.every == 0):
                    run.watched.append(watch(model.eval(), run.step))
                    model.train()
                if step % 50 == 0:
                    mean = sum(run.losses[-200:]) / len(run.losses[-200:])
                    bar.set_postfix(loss=f"{mean:.4f}", refresh=False)  # not before its delay
                if save:
                    saved = time.perf_counter()
                    run.seconds = saved - began  # the losses are read: a GPU has nothing left to do
                    if rank == 0:
                        checkpoint.save(run)
                if asked:
                    raise UserError(
                        f"{label}: interrupted after step {run.step} of {cfg.steps}; "
                        f"the checkpoint is {checkpoint.file}; go on with --resume"
                    )
    model.eval()
    return run


def finite(values: list[Tensor], label: str, first: int) -> list[float]:
    """The losses of the steps from `first`; UserError for one that is not a finite number."""
    read = torch.stack(values).tolist()
    for step, value in enumerate(read, first):
        if not math.isfinite(value):
            raise UserError(f"{label}: the loss is {value} at step {step}; lower lr")
    return read


@contextmanager
def signals() -> Iterator[list]:
    """Gives a list that SIGINT, SIGTERM and SIGHUP only fill: a step is never cut in half."""
    came: list = []
    before = {}
    try:
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(name) is not signal.SIG_IGN:  # as SIGHUP is under nohup
                before[name] = signal.signal(name, lambda number, _: came.append(number))
    except ValueError:  # not the main thread: leave the signals alone
        pass
    try:
        yield came
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


# --- several processes ---------------------------------------------------------------------------


def join(where: torch.device, world: int, label: str, batch_size: int, shared: bool) -> None:
    """Meet the other processes of this training; UserError where they cannot share its batches."""
    if not shared:
        raise UserError(
            f"{label}: {world} processes were started, but this network must see a batch whole; "
            "one process is right, a job for each seed"
        )
    if batch_size % world:
        raise UserError(f"batch_size={batch_size} for {world} processes; a multiple is right")
    if not dist.is_initialized():
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    dist.barrier()  # the first may still be writing the checkpoint of a run before this one


def shared_out(model: nn.Module) -> Callable[..., Tensor]:
    """`model` as a function of whole batches, of which each process computes a part.

    It takes tensors (B, ...) and returns the whole output (B, ...), the same in each, so that a
    loss is written as for one. Sample k is computed and differentiated by process k mod world.
    """
    rank, world = process()

    def forward(*batch: Tensor) -> Tensor:
        own = model(*(x[rank::world] for x in batch)).contiguous()  # (B / world, ...)
        parts = [torch.empty_like(own) for _ in range(world)]
        dist.all_gather(parts, own.detach())
        parts[rank] = own
        return torch.stack(parts, 1).flatten(0, 1)  # (B / world, world, ...) -> (B, ...)

    return forward


def sum_gradients(model: nn.Module, vote: bool) -> Tensor:
    """Replace each gradient by its sum over the processes; returns how many of them vote.

    All go as one tensor: one by one they took five times the processor's time.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in gradients), gradients[0].new_tensor([vote])])
    dist.all_reduce(flat)
    *sums, votes = flat.split([*(g.numel() for g in gradients), 1])
    for gradient, total in zip(gradients, sums, strict=True):
        gradient.copy_(total.view_as(gradient))
    return votes


# --- checkpoints ---------------------------------------------------------------------------------


class State(BaseModel):
    """What a checkpoint's file holds."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    config: dict[str, Any]
    identity: dict[str, Any]
    step: Natural
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    generator: Tensor
    losses: list[float]
    watched: list[dict[str, int | float]]
    seconds: NonNegative


class Checkpoint:
    """A file with all that a run needs to go on as if it had not stopped; whole or not there."""

    def __init__(self, file: Path, cfg: TrainConfig, identity: dict) -> None:
        self.file, self.config = file, asdict(cfg)
        self.identity = json.loads(json.dumps(identity))  # tuples become lists, as in a file

    def save(self, run: Fitted) -> None:
        state = {
            "config": self.config, "identity": self.identity, "step": run.step,
            "model": run.model.state_dict(), "ema": run.ema.state_dict(),
            "optimizer": run.optimizer.state_dict(), "generator": run.generator.get_state(),
            "losses": run.losses, "watched": run.watched, "seconds": run.seconds,
        }  # fmt: skip
        with atomic_write(self.file) as part:
            try:
                torch.save(state, part)
            except RuntimeError as error:  # torch's for a write that was cut short
                if "inline_container" not in str(error):
                    raise
                full = errno.ENOSPC
                raise OSError(full, os.strerror(full), str(self.file)) from None

    def restore(self, run: Fitted) -> None:
        """Put the run where the file's stopped; UserError if it was made in another way."""
        try:
            state = State(**torch.load(self.file, map_location="cpu", weights_only=True))
            self._check_same_run(state)
            try:
                run.model.load_state_dict(state.model)
                run.ema.load_state_dict(state.ema)
            except RuntimeError:
                raise UserError(
                    f"{self.file} holds another architecture; resume with the same one or name "
                    "another folder"
                ) from None
            run.optimizer.load_state_dict(state.optimizer)
            run.generator.set_state(state.generator)
        except UserError:
            raise
        except Exception as error:  # torch.load meets damaged bytes with errors of every kind
            raise UserError(
                f"{self.file} is not a readable checkpoint ({type(error).__name__}); delete it to "
                "start again"
            ) from None
        for name in ("step", "losses", "watched", "seconds"):
            setattr(run, name, getattr(state, name))

    def _check_same_run(self, state: State) -> None:
        """UserError that names the first setting whose value is not that of the checkpoint."""
        steps, free = self.config["steps"], {"save_every_s"}
        if all(_level({**self.config, **one}, state.step) for one in (state.config, self.config)):
            free |= {"steps", "schedule"}
        config = state.config | {key: self.config[key] for key in free}
        for old, new in ((config, self.config), (state.identity, self.identity)):
            for key in sorted(old.keys() | new.keys()):
                if old.get(key) != new.get(key):
                    values = f"{key}={old.get(key)}, not {new.get(key)}"
                    values = values if len(values) < 120 else f"other {key}"
                    raise UserError(
                        f"{self.file} was made with {values}; resume with the same settings or "
                        "name another folder"
                    )
        if state.step > steps:
            raise UserError(
                f"{self.file} is at step {state.step} already, past steps={steps}; ask for more"
            )


def _level(cfg: dict, done: int) -> bool:
    """Whether none of the first `done` steps has come down from the warm-up's end: such a run is
    the same run for whatever number of steps is asked for."""
    schedule, steps = cfg["schedule"], cfg["steps"]
    return schedule == "constant" or (schedule == "trapezoid" and 2 * done <= steps)
