"""The t-SNE maps of the live page: the same test images seen by each shipped network of a target.

    python benchmarks/feature_maps.py        # writes book/live/maps.json

Only targets of which more than one network lies in data/weights are drawn. The file holds places,
digits and domains, no image: {target: {"data", "domains", "digits", "sides", "maps"}}, `sides`
being the index of each point's domain, `maps` a list of {"title", "places"} with places from 0 to
1000 across and down. Test images are the first of both domains, as in the notebook's figures.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hw2lib.datasets.pairs import SOURCE_OF, TARGETS, Problem, load_problem
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.figures.dann import embed_tsne
from hw2lib.io.paths import ROOT, WEIGHTS, atomic_write
from hw2lib.io.weights import weights_header
from hw2lib.models.dann_net import SOURCE, TARGET, Network, features, load

MAPS = ROOT / "book" / "live" / "maps.json"
EACH = 300  # images of each domain
SIZE = 1000  # places go from 0 to this
ORDER = [row.title for row in ROWS.values()]


def networks(folder: Path, target: str) -> list[tuple[str, Network]]:
    """(title, network) of a target's files, in the order of ROWS."""
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        header = weights_header(file)
        if header.get("kind") == "dann" and header["target"] == target:
            found.append((header["title"], load(file)[0]))
    return sorted(found, key=lambda one: ORDER.index(one[0]))


def places(x: Tensor) -> list[list[int]]:
    """t-SNE of features (N, D), stretched so that each axis goes from 0 to SIZE."""
    plane = embed_tsne(x)
    low, high = plane.min(0), plane.max(0)
    return np.round(SIZE * (plane - low) / (high - low)).astype(int).tolist()


def maps_of(problem: Problem, shown: list[tuple[str, Network]], each: int = EACH) -> dict:
    """What the page shows of one target, the same images in every map."""
    source, target = problem.source_test, problem.test
    each = min(each, len(source), len(target))
    maps = []
    for title, network in shown:
        sides = [features(network, source.images[:each], SOURCE),
                 features(network, target.images[:each], TARGET)]  # fmt: skip
        maps.append({"title": title, "places": places(torch.cat(sides))})
    return {
        "data": problem.data,
        "domains": [SOURCE_OF[problem.name], problem.name],
        "digits": [*source.labels[:each].tolist(), *target.labels[:each].tolist()],
        "sides": [0] * each + [1] * each,
        "maps": maps,
    }


def main(out: Path = MAPS) -> None:
    shown = {target: networks(WEIGHTS, target) for target in TARGETS}
    found = {t: maps_of(load_problem(t), some) for t, some in shown.items() if len(some) > 1}
    with atomic_write(out) as part:
        part.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    for target, one in found.items():
        print(f"{target}: {len(one['digits'])} images ({one['data']}), {len(one['maps'])} maps")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
