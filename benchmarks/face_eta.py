"""Quality against eta and the number of steps, 1,000 faces a cell: for a GPU.

    python benchmarks/face_eta.py [--cell 1000] [--record]

The notebook's table has 256 faces a cell, which two cores draw while one waits. Here each eta is a
process of its own, since the fresh noise of every face is drawn on the processor; on one GPU it is
a minute's work, on two cores two hours'. --record writes data/results/faces-eta.json.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import torch
from torch import Tensor

from hw2lib import experiments, face_report, faces, results
from hw2lib.face_features import load_features
from hw2lib.face_study import ETAS, PLANS, Sampler, blurred
from hw2lib.paths import RESULTS, WEIGHTS

STEPS = PLANS["full"].steps


def features(cell: int, threads: int, eta: float) -> dict[tuple[int, float], Tensor]:
    """{(steps, eta): features (cell, 64)} of faces from the same noises for every eta."""
    torch.set_num_threads(threads)
    draw, eye = Sampler(*experiments.load_face_unet(), batch=256), load_features()
    return {(n, eta): eye.embed(draw.many(cell, n_steps=n, eta=eta)) for n in STEPS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", type=int, default=1000)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    began, data, eye = time.perf_counter(), faces.load(), load_features()
    workers = len(ETAS) if torch.cuda.is_available() else 1
    row = partial(features, args.cell, max(1, torch.get_num_threads() // workers))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        cells = {key: x for part in pool.map(row, ETAS) for key, x in part.items()}
    training, held_out = faces.split(data)
    real, others = eye.embed(held_out), training[: args.cell]
    marks = {"real": eye.embed(others), "blurred": eye.embed(blurred(others))}
    entries = face_report.eta_entries(cells, real) | face_report.quality_entries(marks, real)
    print(face_report.text_table(entries, [k for k in entries if not k.startswith("kernel")]))
    if args.record:
        results.record(
            "faces-eta", preset="full", seeds=[0], metrics=entries, directory=RESULTS,
            seconds=time.perf_counter() - began,
            weights=[WEIGHTS / "faces.safetensors", WEIGHTS / "face-features.safetensors"],
            data={"source": data.source, "sha256": data.sha256,
                  "settings": {"faces a cell": args.cell, "held-out faces": len(real)}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
