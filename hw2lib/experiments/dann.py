"""Domain-adversarial training (DANN, Ganin et al., JMLR 2016) from MNIST-M to SVHN and USPS.

Three parts: an extractor f, a label head y and a domain head d. With labels for the source only,

    label head:   minimise  L_y
    domain head:  minimise  L_d = BCE(sigmoid d(f(x_source)), 1) + BCE(sigmoid d(f(x_target)), 0)
    extractor:    minimise  L_y - lambda L_d

in one backward pass, because `gradient_reversal` sits between f and d; lambda grows by `ramp`. The
table's number is the last iterate's: no target label chooses a step or a seed.

    run("usps", "quick", seeds=[0])["rows"]["dann"][0].accuracy
    train(Row("mine", losses={"adversarial": 0.1}, steps=500), problem)
"""

import copy
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib.adaptation import LOSSES, Step, entropy_and_balance
from hw2lib.datasets import digits
from hw2lib.datasets.augment import PLAIN
from hw2lib.datasets.digits import DigitSet
from hw2lib.datasets.pairs import Batches, Problem, Unlabelled, load_problem, supervised
from hw2lib.errors import UserError
from hw2lib.experiments.dann_rows import TABLE, Row, row_for, with_settings
from hw2lib.io.paths import place, runs_dir
from hw2lib.models.dann_net import SOURCE, TARGET, Network, classify_tensor, features, save
from hw2lib.training import Loss, fit, update_ema

TEACHER_DECAY = 0.99
WATCHED = 6, 12  # times that a training is looked at, at least and at most
BETWEEN = 50  # steps from one look to the next in between: a look takes as long as twenty steps
SAMPLE = 1000  # images of each set that are looked at then
ORACLE = 2007  # of the target's test images, at most


class Learner(nn.Module):
    """A network and its mean teacher; forward gives the loss of one step."""

    def __init__(self, row: Row, channels: int = 1, readings: int = 1) -> None:
        super().__init__()
        self.row = row
        self.student = Network(
            channels, standardise="standardise" not in row.off, separate=row.separate,
            readings=readings,
        )  # fmt: skip
        self.teacher = copy.deepcopy(self.student).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.teacher.eval()  # a teacher never takes batch statistics
        return self

    def forward(
        self, step: int, source: Tensor, labels: Tensor,
        target: Tensor | None = None, plain: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """source, target: handled batches (B, C, 28, 28); plain: the target only standardised."""
        row, net = self.row, self.student
        progress = step / row.steps
        if progress >= row.frozen_after:
            net.extractor.eval()
        if not row.adapts:
            return F.cross_entropy(net(source, SOURCE), labels)
        if "teacher" in row.losses:
            update_ema(self.teacher, net, step, TEACHER_DECAY)
        f_source, f_target = net.both(source, target)
        state = Step(net, self.teacher, labels, f_source, f_target, net.label_head(f_target), plain)
        label_loss = F.cross_entropy(net.label_head(f_source), labels)
        loss = row.label_weight(progress) * label_loss
        for name in row.losses:
            loss = loss + LOSSES[name](state, row.weight(name, progress))
        return loss


@dataclass(frozen=True)
class Trained:
    """One row for one seed, measured on the target's test images after the last step."""

    row: Row
    seed: int
    read: np.ndarray  # (n,) digits read from the target's test images
    correct: np.ndarray  # bool (n,)
    source_correct: np.ndarray  # bool (m,), on the source's test images
    curve: list[dict[str, float]]  # what `Watch` saw
    losses: list[float]
    seconds: float
    network: Network
    problem: Problem

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())

    def chosen_by(self, score: str) -> float:
        """The target's test accuracy at the look with the highest `score` of the curve.

        score: "information" or "source_accuracy", which use no target label, or "oracle", which
        does.
        """
        return max(self.curve, key=lambda look: look[score])["oracle"]


class Watch:
    """Looks at a network during training: on images that no step trains on, and without labels.

    step, label_loss and source_accuracy (source validation), domain_accuracy (of the domain head,
    where it is trained), lambda, information (nats: what predictions on target images say of the
    digit, see `entropy_and_balance`), and oracle: accuracy on the target's test images, which
    is kept for comparison and chooses nothing.
    """

    def __init__(self, row: Row, problem: Problem) -> None:
        few, many = (row.steps // times for times in WATCHED)
        self.row, self.problem, self.every = row, problem, max(1, min(max(BETWEEN, many), few))
        held = problem.held or problem.source
        n = min(SAMPLE, row.steps)  # a short training is looked at more briefly
        self.held, self.held_labels = held.images[:n], held.labels[:n]
        self.target = problem.target.images[:n]
        self.test = problem.test.images[:ORACLE], problem.test.labels[:ORACLE]

    @torch.no_grad()
    def __call__(self, model: Learner, step: int) -> dict[str, float]:
        net, row = model.student, self.row
        where = next(net.parameters()).device
        f_source = features(net, self.held, SOURCE).to(where)
        domain = TARGET if row.adapts else SOURCE
        f_target = features(net, self.target, domain).to(where)
        logits = net.label_head(f_source).cpu()
        entropy, balance = entropy_and_balance(net.label_head(f_target).cpu())
        read = classify_tensor(net, self.test[0], domain)
        look = {
            "step": step,
            "label_loss": F.cross_entropy(logits, self.held_labels).item(),
            "source_accuracy": (logits.argmax(1) == self.held_labels).double().mean().item(),
            "information": -(entropy + balance).item(),
            "oracle": (read == self.test[1]).double().mean().item(),
        }
        if "adversarial" in row.losses:
            right = [net.domain_head(f_source) > 0, net.domain_head(f_target) <= 0]
            look["domain_accuracy"] = sum(r.double().mean().item() for r in right) / 2
            look["lambda"] = row.weight("adversarial", step / row.steps)
        return look


def learner(row: Row, problem: Problem, seed: int = 0) -> tuple[Learner, Loss]:
    """A fresh network, and the loss of one step on batches drawn for it: what `fit` trains."""
    handling = [handled.without(*row.off) for handled in problem.handling]
    from_source = Batches(problem.source, handling[0], problem.channels)
    from_target = Batches(problem.target, handling[1], problem.channels)

    def loss(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        source, _, labels = from_source(row.batch_size, generator)
        if not row.adapts:
            return model(step, source, labels)
        return model(step, source, labels, *from_target(row.batch_size, generator))

    torch.manual_seed(seed)
    inverted = all(handled.flip for handled in handling)
    model = Learner(row, problem.channels, 2 if inverted else 1)
    return model.to(memory_format=torch.channels_last), loss


def train(
    row: Row,
    problem: Problem,
    seed: int = 0,
    out: str | Path | None = None,
    resume: bool = False,
    **header: Any,
) -> Trained:
    """Train a row on a problem and measure its last iterate on the target's test images.

    Keeps checkpoint.pt and the weights dann.safetensors, with `header` in its header, in `out`
    (default: a folder below `runs_dir()`).
    Errors: UserError when `out` holds another run.
    """
    out = place(out or runs_dir() / f"dann-{problem.name}-own" / f"seed-{seed}")
    model, loss = learner(row, problem, seed)
    fitted = fit(
        model, loss, row.train(seed), out, resume=resume, label=f"{row.title}, seed {seed}",
        identity={**row.settings(), "handling": [vars(h) for h in problem.handling],
                  "data": {**problem.sha256, "source images": len(problem.source),
                           "target images": len(problem.target)}},
        watch=Watch(row, problem),
    )  # fmt: skip
    network = fitted.model.student.eval()
    save(network, out / "dann.safetensors", target=problem.name, source=problem.data, seed=seed,
         title=row.title, settings=row.settings(), steps=row.steps,
         seconds=round(fitted.seconds, 1), **header)  # fmt: skip
    read = classify_tensor(network, problem.test.images, TARGET if row.adapts else SOURCE)
    held = classify_tensor(network, problem.source_test.images, SOURCE)
    return Trained(
        row, seed, read.numpy(), (read == problem.test.labels).numpy(),
        (held == problem.source_test.labels).numpy(), fitted.watched, fitted.losses,
        fitted.seconds, network, problem,
    )  # fmt: skip


def adapt(
    images: Tensor, labels: Tensor, target: Tensor, steps: int = 2000, seed: int = 0
) -> Network:
    """A digit classifier for the domain of `target`, learnt without its labels by DANN.

    images, target: uint8 (N, 3, 28, 28) of the source and the target; labels (N,) of the source,
    0 to 9. Read images with `classify_tensor(network, images)`.
    Errors: UserError for tensors of another type or shape.
    """
    for name, x in (("images", images), ("target", target)):
        if x.dtype != torch.uint8 or x.shape[1:] != (3, digits.SIDE, digits.SIDE) or not len(x):
            raise UserError(f"{name} is {x.dtype} {tuple(x.shape)}; uint8 (N, 3, 28, 28) is right")
    if labels.shape != images.shape[:1] or not set(labels.tolist()) <= set(range(10)):
        raise UserError(f"labels are not {len(images)} digits from 0 to 9, one for each image")
    source = DigitSet(images, labels.long())
    problem = Problem(  # its test sets are for `train`, which measures
        "own", source, None, Unlabelled(target), source, source, (PLAIN, PLAIN), 1, "own", (), {}
    )
    row = replace(row_for("dann"), steps=steps, batch_size=min(64, len(images)))
    model, loss = learner(row, problem, seed)
    with tempfile.TemporaryDirectory() as folder:
        return fit(model, loss, row.train(seed), folder).model.student.eval()


def run(
    target: str,
    preset: str = "quick",
    seeds: int | Sequence[int] = 1,
    rows: Sequence[str] = TABLE,
    out: str | Path | None = None,
    resume: bool = True,
    data: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> dict:
    """Rows of ROWS for one target; finished trainings are picked up from `out`.

    target: svhn, usps (from MNIST-M) or mnistm (from MNIST); seeds: how many, or which ones;
    data: where they come from, as in `digits.load`; settings: changes for all rows alike
    (`dann_rows.with_settings`).
    Returns target, preset, seeds, problem, rows {name: [Trained, one a seed]}, changed (whether
    settings differ from the preset's), seconds, out (the folder).
    """
    seeds = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not seeds:
        raise UserError("seeds is 0; at least 1 is needed")
    of_preset = {name: row_for(name, preset, target) for name in rows}
    chosen = {name: with_settings(row, settings or {}) for name, row in of_preset.items()}
    problem = load_problem(target, data)
    out = Path(out) if out else runs_dir() / run_name(target, preset, problem.data)
    trained: dict[str, list[Trained]] = {name: [] for name in rows}
    for seed in seeds:
        for name, row in chosen.items():
            this = problem
            if row.labels == "target":
                this = supervised(problem, digits.load(target, problem.data))
            folder = out / f"seed-{seed}" / name
            trained[name].append(train(row, this, seed, folder, resume, preset=preset))
    return {
        "target": target, "preset": preset, "seeds": seeds, "problem": problem, "rows": trained,
        "changed": chosen != of_preset, "out": out,
        "seconds": sum(t.seconds for several in trained.values() for t in several),
    }  # fmt: skip


def run_name(target: str, preset: str, data: str) -> str:
    """Folder of a run: dann-svhn for a full one on real data, else with what makes it differ."""
    name = f"dann-{target}"
    if preset != "full":
        name += f"-{preset}"
    return name + ("-embedded" if data == "embedded" else "")
