"""What each part of the adaptation is worth, and the terms of the bound that DANN rests on.

    scores = ablation("svhn", VARIANTS, seeds=[0, 1, 2])     # one cause at a time
    by_reading(trained)                                       # one view of an image, or several
    joint_error_of(trained)                                   # a term of Ben-David et al. (2010)

Nothing here chooses anything: the bound's last term and label shift are measured with target
labels, after training.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hw2lib.datasets.augment import prepare
from hw2lib.datasets.digits import DigitDomain
from hw2lib.datasets.pairs import Problem, Unlabelled, part, supervised
from hw2lib.experiments.dann import Trained, train
from hw2lib.experiments.dann_rows import PLAIN_INPUTS, ROWS, Row
from hw2lib.models.dann_net import (
    SOURCE,
    TARGET,
    Network,
    channels_last,
    classify_tensor,
    features,
    views,
)

SETTLED = 10_000  # images, at most, of which settled statistics are
JOINT = 2000  # test images of each domain, at most, by which the joint error is measured
ALL_LOSSES = ROWS["dann_self_training"]
DANN = ROWS["dann"]


def _without(*losses: str) -> dict[str, float]:
    return {name: weight for name, weight in ALL_LOSSES.losses.items() if name not in losses}


VARIANTS: dict[str, Row] = {
    # One part left out of everything
    "everything": ALL_LOSSES,
    "not standardised": replace(ALL_LOSSES, off=("standardise",)),
    "no intensity changes": replace(ALL_LOSSES, off=("intensity",)),
    "no geometry": replace(ALL_LOSSES, off=("geometry",)),
    "no blur": replace(ALL_LOSSES, off=("blur",)),
    "no thickness": replace(ALL_LOSSES, off=("thickness",)),
    "no distractors": replace(ALL_LOSSES, off=("distractors",)),
    "no repainting": replace(ALL_LOSSES, off=("repaint",)),
    "shared batch statistics": replace(ALL_LOSSES, separate=False),
    "no adversarial loss": replace(ALL_LOSSES, losses=_without("adversarial")),
    "no teacher": replace(ALL_LOSSES, losses=_without("teacher")),
    "no entropy and balance": replace(ALL_LOSSES, losses=_without("entropy", "balance")),
    # The source let go (`Row.label_end`)
    **{
        f"self-training, source let go to {end:g}": replace(ROWS["self_training"], label_end=end)
        for end in (0.05, 0.0)
    },
    # How much the network trusts its own guesses
    **{
        f"teacher {weight:g}": replace(ALL_LOSSES, losses=ALL_LOSSES.losses | {"teacher": weight})
        for weight in (0.3, 3.0)
    },
    # The adversarial loss alone, weaker and stronger; at 0 only the batch statistics adapt
    **{
        f"adversarial loss alone, lambda {lam:g}": replace(DANN, losses={"adversarial": lam})
        for lam in (0.0, 0.1, 0.3, 1.0)
    },
    "adversarial loss alone, lambda .3 from the start": replace(DANN, ramp=False),
    "source only, augmented": ROWS["source_augmented"],
}


def rates_of(name: str, row: Row) -> dict[str, Row]:
    """The row, and with half and with twice its learning rate: all rows get the same care."""
    return {
        name: row,
        f"{name}, learning rate halved": replace(row, lr=row.lr / 2),
        f"{name}, learning rate doubled": replace(row, lr=row.lr * 2),
    }


RATES = rates_of("everything", ALL_LOSSES)
PLAIN_ROWS: dict[str, Row] = {  # without input handling: why the plain source row is where it is
    **rates_of("source only, plain", ROWS["source_only"]),
    "source only, plain, standardised": replace(
        ROWS["source_only"], off=tuple(group for group in PLAIN_INPUTS if group != "standardise")
    ),
    "plain, own batch statistics": replace(DANN, losses={"adversarial": 0.0}, off=PLAIN_INPUTS),
    "plain DANN": replace(DANN, off=PLAIN_INPUTS),
}
CEILING_RATES = rates_of("target's labels", ROWS["target_only"])  # on `validated`


def ablation(
    problem: Problem,
    seeds: Sequence[int],
    steps: int,
    out: str | Path,
    variants: Mapping[str, Row] = VARIANTS,
) -> dict[str, list[Trained]]:
    """variant -> one training a seed of `steps` steps; what is finished in `out` is taken up.

    A variant that turns off what the problem's input handling does not have is left out.
    """
    rows: dict[str, list[Trained]] = {}
    for name, row in variants.items():
        if row.off and all(h.without(*row.off) == h for h in problem.handling):
            continue
        row = replace(row, steps=steps)
        for seed in seeds:
            folder = Path(out) / name.replace(" ", "-").replace(",", "") / f"seed-{seed}"
            rows.setdefault(name, []).append(train(row, problem, seed, folder, resume=True))
    return rows


def validated(problem: Problem, target: DigitDomain) -> Problem:
    """`supervised`, with a tenth of the target's training images held out to choose by."""
    whole = supervised(problem, target)
    n = len(whole.source) * 9 // 10
    held = part(whole.source, slice(n, None))
    return replace(whole, source=part(whole.source, slice(n)), held=held)


# --- reading -----------------------------------------------------------------------------------

WAYS = {  # how an image is read -> (views of it, whether the statistics are settled)
    "once": (1, False),
    "twice": (2, False),
    "in ten views": (10, False),
    "settled, in ten views": (10, True),
}


@torch.no_grad()
def settle(network: Network, images: Tensor, domain: int) -> None:
    """Replace the running statistics of `domain`, which are of changed images and a few of the
    last batches, by those of uint8 images (N, 3, 28, 28) as they are read (Wu and Johnson, 2021,
    section 3: "precise" batch norm), inverted too where they are read so."""
    network.train()
    norms = network.extractor.norms
    where = next(network.parameters()).device
    for i, batch in enumerate(images[:SETTLED].split(500)):
        for norm in norms:
            norm.momentum = 1 / (i + 1)  # the mean over all batches so far
        x = prepare(batch.to(where), network.still, channels=network.channels)
        network.features(channels_last(torch.cat(views(x, min(network.readings, 2)))), domain)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()


def by_reading(trained: Trained) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """way -> which held-out images of the domain whose labels the row learns from are read
    rightly, bool (m,), and which test images of the target, bool (n,)."""
    row, problem = trained.row, trained.problem
    net = copy.deepcopy(trained.network)
    found = {}
    for way, (net.readings, settled) in WAYS.items():
        if settled:
            settle(net, problem.source.images, SOURCE)
        if settled and row.adapts and net.separate:
            settle(net, problem.target.images, TARGET)
        found[way] = tuple(
            (classify_tensor(net, data.images, domain) == data.labels).numpy()
            for data, domain in (
                (problem.held, SOURCE), (problem.test, TARGET if row.adapts else SOURCE),
            )
        )  # fmt: skip
    return found


# --- the bound ---------------------------------------------------------------------------------


def joint_error_of(trained: Trained) -> float:
    """lambda*, the last term of the bound of Ben-David et al. (2010, theorem 2),

        target error  <=  source error + d / 2 + lambda*,

    as far as a linear head can measure it on the test images: the least sum of source and target
    error that one head on the network's features can have. The other terms are the error of the
    network's own head on source images, and d, the proxy A-distance of its features in [0, 2].
    """
    net, problem = trained.network, trained.problem
    target = TARGET if trained.row.adapts else SOURCE
    n = min(len(problem.source_test), len(problem.test), JOINT) // 2 * 2
    return joint_error(
        features(net, problem.source_test.images[:n], SOURCE), problem.source_test.labels[:n],
        features(net, problem.test.images[:n], target), problem.test.labels[:n], trained.seed,
    )  # fmt: skip


def joint_error(x_s: Tensor, y_s: Tensor, x_t: Tensor, y_t: Tensor, seed: int = 0) -> float:
    """Source error plus target error of one logistic regression on both, on held-out halves."""
    from sklearn.linear_model import LogisticRegression  # here: training needs no scikit-learn

    rng = np.random.default_rng(seed)
    half = len(x_s) // 2
    s, t = rng.permutation(len(x_s)), rng.permutation(len(x_t))
    x = torch.cat([x_s[s[:half]], x_t[t[:half]]]).numpy()
    y = torch.cat([y_s[s[:half]], y_t[t[:half]]]).numpy()
    mean, scale = x.mean(0), x.std(0) + 1e-6
    head = LogisticRegression(C=0.1, max_iter=500).fit((x - mean) / scale, y)
    return sum(
        float((head.predict((x[rest].numpy() - mean) / scale) != y[rest].numpy()).mean())
        for x, y, rest in ((x_s, y_s, s[half:]), (x_t, y_t, t[half:]))
    )


# --- label shift -------------------------------------------------------------------------------


def class_shares(labels: Tensor) -> np.ndarray:
    """Share of each digit, (10,)."""
    return np.bincount(labels.numpy(), minlength=10) / len(labels)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon distance, the root of the divergence in bits, within [0, 1]."""
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(p, q, base=2))


def least_error(p: np.ndarray, q: np.ndarray) -> float:
    """What perfectly aligned features cost at least, source and target error together, when the
    classes' shares are p and q: half the square of their Jensen-Shannon distance (Zhao et al.,
    2019, theorem 4.3, with a divergence of 0 between the features)."""
    return jensen_shannon(p, q) ** 2 / 2


def matched(problem: Problem, labels: Tensor) -> Problem:
    """The same problem with as many source images of each digit as have the target's shares.

    labels (N,) of the target's training images: no method without them could do this; it shows
    what the difference of the shares costs.
    """
    shares = torch.from_numpy(class_shares(labels))
    have = torch.bincount(problem.source.labels, minlength=10)
    keep = (shares * (have / shares.clamp(min=1e-9)).min()).round().long()  # of each digit
    chosen = [torch.nonzero(problem.source.labels == k).squeeze(1)[: keep[k]] for k in range(10)]
    return replace(problem, source=part(problem.source, torch.cat(chosen).sort().values))


def shifted(problem: Problem, labels: Tensor, keep: float = 0.1) -> Problem:
    """The same problem with only the share `keep` of the target's digits 5 to 9.

    labels (N,) of the target's training images: used to make the experiment, seen by no row.
    """
    rare = torch.nonzero(labels >= 5).squeeze(1)
    dropped = rare[torch.arange(len(rare)) >= round(keep * len(rare))]
    chosen = torch.ones(len(labels), dtype=torch.bool)
    chosen[dropped] = False
    return replace(problem, target=Unlabelled(problem.target.images[chosen]))
