"""Domain-adversarial training (DANN, Ganin et al., JMLR 2016) from MNIST-M to SVHN and USPS.

Three parts: an extractor f, a label head y and a domain head d. With labels for the source only,

    label head:   minimise  L_y
    domain head:  minimise  L_d = BCE(sigmoid d(f(x_source)), 1) + BCE(sigmoid d(f(x_target)), 0)
    extractor:    minimise  L_y - lambda L_d

in one backward pass, because `gradient_reversal` sits between f and d. lambda is the paper's ramp
lambda_max (2 / (1 + exp(-10 p)) - 1), p the share of steps done, or with form="report" the
constant .31 of the report being reproduced.

Beside the adversarial loss the `dann` row may learn from the target's images (never its labels)
by an averaged teacher and by entropy and balance; `Settings` says what is on, and so does every
result. The table's number is the last iterate's: no target label chooses a step or a seed.

    result = run("usps", "quick", seeds=[0])
    result["rows"]["dann"][0].accuracy
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib import digits
from hw2lib.dann_inputs import HANDLING, Handling, prepare
from hw2lib.dann_net import (
    SOURCE,
    SOURCE_OF,
    TARGET,
    TARGETS,
    DomainHead,
    Network,
    channels_last,
    classify_tensor,
    gradient_reversal,
    save,
)
from hw2lib.dann_net import classify as classify  # for callers of this module
from hw2lib.digits import DigitDomain, DigitSet
from hw2lib.paths import UserError, runs_dir, writable_dir
from hw2lib.training import TrainConfig, device, fit, update_ema

ROWS = ("source_only", "dann", "target_only")
REPORT_LAMBDA = 0.31


# --- settings ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """One run. Equal for its three rows; the second half is the `dann` row's alone."""

    steps: int
    batch_size: int = 64  # of each domain
    lr: float = 2e-3
    masks: bool = True  # use the source's stroke masks where the data have them

    form: str = "ramp"  # ramp | report
    lam: float = 0.3  # lambda_max of the ramp; 0 turns the adversarial loss off
    teacher: float = 1.0  # weight of the teacher's labels, ramped like lambda; 0: off
    threshold: float = 0.9  # confidence from which the teacher's label is used
    decay: float = 0.99  # of the teacher's average
    entropy: float = 0.1  # weight of the target's entropy, ramped; 0: off
    balance: float = 0.1  # weight of the class balance on the target, ramped; 0: off

    def __post_init__(self) -> None:
        for name, right, fits in (
            ("steps", "a whole number from 1", self.steps >= 1),
            ("batch_size", "a whole number from 2", self.batch_size >= 2),
            ("form", "ramp or report", self.form in ("ramp", "report")),
            ("threshold", "a number from 0 to 1", 0 <= self.threshold <= 1),
            ("decay", "a number from 0 to below 1", 0 <= self.decay < 1),
            *((name, "a number from 0", 0 <= getattr(self, name) < math.inf)
              for name in ("lam", "teacher", "entropy", "balance")),
        ):  # fmt: skip
            if not fits:
                raise UserError(f"{name}={getattr(self, name)} is out of range; {right} is right")
        self.train()  # has its say on lr

    def train(self, seed: int = 0) -> TrainConfig:
        """The settings of the training loop."""
        return TrainConfig(
            self.steps, self.batch_size, self.lr, "cosine", 1e-4, min(50, self.steps // 5), 5.0,
            seed=seed,
        )  # fmt: skip

    def extras(self) -> str:
        """What is on in the `dann` row beside label loss and input handling, in words."""
        parts = []
        if self.form == "report" or self.lam:
            parts.append("adversarial loss" + (" (report's form)" if self.form == "report" else ""))
        if self.teacher:
            parts.append("averaged teacher")
        if self.entropy or self.balance:
            parts.append("entropy and class balance")
        return ", ".join(parts) or "nothing"


PRESETS = {"quick": Settings(steps=150, batch_size=32), "full": Settings(steps=1200)}


def settings_for(preset: str, **changes) -> Settings:
    """A preset with some fields changed; strings are read as the field's type (`--set key=value`).

    Errors: UserError for an unknown preset, field or value.
    """
    if preset not in PRESETS:
        raise UserError(f"preset {preset!r} is unknown; choose {' or '.join(PRESETS)}")
    base, known = PRESETS[preset], [f.name for f in fields(Settings)]
    values = {}
    for key, value in changes.items():
        if key not in known:
            raise UserError(f"setting {key!r} is unknown; dann has {', '.join(known)}")
        kind = type(getattr(base, key))
        try:
            truth = {"true": True, "false": False, "1": True, "0": False}
            values[key] = truth[str(value).lower()] if kind is bool else kind(value)
        except (ValueError, KeyError):
            raise UserError(f"setting {key}={value!r} is no {kind.__name__}") from None
    return replace(base, **values)


def ramp(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: from 0 at p = 0 to 1 at p = 1."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


def strength(settings: Settings, progress: float) -> float:
    """lambda after the share `progress` of the steps."""
    return REPORT_LAMBDA if settings.form == "report" else settings.lam * ramp(progress)


# --- losses ------------------------------------------------------------------------------------


def domain_loss(head: DomainHead, source: Tensor, target: Tensor, lam: float) -> Tensor:
    """L_d of features (B, 256) with the reversal in front; source is 1, target 0."""
    s = head(gradient_reversal(source, lam))
    t = head(gradient_reversal(target, lam))
    return F.binary_cross_entropy_with_logits(
        s, torch.ones_like(s)
    ) + F.binary_cross_entropy_with_logits(t, torch.zeros_like(t))


def entropy_and_balance(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(mean entropy of each image, minus the entropy of the mean) of target logits (B, 10)."""
    p = logits.softmax(1)
    mean = p.mean(0)
    return -(p * logits.log_softmax(1)).sum(1).mean(), (mean * (mean + 1e-6).log()).sum()


class Adaptation(nn.Module):
    """Student and averaged teacher; forward gives the loss of one step of the `dann` row."""

    def __init__(self, settings: Settings, channels: int = 1) -> None:
        super().__init__()
        self.settings = settings
        self.student = Network(channels)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Adaptation:
        super().train(mode)
        self.teacher.eval()  # a teacher never takes batch statistics
        return self

    def forward(
        self, source: Tensor, labels: Tensor, target: Tensor, plain: Tensor, step: int
    ) -> Tensor:
        """source, target: handled batches (B, C, 28, 28); plain: the target only standardised."""
        cfg, net = self.settings, self.student
        progress = step / cfg.steps
        f_source = net.extractor(source, SOURCE)
        f_target = net.extractor(target, TARGET)
        loss = F.cross_entropy(net.label_head(f_source), labels)
        if lam := strength(cfg, progress):
            # The domain head learns at full speed; the reversal alone carries lambda.
            loss = loss + domain_loss(net.domain_head, f_source, f_target, lam)
        logits = net.label_head(f_target)
        if cfg.teacher:
            with torch.no_grad():
                update_ema(self.teacher, net, step, cfg.decay)
                confidence, guess = self.teacher(plain, TARGET).softmax(1).max(1)
            taught = F.cross_entropy(logits, guess, reduction="none")
            taught = (taught * (confidence > cfg.threshold)).mean()
            loss = loss + cfg.teacher * ramp(progress) * taught
        if cfg.entropy or cfg.balance:
            entropy, balance = entropy_and_balance(logits)
            loss = loss + ramp(progress) * (cfg.entropy * entropy + cfg.balance * balance)
        return loss


class Plain(nn.Module):
    """The rows that learn from one domain's labels: forward gives the loss of one step."""

    def __init__(self, domain: int, channels: int = 1) -> None:
        super().__init__()
        self.domain = domain
        self.student = Network(channels)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.student(images, self.domain), labels)


# --- training ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One row of the table for one seed, measured on the target's test images."""

    name: str
    seed: int
    correct: np.ndarray  # bool (n,)
    accuracy: float
    source_correct: np.ndarray  # bool (m,), on the source's test images
    losses: list[float]
    seconds: float
    network: Network


class Batches:
    """Random batches of one domain's training images, handled, on the device."""

    def __init__(self, data: DigitSet, handling: Handling, channels: int, masks: bool) -> None:
        self.data, self.handling, self.channels = data, handling, channels
        self.masks = data.masks if masks else None

    def __call__(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """(handled (B, C, 28, 28), only standardised, labels (B,))."""
        index = torch.randint(len(self.data), (size,), generator=generator)
        where = device()
        images = self.data.images[index].to(where)
        masks = None if self.masks is None else self.masks[index].to(where)
        handled = prepare(images, self.handling, generator, masks=masks, channels=self.channels)
        plain = prepare(images, None, channels=self.channels)
        return channels_last(handled), channels_last(plain), self.data.labels[index].to(where)


def train_row(
    row: str,
    source: DigitDomain,
    target: DigitDomain,
    preset: str = "quick",
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    **changes,
) -> Row:
    """Train one of ROWS and measure its last iterate on the target's test images.

    Keeps checkpoint.pt and, for `dann`, the weights dann.safetensors in `out` (default: a folder
    below `runs_dir()`).
    Errors: UserError for an unknown row, preset or setting, and when `out` holds another run.
    """
    if row not in ROWS:
        raise UserError(f"row {row!r} is unknown; choose one of {', '.join(ROWS)}")
    cfg = settings_for(preset, **changes)
    default = runs_dir() / run_name(target.name, preset, target.source) / f"seed-{seed}"
    out = writable_dir(Path(out) if out else default / row)
    channels = channels_for(target.name)
    handling = HANDLING[target.name]
    from_source = Batches(source.train, handling[0], channels, cfg.masks)
    from_target = Batches(target.train, handling[1], channels, False)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        if row == "source_only":
            images, _, labels = from_source(cfg.batch_size, generator)
            return model(images, labels)
        if row == "target_only":
            images, _, labels = from_target(cfg.batch_size, generator)
            return model(images, labels)
        images, _, labels = from_source(cfg.batch_size, generator)
        other, plain, _ = from_target(cfg.batch_size, generator)  # its labels stay here
        return model(images, labels, other, plain, step)

    domain = SOURCE if row == "source_only" else TARGET
    torch.manual_seed(seed)
    model = Adaptation(cfg, channels) if row == "dann" else Plain(domain, channels)
    model = model.to(memory_format=torch.channels_last)
    fitted = fit(
        model, loss, cfg.train(seed), out, resume=resume, label=f"{row}, seed {seed}",
        identity={"row": row, **asdict(cfg), "handling": [asdict(h) for h in handling],
                  "data": _data_of(source, target)},
    )  # fmt: skip
    network = fitted.model.student.eval()
    if row == "dann":
        save(network, out / "dann.safetensors", target=target.name, source=target.source,
             preset=preset, seed=seed, settings=asdict(cfg))  # fmt: skip
    correct = classify_tensor(network, target.test.images, domain) == target.test.labels
    # A row without source labels has no source statistics either: it uses its own.
    own = TARGET if row == "target_only" else SOURCE
    held = classify_tensor(network, source.test.images, own) == source.test.labels
    return Row(
        row,
        seed,
        correct.numpy(),
        correct.double().mean().item(),
        held.numpy(),
        fitted.losses,
        fitted.seconds,
        network,
    )


def run(
    target: str,
    preset: str = "quick",
    seeds: int | Sequence[int] = 1,
    out: str | Path | None = None,
    resume: bool = True,
    source: str = "auto",
    **changes,
) -> dict:
    """The three rows for one target; finished rows are picked up from `out`.

    target: svhn, usps (from MNIST-M) or mnistm (from MNIST); seeds: how many, or which ones;
    source: where the data come from, as in `digits.load`.
    Returns target, preset, seeds, settings, source_domain and target_domain (DigitDomain),
    rows {name: [Row, one a seed]}, seconds, out (the folder).
    """
    domains = load_pair(target, source)
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds:
        raise UserError("seeds is 0; at least 1 is needed")
    out = Path(out) if out else runs_dir() / run_name(target, preset, domains[1].source)
    rows: dict[str, list[Row]] = {name: [] for name in ROWS}
    for seed in seeds:
        for name in ROWS:
            folder = out / f"seed-{seed}" / name
            rows[name].append(train_row(name, *domains, preset, seed, folder, resume, **changes))
    return {
        "target": target,
        "preset": preset,
        "seeds": seeds,
        "settings": settings_for(preset, **changes),
        "source_domain": domains[0],
        "target_domain": domains[1],
        "rows": rows,
        "seconds": sum(row.seconds for several in rows.values() for row in several),
        "out": out,
    }


def load_pair(target: str, source: str = "auto") -> tuple[DigitDomain, DigitDomain]:
    """(source, target) domains, both of the same kind of data where `source` is "auto"."""
    if target not in TARGETS:
        raise UserError(f"target {target!r} is unknown; choose one of {', '.join(TARGETS)}")
    pair = tuple(digits.load(name, source) for name in (SOURCE_OF[target], target))
    if source == "auto" and {"embedded"} < {domain.source for domain in pair}:
        pair = tuple(digits.load(domain.name, "embedded") for domain in pair)
    return pair


def run_name(target: str, preset: str, source: str) -> str:
    """Folder of a run: dann-svhn for a full one on real data, else with what makes it differ."""
    name = f"dann-{target}"
    if preset != "full":
        name += f"-{preset}"
    return name + ("-embedded" if source == "embedded" else "")


def channels_for(target: str) -> int:
    """MNIST-M's ink shows in colour, SVHN's and USPS's in grey."""
    return 3 if target == "mnistm" else 1


def _data_of(*domains: DigitDomain) -> dict:
    return {d.name: {"source": d.source, "train": len(d.train), **d.sha256} for d in domains}
