"""Digit models at equal compute: one thing changed in ours; and the way from the report's to ours.

    python benchmarks/digit_trials.py --seconds 300 [--only NAME ...] [--record]

Each trial trains on one thread for the same time, then draws samples with w = 0 and w = 1 that
judge and yardstick score. The table goes to the screen; with --record also to
data/results/digit-trials.json, which the report reads. Real test images are scored beside them.
Run on the same machine and with the same load, or the times are not equal.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import pandas as pd
import torch

from hw2lib import digits, experiments, guidance, metrics, results
from hw2lib.experiments import Preset
from hw2lib.paths import RESULTS, runs_dir
from hw2lib.training import TrainConfig
from hw2lib.unet import DigitConfig, ReportConfig

BASE = Preset(
    TrainConfig(steps=1, batch_size=32),
    DigitConfig(widths=(64, 128), blocks=1),
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
    "two blocks": changed(model={"blocks": 2}),
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
    """How many steps the preset trains in that time, from a short run."""
    short = replace(preset, train=replace(preset.train, steps=24, warmup=1))
    out = runs_dir() / "trials" / f"timing-{time.time_ns()}"
    experiments.train_digits(replace(short, train=replace(short.train, steps=4)), out=out)
    began = time.perf_counter()
    experiments.train_digits(short, out=out, resume=True)  # 20 more
    return max(1, round(seconds / (time.perf_counter() - began) * 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    domain = digits.load("mnistm")
    scorer = guidance.Scorer.load(domain, args.samples)
    labels = torch.arange(10).repeat_interleave(args.samples // 10)
    table, began = {}, time.perf_counter()
    for name in args.only:
        preset = TRIALS[name]
        preset = replace(preset, train=replace(preset.train, steps=steps_in(preset, args.seconds)))
        out = runs_dir() / "trials" / name.replace(" ", "-").replace(",", "")
        fitted, header = experiments.train_digits(preset, out=out, resume=True)
        row = {"images": header["images_seen"], "seconds": header["seconds"]}
        for w in (0.0, 1.0):
            samples = experiments.sample_digits(fitted.ema, header, labels, range(len(labels)), w=w)
            row |= {f"{key}, w={w:g}": v for key, v in scorer(samples, labels).items()}
        table[name] = row
        print(pd.DataFrame(table).T.round(3).to_string(), flush=True)
    table["real images"] = guidance.ceiling(domain, scorer, args.samples)
    print(pd.DataFrame(table).T.round(3).to_string())
    if args.record:
        measured = {
            f"{name}: {key}": metrics.metric([value], args.samples, "distance")
            for name, row in table.items()
            for key, value in row.items()
        }
        results.record(
            "digit-trials", preset="full", seeds=[0], metrics=measured, directory=RESULTS,
            seconds=time.perf_counter() - began,
            data={"source": domain.source, "sha256": domain.sha256},
        )  # fmt: skip


if __name__ == "__main__":
    main()
