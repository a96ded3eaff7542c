"""Faces by DDIM and by DPM-Solver++(2M), from the same noises in as many network evaluations.

    python benchmarks/face_solvers.py [--samples 1000] [--steps 5 10 20 50] [--bfloat16] [--record]

Three ways, each with one evaluation of the network a step and no fresh noise: DDIM as
`hw2 sample-faces` draws, DDIM at the times of DPM-Solver++ (from pure noise, down to alpha_bar = 1)
and DPM-Solver++(2M). Of each is measured, at STEPS, the error of FEW faces: how far they are from
those that LIMIT steps of DPM-Solver++ draw from the same noises. At --steps the first and the last
also draw --samples faces, for the distances of `studies.ddim` to the held-out ones; face by face
they start from the same noise, so their difference has an interval of its own.

Faces are drawn in blocks, all cells of a block before the next, and kept in build/cache: what was
interrupted goes on, with more --samples too. --bfloat16 takes it where hw2lib would not (processors
with avx512_bf16 and without AMX units multiply in it at twice the speed of float32). --record
writes data/results/faces-solvers.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from hw2lib import device
from hw2lib.datasets import faces
from hw2lib.evaluators import face_features
from hw2lib.evaluators.face_features import FaceFeatures
from hw2lib.experiments import ddim
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import record
from hw2lib.metrics import metric
from hw2lib.samplers import Denoiser, sample_ddim, sample_dpmpp
from hw2lib.studies.ddim import Sampler, added, distance, quality

SOLVERS: dict[str, Callable[[Denoiser, Tensor, int], Tensor]] = {
    "ddim": partial(sample_ddim, spacing="leading"),  # that of `hw2 sample-faces`
    "ddim, other times": sample_ddim,
    "dpmpp": sample_dpmpp,
}
COMPARED = ("ddim", "dpmpp")
STEPS = (5, 10, 20, 50)
FEW, LIMIT = 32, 200
BLOCK = 32  # faces that are drawn at once, and kept in one file


def block(draw: Sampler, solver: str, steps: int, numbers: range) -> Tensor:
    """Faces (N, 3, 64, 64) of the starting noises `numbers`, drawn or kept."""
    noise = draw.starts(numbers)
    model = Denoiser(draw.predict, draw.schedule, draw.header["prediction"])

    def sample() -> Tensor:
        return SOLVERS[solver](model, noise.to(device.device()), steps).cpu()

    return draw.kept((solver, steps), noise, sample)


def errors(draw: Sampler) -> list[dict]:
    """Records of the distances of FEW faces to the limit, one value a face; and of how much nearer
    DPM-Solver++ comes than DDIM, and than DDIM at the same times, as shares of their errors."""
    limit = block(draw, "dpmpp", LIMIT, range(FEW))
    records = [record("limit", "steps", metric([LIMIT], 1, "number"))]
    for n in STEPS:
        found = {row: distance(block(draw, row, n, range(FEW)), limit) for row in SOLVERS}
        for row, x in found.items():
            records.append(record(row, "error", metric(x.tolist(), 1, "distance"), steps=n))
            if row != "dpmpp":
                share = metric((found["dpmpp"] / x).tolist(), 1, "ratio")
                records.append(record("dpmpp", "error_share", share, of=row, steps=n))
        print(results.table(records).to_string(), flush=True)
    return records


def distances(
    draw: Sampler, eye: FaceFeatures, real: Tensor, n: int, steps: Sequence[int]
) -> list[dict]:
    """Records of the Frechet and the kernel distance of n faces a cell to real features (M, D), and
    of what DPM-Solver++ adds to DDIM's Frechet distance in as many steps."""
    cells: dict[tuple[str, int], list[Tensor]] = {(row, k): [] for k in steps for row in COMPARED}
    for first in range(0, n, BLOCK):
        for cell, parts in cells.items():
            parts.append(eye.embed(block(draw, *cell, range(first, min(first + BLOCK, n)))))
        print(f"{min(first + BLOCK, n)} of {n} faces a cell", flush=True)
    features = {cell: torch.cat(parts) for cell, parts in cells.items()}
    records = []
    for (row, k), x in features.items():
        records += quality(row, x, real, steps=k)
    for k in steps:
        records.append(
            record(
                "dpmpp", "worse", added(features["dpmpp", k], features["ddim", k], real), steps=k
            )
        )
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if args.bfloat16:
        device.fast_bfloat16 = lambda _: True
    began = time.perf_counter()
    draw, eye = Sampler(*ddim.load_face_unet()), face_features.load()
    records = errors(draw)
    data = faces.load()
    real = eye.embed(faces.split(data)[1])
    records += distances(draw, eye, real, args.samples, args.steps)
    print(results.frame(records).to_string())
    if args.record:
        results.write(
            "faces-solvers", preset="full", seeds=[0], records=records, directory=RESULTS,
            seconds=draw.spared + time.perf_counter() - began,
            weights=[WEIGHTS / "faces.safetensors", WEIGHTS / "face-features.safetensors"],
            data={"source": data.data, "sha256": data.sha256},
            settings={"eta": 0.0, "faces of the error": FEW},
        )  # fmt: skip


if __name__ == "__main__":
    main()
