"""From finished trainings to tables, the t-SNE's input, the bound's terms and the recorded result.

Nothing here chooses anything: the bound's last term and label shift are measured with target
labels, after training.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hw2lib.datasets.pairs import Problem
from hw2lib.experiments.dann import ORACLE, Trained
from hw2lib.experiments.dann_rows import rows_for
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS, sha256
from hw2lib.metrics import accuracy_metric, feature_scores, metric
from hw2lib.models.dann_net import (
    SOURCE,
    TARGET,
    classify_tensor,
    features,
)

# What chose the step of a training -> the score of its curve; the last uses target labels.
CHOICES = {
    "source validation": "source_accuracy",
    "information": "information",
    "oracle": "oracle",
}
FEATURES = 1000  # test images of each domain, at most, whose features are scored
JOINT = 2000  # test images of each domain, at most, by which the joint error is measured
SHIPPED = "best_adaptation"  # the row whose first seed's weights `hw2 classify` uses


def metrics(rows: Mapping[str, Sequence[Trained]]) -> dict[str, dict]:
    """Entries of a result file: each row's accuracy after the last step under its own name; with
    ": on the source" on the source's test images; with ": by CHOICE" at the look that CHOICE
    picks; what `read_once` gives; and scores of its features."""
    entries = {}
    for name, trained in rows.items():
        entries[name] = accuracy_metric([t.correct for t in trained])
        entries[f"{name}: on the source"] = accuracy_metric([t.source_correct for t in trained])
        if trained[0].problem.held is None:
            continue
        n = min(ORACLE, len(trained[0].correct))
        for choice, score in CHOICES.items():
            counts = [t.chosen_by(score) * n for t in trained]
            entries[f"{name}: by {choice}"] = accuracy_metric(counts, n)
        entries |= {f"{name}: {key}": entry for key, entry in read_once(trained).items()}
        smaller = min(len(trained[0].correct), len(trained[0].source_correct))
        for key, values in of_features(trained).items():
            entries[f"{name}: {key}"] = metric(values, min(FEATURES, smaller), "number")
        n = min(JOINT, smaller)
        entries[f"{name}: joint error"] = metric([joint_error_of(t) for t in trained], n, "number")
    return entries


def read_once(trained: Sequence[Trained]) -> dict[str, dict]:
    """What it is worth to read an image and its inverse (see `dann_net.features`): accuracy on
    held-out source images (validation) both ways, and on the target's test images reading the
    image alone. Nothing for rows that read once anyway."""
    if trained[0].network.readings == 1:
        return {}
    correct: dict[str, list[np.ndarray]] = {}
    for t in trained:
        once = copy.copy(t.network)  # the same weights
        once.readings = 1
        held, test = t.problem.held, t.problem.test
        for key, net, data, domain in (
            ("validation", t.network, held, SOURCE),
            ("validation read once", once, held, SOURCE),
            ("read once", once, test, TARGET if t.row.adapts else SOURCE),
        ):
            read = classify_tensor(net, data.images, domain)
            correct.setdefault(key, []).append((read == data.labels).numpy())
    return {key: accuracy_metric(values) for key, values in correct.items()}


def label_shift(problem: Problem) -> dict[str, dict]:
    """How much the domains' class shares differ, by their test labels: the Jensen-Shannon distance
    and the least sum of both errors that aligned features can have (`least_error`)."""
    shares = [class_shares(data.labels) for data in (problem.source_test, problem.test)]
    n = len(problem.test)
    return {
        "label shift: distance": metric([jensen_shannon(*shares)], n, "number"),
        "label shift: least joint error": metric([least_error(*shares)], n, "number"),
    }


def of_features(trained: Sequence[Trained]) -> dict[str, list[float]]:
    """score -> one value a seed, of `metrics.feature_scores`."""
    scores = [feature_scores(*embedding_input(t, FEATURES), seed=t.seed) for t in trained]
    return {key: [score[key] for score in scores] for key in scores[0] if key != "n"}


def embedding_input(trained: Trained, each: int = 500) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(features (n, 256), labels (n,)) of source and of target: the first `each` test images of
    both, or as many as the smaller set has."""
    problem, net = trained.problem, trained.network
    each = min(each, len(problem.source_test), len(problem.test))
    target = TARGET if trained.row.adapts else SOURCE
    return (
        features(net, problem.source_test.images[:each], SOURCE), problem.source_test.labels[:each],
        features(net, problem.test.images[:each], target), problem.test.labels[:each],
    )  # fmt: skip


def table(result: dict, entries: Mapping[str, dict]) -> str:
    """The rows as a Markdown table: accuracies in percent, the last step's with its interval.

    entries: what `metrics` makes of the rows.
    """
    rows = result["rows"]
    lines = [
        f"| row | on {result['target']} | 95 % interval | by source validation | by information | "
        "oracle | on the source |",
        "|---|---|---|---|---|---|---|",
    ]

    def percent(key: str) -> str:
        return f"{100 * entries[key]['mean']:.1f} %" if key in entries else "–"

    for name, trained in rows.items():
        e = entries[name]
        lines.append(
            f"| {trained[0].row.title} | {percent(name)} | "
            f"{100 * e['low']:.1f} to {100 * e['high']:.1f} | "
            + " | ".join(percent(f"{name}: by {choice}") for choice in CHOICES)
            + f" | {percent(f'{name}: on the source')} |"
        )
    return "\n".join(lines)


def describe(result: dict) -> str:
    """Where the data come from and what the rows learn from, one line each."""
    problem, rows = result["problem"], result["rows"]
    n = len(problem.held)
    lines = [
        *problem.domains,
        f"{n:,} source images held out for validation; {len(problem.target):,} target images, "
        "no label",
        f"last iterate, seeds {', '.join(map(str, result['seeds']))}",
    ]
    for name, trained in rows.items():
        row = trained[0].row
        losses = ", ".join(f"{loss} {weight:g}" for loss, weight in row.losses.items())
        off = f"; input handling off: {', '.join(row.off)}" if row.off else ""
        work = f"{row.steps:,} steps of {row.batch_size} images a domain"
        labels = f"{row.labels} labels"
        if row.label_end < 1:
            labels += f" down to {row.label_end:g}"
        lines.append(f"{name}: {work}; {labels}{', ' * bool(losses)}{losses}{off}")
    return "\n".join(lines)


def record(result: dict, entries: Mapping[str, dict], *, publish: bool = False) -> Path:
    """Write this machine's result file; `publish` also records it in the report.

    entries: what `metrics` makes of the rows.

    Publishing writes data/results/dann-TARGET.json and data/weights/dann-TARGET.safetensors (the
    first seed's of SHIPPED) and needs the full preset and real data.
    """
    problem, rows, preset = result["problem"], result["rows"], result["preset"]
    name, seed = f"dann-{result['target']}", result["seeds"][0]
    weights = Path(result["out"]) / f"seed-{seed}" / SHIPPED / "dann.safetensors"
    digests = {f"weights/{name}.safetensors": sha256(weights)} if SHIPPED in rows else {}
    content = {
        "preset": f"{preset}, changed" if result["changed"] else preset,
        "data": {
            "source": problem.data,
            "sha256": {**problem.sha256, **digests},
            "domains": list(problem.domains),
            "source images held out": len(problem.held),
            "handling": [vars(handling) for handling in problem.handling],
            "rows not run yet": [
                key for key in rows_for(result["target"], "full") if key not in rows
            ],
            "settings": {key: trained[0].row.settings() for key, trained in rows.items()},
        },
        "seeds": result["seeds"],
        "seconds": result["seconds"],
        "metrics": {**entries, **label_shift(problem)},
    }
    if publish:  # first the result, which is refused where it is not fit for the report
        results.record(name, directory=RESULTS, **content)
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, WEIGHTS / f"{name}.safetensors")
    return results.record(name, **content)


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
