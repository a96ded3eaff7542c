"""From finished trainings to records, tables, the t-SNE's input, the bound's terms and the file.

Nothing here chooses anything: the bound's last term and label shift are measured with target
labels, after training.
"""

import copy
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from hw2lib.datasets.digits import DigitSet
from hw2lib.datasets.pairs import Problem
from hw2lib.experiments.dann import ORACLE, Trained
from hw2lib.experiments.dann_rows import ROWS, rows_for
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import record
from hw2lib.metrics import accuracy_metric, feature_scores, metric
from hw2lib.models.dann_net import SOURCE, TARGET, classify_tensor, features

# What chose the step of a training -> the score of its curve; the last uses target labels.
CHOICES = {"source_validation": "source_accuracy", "information": "information", "oracle": "oracle"}
FEATURES = 1000  # test images of each domain, at most, whose features are scored
JOINT = 2000  # test images of each domain, at most, by which the joint error is measured
SHIPPED = "best_adaptation"  # the row whose first seed's weights `hw2 classify` uses


def records_of(rows: Mapping[str, Sequence[Trained]]) -> list[dict]:
    """The records of each row, see `row_records`."""
    return [r for name, trained in rows.items() for r in row_records(name, trained)]


def row_records(name: str, trained: Sequence[Trained]) -> list[dict]:
    """accuracy after the last step on the target's test images, and at the look that each of
    CHOICES picks; source_accuracy, on the source's; scores of the features. Where an image and its
    inverse are read: validation, on held-out source images, and what reading one view gives."""
    problem, n_test, records = trained[0].problem, len(trained[0].correct), []

    def add(score: str, entry: dict, **setting: str | int) -> None:
        records.append(record(name, score, entry, target=problem.name, **setting))

    add("accuracy", accuracy_metric([t.correct for t in trained]))
    add("source_accuracy", accuracy_metric([t.source_correct for t in trained]))
    if problem.held is None:
        return records
    n = min(ORACLE, n_test)
    for choice, score in CHOICES.items():
        counts = [t.chosen_by(score) * n for t in trained]
        add("accuracy", accuracy_metric(counts, n), chosen_by=choice)
    if trained[0].network.readings > 1:
        domain = TARGET if trained[0].row.adapts else SOURCE
        for score, data, of, setting in (
            ("validation", problem.held, SOURCE, {}),
            ("validation", problem.held, SOURCE, {"views": 1}),
            ("accuracy", problem.test, domain, {"views": 1}),
        ):
            right = [read_right(t, data, of, **setting) for t in trained]
            add(score, accuracy_metric(right), **setting)
    smaller = min(n_test, len(problem.source_test))
    found = [feature_scores(*embedding_input(t, FEATURES), seed=t.seed) for t in trained]
    for score in (key for key in found[0] if key != "n"):
        add(score, metric([f[score] for f in found], min(FEATURES, smaller), "number"))
    joint = [joint_error_of(t) for t in trained]
    add("joint_error", metric(joint, min(JOINT, smaller), "number"))
    return records


def read_right(trained: Trained, data: DigitSet, domain: int, views: int = 0) -> np.ndarray:
    """Which images (n,) are classified correctly, in `views` or in the network's own number."""
    network = copy.copy(trained.network)  # the same weights
    network.readings = views or network.readings
    return (classify_tensor(network, data.images, domain) == data.labels).numpy()


def label_shift(problem: Problem) -> list[dict]:
    """How much the domains' class shares differ, by their test labels: the Jensen-Shannon distance
    (in bits, within [0, 1]), and half its square: the least sum of source and
    target error that perfectly aligned features can have (Zhao et al., 2019, theorem 4.3)."""
    shares = [class_shares(data.labels) for data in (problem.source_test, problem.test)]
    d = float(jensenshannon(*shares, base=2))
    return [
        record("label_shift", score, metric([value], len(problem.test), "number"),
               target=problem.name)
        for score, value in (("distance", d), ("least_joint_error", d**2 / 2))
    ]  # fmt: skip


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


def table(records: Sequence[dict]) -> pd.DataFrame:
    """Accuracies in percent: a line for each row; the last step's with its interval, those by each
    choice, that on the source."""
    lines: dict[str, dict[str, str]] = {}
    for r in records:
        if r["score"] in ("accuracy", "source_accuracy") and "views" not in r["setting"]:
            column = r["setting"].get("chosen_by", r["score"]).replace("_", " ")
            line = lines.setdefault(ROWS[r["row"]].title, {})
            line[column] = f"{100 * r['mean']:.1f}"
            if column == "accuracy":
                line["95 % interval"] = f"{100 * r['low']:.1f} to {100 * r['high']:.1f}"
    return pd.DataFrame(lines).T.fillna("–").rename_axis("method").reset_index()


def describe(result: dict) -> str:
    """Where the data come from and what the rows learn from, in 78 columns."""
    problem = result["problem"]
    lines = [
        *problem.domains,
        f"{len(problem.held):,} source images held out for validation; "
        f"{len(problem.target):,} target images, no label",
        f"last iterate, seeds {', '.join(map(str, result['seeds']))}",
    ]
    for trained in result["rows"].values():
        row = trained[0].row
        labels = f"{row.labels} labels" + f" down to {row.label_end:g}" * (row.label_end < 1)
        learnt = [labels, *(f"{loss} {weight:g}" for loss, weight in row.losses.items())]
        off = f"; augmentation off: {', '.join(row.off)}" if row.off else ""
        work = f"{row.steps:,} steps of {row.batch_size} images a domain"
        lines.append(f"{row.title}: {work}; {', '.join(learnt)}{off}")
    return "\n".join(fill(line, 78, subsequent_indent="  ") for line in lines)


def write(result: dict, records: Sequence[dict], *, publish: bool = False) -> Path:
    """Write this machine's result file of a run and its rows' records (`records_of`).

    `publish` also writes data/results/dann-TARGET.json and data/weights/dann-TARGET.safetensors
    (the first seed's of SHIPPED); that needs the full preset and real data.
    """
    problem, rows, preset = result["problem"], result["rows"], result["preset"]
    name, out = f"dann-{result['target']}", Path(result["out"])
    shipped = out / f"{name}.safetensors"
    if SHIPPED in rows:
        shutil.copyfile(out / f"seed-{result['seeds'][0]}" / SHIPPED / "dann.safetensors", shipped)
    content = {
        "preset": f"{preset}, changed" if result["changed"] else preset,
        "data": {"source": problem.data, "sha256": problem.sha256, "domains": [*problem.domains]},
        "weights": [shipped] if SHIPPED in rows else [],
        "settings": {
            "rows": {key: trained[0].row.settings() for key, trained in rows.items()},
            "handling": [vars(handling) for handling in problem.handling],
            "source_images_held_out": len(problem.held),
        },
        "seeds": result["seeds"],
        "seconds": result["seconds"],
        "not_run": [key for key in rows_for(result["target"], "full") if key not in rows],
        "records": [*records, *label_shift(problem)],
    }
    if publish:  # first the result, which is refused where it is not fit for the report
        results.write(name, directory=RESULTS, **content)
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped, WEIGHTS / f"{name}.safetensors")
    return results.write(name, **content)


def joint_error_of(trained: Trained) -> float:
    """lambda*, the last term of the bound of Ben-David et al. (2010, theorem 2),

        target error  <=  source error + d / 2 + lambda*,

    as far as a linear head can measure it on the test images: the least sum of source and target
    error that one head on the network's features can have; d is their proxy A-distance.
    """
    return joint_error(*embedding_input(trained, JOINT), trained.seed)


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


def class_shares(labels: Tensor) -> np.ndarray:
    """Share of each digit, (10,)."""
    return np.bincount(labels.numpy(), minlength=10) / len(labels)
