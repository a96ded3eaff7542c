"""How an image should be read: once, inverted too, in ten views, with settled batch statistics.

    python benchmarks/dann_reading.py svhn usps mnistm [--seeds 5] [--record]

The notebooks' own trainings of some rows, each read in the ways of `WAYS`. Accuracy on
held-out source images is what a way may be chosen by; beside it stands the accuracy on the
target's test images. With --record the table becomes data/results/dann-reading.json. Finished
trainings, the notebooks' too, and readings are taken up again; a training takes about five minutes
on one core.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from dann_apart import arguments, write
from torch import Tensor
from torch.nn import functional as F

from hw2lib.datasets.augment import prepare
from hw2lib.experiments import dann
from hw2lib.experiments.dann import Trained
from hw2lib.io.cache import kept
from hw2lib.io.paths import sha256
from hw2lib.io.results import record, select, table
from hw2lib.metrics import accuracy_metric
from hw2lib.models.dann_net import SOURCE, TARGET, Network, channels_last, classify_tensor, views

READ = {  # the report's two tasks by two rows, the paper's by its best
    "svhn": ("dann", "best_adaptation"),
    "usps": ("dann", "best_adaptation"),
    "mnistm": ("best_adaptation",),
}
SCORES = ("validation", "accuracy")
SETTLED = 10_000  # images, at most, of which settled statistics are


WAYS = ((1, False), (2, False), (10, False), (10, True))  # views, whether statistics are settled
CORNERS = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))  # of the views in an image padded by a pixel


def ten_views(x: Tensor) -> list[Tensor]:
    """Prepared images x (B, C, H, W) as they are and moved by a pixel up, down, left and right,
    edges reflected; and all of them inverted."""
    height, width = x.shape[-2:]
    wide = F.pad(x, (1, 1, 1, 1), mode="reflect")
    moved = [wide[..., i : i + height, j : j + width] for i, j in CORNERS]
    return [channels_last(sign * view) for sign in (1, -1) for view in moved]


@torch.no_grad()
def logits_in_ten(network: Network, images: Tensor, domain: int) -> Tensor:
    """float (N, 10) of uint8 images (N, 3, 28, 28): as `dann_net.logits`, in ten views."""
    where, parts = next(network.parameters()).device, []
    for batch in images.split(500):
        x = prepare(batch.to(where), network.still, channels=network.channels)
        several = [network.features(view, domain).float() for view in ten_views(x)]
        parts.append(network.label_head(torch.stack(several).mean(0)).cpu())
    return torch.cat(parts)


def read_in_ten(network: Network, images: Tensor, domain: int) -> Tensor:
    """Digits (N,) of uint8 images (N, 3, 28, 28): as `classify_tensor` does, in ten views."""
    return logits_in_ten(network, images, domain).argmax(1)


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
        network.features(channels_last(torch.cat(views(x, network.readings))), domain)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()


def by_reading(trained: Trained) -> dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]]:
    """way -> which held-out images of the domain whose labels the row learns from are read
    rightly, bool (m,), and which test images of the target, bool (n,)."""
    row, problem = trained.row, trained.problem
    net = copy.deepcopy(trained.network)
    found = {}
    for way in WAYS:
        n, settled = way
        net.readings = min(n, 2)
        read = classify_tensor if n < 10 else read_in_ten
        if settled:
            settle(net, problem.source.images, SOURCE)
        if settled and row.adapts and net.separate:
            settle(net, problem.target.images, TARGET)
        found[way] = tuple(
            (read(net, data.images, domain) == data.labels).numpy()
            for data, domain in (
                (problem.held, SOURCE), (problem.test, TARGET if row.adapts else SOURCE),
            )
        )  # fmt: skip
    return found


def kept_reading(trained: Trained, folder: Path) -> dict[str, np.ndarray]:
    """ "WAY: SCORE" -> which images are classified correctly, by `by_reading`; kept in the folder
    of the training."""

    def make() -> dict[str, np.ndarray]:
        return {
            f"{way}: {score}": right
            for way, both in by_reading(trained).items()
            for score, right in zip(SCORES, both, strict=True)
        }

    return kept("reading", sha256(folder / "dann.safetensors"), make, folder)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", choices=READ)
    args = arguments(parser)
    records, runs = [], []
    for target in args.targets:
        runs.append(dann.run(target, "full", args.seeds, READ[target]))
        for name, trained in runs[-1]["rows"].items():
            read = [kept_reading(t, runs[-1]["out"] / f"seed-{t.seed}" / name) for t in trained]
            records += [
                record(name, score, accuracy_metric([r[f"{way}: {score}"] for r in read]),
                       target=target, views=way[0], settled=way[1])
                for way in WAYS for score in SCORES
            ]  # fmt: skip
        print(table(select(records, target=target)).to_string(), flush=True)
    if args.record:
        write("dann-reading", runs, records)


if __name__ == "__main__":
    main()
