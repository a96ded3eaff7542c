"""Digit models at equal compute: one thing changed in ours; and the way from the report's to ours.

    python benchmarks/digit_trials.py --seconds 300 [--only NAME ...] [--record]

Each trial trains on one thread for the same time, then draws samples with w = 0 and w = 1 that
judge and yardstick score. The table goes to the screen; with --record also to
data/results/digits-trials.json, which the report reads. Finished trials are taken up again.
Run all on the same machine, or the times are not equal.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from hw2lib import digits, experiments, guidance, metrics, results
from hw2lib.paths import RESULTS, runs_dir
from hw2lib.presets import (
    Preset,
)
from hw2lib.training import TrainConfig
from hw2lib.unet import DigitConfig, ReportConfig

STRENGTHS = (0.0, 1.0)  # w
SEED = 1000  # of the samples: not one of the recorded samples
BASE = Preset(
    TrainConfig(steps=1, batch_size=32),
    DigitConfig(widths=(64, 128), blocks=(1, 1)),
    "cosine",
    prediction="v",
    min_snr=0.0,
    log_snr_std=2.0,
)


def changed(train: dict | None = None, model: dict | None = None, **fields) -> Preset:
    """The base with one thing changed."""
    fields["train"] = replace(BASE.train, **(train or {}))
    fields["model"] = replace(BASE.model, **(model or {}))
    return replace(BASE, **fields)


TRIALS = {
    "base": BASE,
    "v, min-SNR 5, all times alike": changed(min_snr=5.0, log_snr_std=0.0),
    "v, weight one, all times alike": changed(log_snr_std=0.0),
    "rectified flow, logit-normal": changed(prediction="flow"),
    "eps, linear schedule, all times alike": changed(
        prediction="eps", schedule="linear", log_snr_std=0.0
    ),
    "v, log SNR around 1": changed(log_snr_mean=1.0),
    "v, log SNR around -1": changed(log_snr_mean=-1.0),
    "pixels not unfolded": changed(model={"unfold": 1}),
    "narrower (48, 96)": changed(model={"widths": (48, 96)}),
    "wider (96, 192)": changed(model={"widths": (96, 192)}),
    "blocks (1, 2)": changed(model={"blocks": (1, 2)}),
    "blocks (1, 3)": changed(model={"blocks": (1, 3)}),
    "blocks (2, 2)": changed(model={"blocks": (2, 2)}),
    "wider, blocks (1, 2)": changed(model={"widths": (96, 192), "blocks": (1, 2)}),
    "batch 64": changed(train={"batch_size": 64}),
    "batch 16": changed(train={"batch_size": 16}),
    "learning rate 2e-3": changed(train={"lr": 2e-3}),
    "EMA .99": changed(train={"ema": 0.99}),
    "condition only added": changed(model={"scaled": False}),
    "shifted by up to 2 pixels": changed(shift=2),
    "backgrounds exchanged": changed(exchange=True),
}


REPORT = Preset(
    TrainConfig(steps=1, batch_size=32, lr=1e-4, ema=0.0),
    ReportConfig(),
    "linear",
    prediction="eps",
    min_snr=0.0,
    zero_one=True,
)
STAIRS = [  # each step keeps those before it; the last is the base
    ("the report's recipe", {}),
    ("+ images in [-1, 1], x_0 clipped", {"zero_one": False}),
    ("+ learning rate 1e-3, EMA", {"train": BASE.train}),
    ("+ our network", {"model": BASE.model}),
    ("+ cosine schedule", {"schedule": "cosine"}),
    ("+ v in place of eps", {"prediction": "v"}),
]
preset = REPORT
for name, fields in STAIRS:
    preset = replace(preset, **fields)
    TRIALS[name] = preset


def steps_in(preset: Preset, seconds: float) -> int:
    """How many steps the preset trains in that time, from short runs.

    Seconds of the processor, on one thread: what else the machine does does not count.
    """
    taken = []
    for steps in (5, 45):
        short = replace(preset, train=replace(preset.train, steps=steps, warmup=1))
        began = time.process_time()
        experiments.train_digits(short, out=runs_dir() / "trials" / f"timing-{time.time_ns()}")
        taken.append(time.process_time() - began)
    return max(1, round(40 * seconds / (taken[1] - taken[0])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    domain = digits.load("mnistm")
    # Choices are made by these scores, so the real images here are training images.
    order = torch.randperm(len(domain.train), generator=torch.Generator().manual_seed(0))
    real = domain.train.images[order[:10_000]]
    scorer = guidance.Scorer.load(real, args.samples)
    labels = torch.arange(10).repeat_interleave(args.samples // 10)
    table = {}
    for name in args.only:
        out = runs_dir() / "trials" / name.replace(" ", "-").replace(",", "")
        if not (out / "weights.safetensors").exists():
            steps = steps_in(TRIALS[name], args.seconds)
            preset = replace(TRIALS[name], train=replace(TRIALS[name].train, steps=steps))
            experiments.train_digits(preset, out=out, resume=True)
        model, header = experiments.load_digit_unet(out / "weights.safetensors")
        table[name] = {"images": header["images_seen"]}
        for w in STRENGTHS:
            options = {"w": w, "seed": SEED}
            scores = guidance.kept(
                out / f"w={w:g}.json", {"n": args.samples, **options},
                partial(guidance.sampled_scores, model, header, labels, scorer, **options),
            )  # fmt: skip
            shown = {key: scores[key] for key in ("accuracy", "frechet", "precision", "recall")}
            table[name] |= {f"{key}, w = {w:g}": value for key, value in shown.items()}
        print(pd.DataFrame(table).T.round(3).to_string(), flush=True)
    if args.record:
        measured = {
            f"{name}: {key}": metrics.accuracy_metric([value * args.samples], args.samples)
            if key.startswith("accuracy")
            else metrics.metric([value], args.samples, "number")
            for name, row in table.items()
            for key, value in row.items()
        }
        results.record(
            "digits-trials", preset="full", seeds=[0], metrics=measured, directory=RESULTS,
            seconds=args.seconds * len(table),
            data={
                "source": domain.source, "sha256": domain.sha256,
                "settings": {"seconds of one thread for each trial": args.seconds},
            },
        )  # fmt: skip


if __name__ == "__main__":
    main()
