"""Dots in drawn faces: how much of the noise's mean is left in them, with and without `MeanPath`.

    python benchmarks/face_dots.py [--samples 256] [--record]

On patches of 2x2 pixels the sum of one diagonal less that of the other, taken over all patches,
is a pattern of dots when it is not zero: next to none in photographs, 1 by definition in noise.
The network's linear path for the mean is switched off by setting its weights to zero; all else is
the same. --record writes data/results/faces-dots.json.
"""

from __future__ import annotations

import argparse
import copy
import time

import torch
from torch import Tensor

from hw2lib.datasets import faces
from hw2lib.datasets.digits import to_float
from hw2lib.evaluators import face_features
from hw2lib.experiments import ddim
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import record
from hw2lib.metrics import metric
from hw2lib.models.face_unet import FaceUNet
from hw2lib.studies.ddim import GROUPS, Sampler, quality


def dots(images: Tensor) -> Tensor:
    """Power of the pattern of dots (N,) of images (N, 3, H, W); 1 on average for normal noise."""
    a, b, c, d = (images[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    pattern = (a - b - c + d) / 2  # (N, 3, H / 2, W / 2)
    return pattern[0, 0].numel() * pattern.mean((2, 3)).square().mean(1)


def without_mean_path(model: FaceUNet) -> FaceUNet:
    """A copy whose mean path adds nothing, as before training."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.mean.parameters():
            parameter.zero_()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    began = time.perf_counter()
    model, header = ddim.load_face_unet()
    draw, blind = Sampler(model, header), Sampler(without_mean_path(model), header)
    data = faces.load()
    held_out = faces.split(data)[1]
    eye = face_features.load()
    real, records = eye.embed(held_out), []
    for row, setting, images in (
        ("start", {}, draw.starts(range(args.samples))),
        ("drawn", {"mean_path": False}, blind.many(args.samples)),
        ("drawn", {"mean_path": True}, draw.many(args.samples)),
        ("real", {}, to_float(held_out)),
    ):
        groups = [part.mean().item() for part in dots(images).chunk(GROUPS)]
        records.append(record(row, "dots", metric(groups, len(images), "ratio"), **setting))
        if row == "drawn":
            records += quality(row, eye.embed(images), real, **setting)
    print(results.table(records).to_string())
    if args.record:
        results.write(
            "faces-dots", preset="full", seeds=[0], records=records, directory=RESULTS,
            seconds=draw.spared + blind.spared + time.perf_counter() - began,
            weights=[WEIGHTS / "faces.safetensors", WEIGHTS / "face-features.safetensors"],
            data={"source": data.data, "sha256": data.sha256}, settings={"steps": 50, "eta": 0.0},
        )  # fmt: skip


if __name__ == "__main__":
    main()
