"""Face models on a GPU, at equal seconds: which network, which learning rate.

    python benchmarks/face_gpu_trials.py [--seconds 45] [--only NAME ...] [--record]

Each trial trains for the same seconds, counted when the network has been compiled, at a constant
learning rate, then draws faces in 50 steps without fresh noise, which are compared with training
faces in the features of the network that was trained for that. Finished trials are taken up again.
With --record the table becomes data/results/faces-trials-gpu.json, which the report reads.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
from dataclasses import replace

import pandas as pd
import torch

from hw2lib import experiments, faces, results
from hw2lib.face_features import load_features
from hw2lib.face_study import Sampler, quality
from hw2lib.face_unet import FaceConfig, FaceUNet
from hw2lib.metrics import metric
from hw2lib.paths import RESULTS, WEIGHTS, UserError
from hw2lib.presets import FACE_PRESETS, Preset
from hw2lib.training import TrainConfig, load_state

BASE = FACE_PRESETS["full"]
REAL = 1000  # training faces to compare with
WARM = 60  # steps before the clock starts
LONG = 60_000  # steps of a run of which the trial is the beginning


class Clocked(Preset):
    """A preset whose training is interrupted (SIGTERM) `seconds` after step WARM."""

    seconds, calls = 45.0, 0

    def loss(self, *args, **options) -> torch.Tensor:
        Clocked.calls += 1
        if Clocked.calls == WARM:
            torch.cuda.synchronize()
            stop = threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGTERM))
            stop.daemon = True
            stop.start()
        return super().loss(*args, **options)


def trial(model: FaceConfig, lr: float = 1e-3, batch_size: int = 256) -> Preset:
    train = TrainConfig(
        LONG, batch_size, lr=lr, schedule="trapezoid", warmup=500, ema=0.9995, seed=0
    )
    fields = {name: getattr(BASE, name) for name in BASE.__dataclass_fields__}
    return Clocked(**{**fields, "model": model, "train": train})


DEEP = FaceConfig(widths=(64, 96, 128, 128), blocks=2, attention=(1, 2), unfold=2)
WIDE = FaceConfig(widths=(64, 128, 160, 160), blocks=1, attention=(2,), unfold=2)
TRIALS = {
    "two blocks, 64-96-128-128 channels, lr .001": trial(DEEP),
    "one block, 64-128-160-160 channels, lr .001": trial(WIDE),
    "two blocks, 64-96-128-128 channels, lr .002": trial(DEEP, 2e-3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no GPU at hand; benchmarks/face_trials.py is for processors")
    data = faces.load()
    eye = load_features()
    real = eye.embed(faces.split(data)[0][:REAL])
    Clocked.seconds = args.seconds
    table, entries = {}, {}
    for name in args.only:
        out = experiments.run_folder(f"face-gpu-{args.seconds:g}/trial", TRIALS[name], data)
        Clocked.calls = 0
        if not (out / "checkpoint.pt").exists():
            try:
                experiments.train_faces(TRIALS[name], out=out)
            except UserError as stopped:
                print(stopped)  # by the clock, or since the loss is no longer finite
        if not (out / "checkpoint.pt").exists():
            continue
        state = torch.load(out / "checkpoint.pt", map_location="cpu", weights_only=True)
        model = load_state(FaceUNet(TRIALS[name].model), state["ema"], out)
        header = {"schedule": BASE.schedule, "prediction": BASE.prediction,
                  "n_train_steps": experiments.N_TRAIN_STEPS}  # fmt: skip
        found = quality(eye.embed(Sampler(model, header, 512).many(args.samples)), real)
        found["images"] = metric([state["step"] * state["config"]["batch_size"]], 1, "number")
        entries |= {f"{name}: {score}": entry for score, entry in found.items()}
        table[name] = {score: entry["mean"] for score, entry in found.items()}
        print(pd.DataFrame(table).T.round(3).to_string(), out, state["seconds"], flush=True)
    if args.record:
        entries["seconds"] = metric([args.seconds], 1, "s")
        results.record(
            "faces-trials-gpu", preset="full", seeds=[BASE.train.seed], directory=RESULTS,
            metrics=entries, seconds=args.seconds * len(table),
            weights=[WEIGHTS / "face-features.safetensors"],
            data={"source": data.source, "sha256": data.sha256,
                  "settings": {"steps": 50, "eta": 0.0, "training faces": REAL}},
        )  # fmt: skip


if __name__ == "__main__":
    main()
