"""Face models at equal compute: one thing changed in the network on 4x4 pixels.

    python benchmarks/face_trials.py [--seconds 480] [--only NAME ...] [--record]

Each trial trains on one thread for the same seconds of the processor, then draws faces in 50 steps
without fresh noise. They are compared with training faces, in the features of the network that was
trained for that: choices are made by these scores. How many steps fit is measured once for each
network; the drawing speed is that of the network's calls in mixed precision, the first trial's
being 1. With --record the table becomes data/results/faces-trials.json, which the report reads.
Finished trials are taken up again. Run all on the same machine, or the times are not equal.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from statistics import median

import torch
from digit_trials import steps_within

from hw2lib.datasets import faces
from hw2lib.datasets.faces import SIDE
from hw2lib.diffusion import Predict
from hw2lib.evaluators import face_features
from hw2lib.experiments import ddim, recipe
from hw2lib.experiments.ddim import FACE_PRESETS
from hw2lib.experiments.recipe import Preset
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import record
from hw2lib.metrics import metric
from hw2lib.models.face_unet import FaceUNet, in_mixed_precision
from hw2lib.studies.ddim import Sampler, quality

BASE = FACE_PRESETS["cores"]
REAL = 1000  # training faces to compare with


def changed(train: dict | None = None, model: dict | None = None, **fields) -> Preset:
    """The base with one thing changed."""
    fields["train"] = replace(BASE.train, **(train or {}))
    fields["model"] = replace(BASE.model, **(model or {}))
    return replace(BASE, **fields)


def finer(*widths: int) -> Preset:
    """On 2x2 pixels: one resolution more, so that the last is 4x4 as well."""
    return changed(model={"unfold": 2, "widths": widths, "attention": (2,)})


TRIALS = {
    "4x4 pixels, 128-128-128 channels": BASE,
    "64 channels": changed(model={"widths": (64, 64, 64)}),
    "192 channels": changed(model={"widths": (192, 192, 192)}),
    "attention at 16x16 as well": changed(model={"attention": (0, 1)}),
    "v, min-SNR 5, all times alike": changed(min_snr=5.0, log_snr_std=0.0),
    "2x2 pixels, 64-128-128-128 channels": finer(64, 128, 128, 128),
    "2x2 pixels, 64-128-160-160 channels": finer(64, 128, 160, 160),
}
SEEDS = {"4x4 pixels, 128-128-128 channels": (0, 1)}  # how much chance alone does


@torch.inference_mode()
def seconds_a_call(predict: Predict) -> float:
    """Of the network on 16 faces."""
    began = time.perf_counter()
    predict(torch.zeros(16, 3, SIDE, SIDE), torch.zeros(16, dtype=torch.long))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = faces.load()
    eye = face_features.load()
    real = eye.embed(faces.split(data)[0][:REAL])
    first = in_mixed_precision(FaceUNet(BASE.model))
    records = []
    for row, seed in ((name, seed) for name in args.only for seed in SEEDS.get(name, (0,))):
        preset, setting = TRIALS[row], {"seed": seed} if seed else {}
        preset = replace(preset, train=replace(preset.train, seed=seed))
        out = recipe.run_folder(f"face-trials-{args.seconds:g}/trial", preset, data)
        if not (out / "weights.safetensors").exists():
            train = ddim.train_faces
            steps = steps_within(args.seconds, preset, out.parent, BASE, train, steps=30)
            preset = replace(preset, train=replace(preset.train, steps=steps))
            ddim.train_faces(preset, out=out, resume=True)
        model, header = ddim.load_face_unet(out / "weights.safetensors")
        draw = Sampler(model, header)
        records += quality(row, eye.embed(draw.many(args.samples)), real, **setting)
        ratio = median(seconds_a_call(first) / seconds_a_call(draw.predict) for _ in range(5))
        for score, value, unit in (
            ("images_seen", header["images_seen"], "number"), ("drawing_speed", ratio, "ratio"),
        ):  # fmt: skip
            records.append(record(row, score, metric([value], 1, unit), **setting))
        print(results.table(records).to_string(), flush=True)
    if args.record:
        trained = len(results.select(records, score="images_seen"))
        seconds = record("training", "seconds", metric([args.seconds], 1, "s"))
        results.write(
            "faces-trials", preset="full", seeds=[BASE.train.seed], directory=RESULTS,
            records=[*records, seconds], seconds=args.seconds * trained,
            weights=[WEIGHTS / "face-features.safetensors"],
            data={"source": data.data, "sha256": data.sha256},
            settings={"steps": 50, "eta": 0.0, "training faces": REAL},
        )  # fmt: skip


if __name__ == "__main__":
    main()
