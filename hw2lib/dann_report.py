"""From a finished `dann.run` to the table, the t-SNE's input and the recorded result."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from hw2lib import results
from hw2lib.dann import PRESETS, ROWS
from hw2lib.dann_inputs import HANDLING
from hw2lib.dann_net import SOURCE, TARGET, features
from hw2lib.metrics import accuracy_metric
from hw2lib.paths import RESULTS, WEIGHTS
from hw2lib.readers import sha256

TITLES = {
    "source_only": "trained on source",
    "dann": "adapted (DANN)",
    "target_only": "trained on target",
}


def metrics(result: dict) -> dict[str, dict]:
    """Accuracy entries of a result file: the three rows, and what they do on the source."""
    rows = result["rows"]
    entries = {name: accuracy_metric([row.correct for row in rows[name]]) for name in ROWS}
    for name in ROWS:
        entries[f"{name}_on_source"] = accuracy_metric([row.source_correct for row in rows[name]])
    return entries


def table(result: dict) -> str:
    """The three rows as a Markdown table: accuracy in percent with its 95 % interval."""
    source, target = result["source_domain"].name, result["target_domain"].name
    entries = metrics(result)
    lines = [
        f"| row | on {target} | 95 % interval | seeds | on {source} |",
        "|---|---|---|---|---|",
    ]
    for name in ROWS:
        e, held = entries[name], entries[f"{name}_on_source"]
        low, high = 100 * e["low"], 100 * e["high"]
        lines.append(
            f"| {TITLES[name]} | {100 * e['mean']:.2f} % | {low:.2f} to {high:.2f} | "
            f"{len(e['values'])} | {100 * held['mean']:.2f} % |"
        )
    return "\n".join(lines)


def describe(result: dict) -> str:
    """Where the data come from and what the rows use, one line each."""
    cfg, source = result["settings"], result["source_domain"]
    strokes = cfg.masks and source.train.masks is not None
    return "\n".join(
        [
            source.describe(),
            result["target_domain"].describe(),
            f"every row: {cfg.steps} steps of {cfg.batch_size} images a domain, last iterate, "
            f"the same input handling{', stroke masks used' if strokes else ''}",
            f"the adapted row beside its label loss: {cfg.extras()}",
        ]
    )


def embedding_input(
    result: dict, row: str = "dann", each: int = 500
) -> tuple[Tensor, Tensor, list[str]]:
    """(features (N, 256), labels (N,), domain names) of the first `each` test images of each
    domain, in the first seed's network of `row`: what the t-SNE shows."""
    network = result["rows"][row][0].network
    own = {"source_only": (SOURCE, SOURCE), "target_only": (TARGET, TARGET)}
    parts, labels, names = [], [], []
    pair = (result["source_domain"], result["target_domain"])
    for domain, statistics in zip(pair, own.get(row, (SOURCE, TARGET)), strict=True):
        images = domain.test.images[:each]
        parts.append(features(network, images, statistics))
        labels.append(domain.test.labels[:each])
        names += [domain.name] * len(images)
    return torch.cat(parts), torch.cat(labels), names


def record(result: dict, *, publish: bool = False) -> Path:
    """Write this machine's result file; `publish` also records it in the report.

    Publishing writes data/results/dann-TARGET.json and data/weights/dann-TARGET.safetensors (the
    first seed's) and needs the full preset and real data.
    """
    source, target = result["source_domain"], result["target_domain"]
    cfg, preset, handling = result["settings"], result["preset"], HANDLING[target.name]
    name = f"dann-{target.name}"
    weights = Path(result["out"]) / f"seed-{result['seeds'][0]}" / "dann" / "dann.safetensors"
    content = {
        "preset": preset if cfg == PRESETS[preset] else f"{preset}, changed",
        "data": {
            "source": target.source,
            "sha256": {
                **source.sha256,
                **target.sha256,
                f"weights/{name}.safetensors": sha256(weights),
            },
            "domains": [source.describe(), target.describe()],
            "dann_row_uses": cfg.extras(),
            "stroke_masks": cfg.masks and source.train.masks is not None,
            "settings": asdict(cfg),
            "handling": {"source": asdict(handling[0]), "target": asdict(handling[1])},
        },
        "seeds": result["seeds"],
        "seconds": result["seconds"],
        "metrics": metrics(result),
    }
    if publish:  # first the result, which is refused where it is not fit for the report
        results.record(name, directory=RESULTS, **content)
        WEIGHTS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, WEIGHTS / f"{name}.safetensors")
    return results.record(name, **content)
