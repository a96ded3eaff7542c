"""Digit models at equal compute: one thing changed in ours; and the way from the report's to ours.

    python benchmarks/digit_trials.py [--seconds 300] [--only NAME ...] [--record]

Each trial trains on one thread for the same seconds of the processor, then draws samples that the
judge and the digit features score. How many steps fit is measured once for each network, so that
trials of one network see the same number of images. The table goes to the screen; with --record
also to data/results/digits-trials.json, which the report reads. Finished trials are taken up again.
Run all on the same machine, or the times are not equal.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from digit_recipe import seconds_a_step

from hw2lib.datasets import digits
from hw2lib.experiments import cfdg, recipe
from hw2lib.experiments.cfdg import DIGIT_PRESETS
from hw2lib.experiments.recipe import Preset
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.metrics import metric
from hw2lib.studies import cfdg as study

OPTIONS = {"steps": 20, "solver": "ddim", "w": 1.0, "seed": 1000}  # not a recorded samples' seed
SHOWN = ("images_seen", "accuracy", "frechet", "recall", "precision")


def smaller_batches(preset: Preset) -> Preset:
    """With batches of 32, which give a short run twice as many steps."""
    return replace(preset, train=replace(preset.train, batch_size=32))


BASE = smaller_batches(DIGIT_PRESETS["study"])


def changed(train: dict | None = None, model: dict | None = None, **fields) -> Preset:
    """The base with one thing changed."""
    fields["train"] = replace(BASE.train, **(train or {}))
    fields["model"] = replace(BASE.model, **(model or {}))
    return replace(BASE, **fields)


TRIALS = {
    "ours": BASE,
    "objective: v, min-SNR 5, all times alike": changed(min_snr=5.0, log_snr_std=0.0),
    "objective: rectified flow": changed(prediction="flow"),
    "objective: eps, linear schedule, all times alike": changed(
        prediction="eps", schedule="linear", log_snr_std=0.0
    ),
    "times: all alike": changed(log_snr_std=0.0),
    "widths (96, 192)": changed(model={"widths": (96, 192)}),
    "pixels not unfolded": changed(model={"unfold": 1}),
    "no EMA": changed(train={"ema": 0.0}),
    "condition only added": changed(model={"scaled": False}),
    "backgrounds exchanged": changed(exchange=True),
}
STAIRS = [  # each step keeps those before it; the last is ours
    ("the report's recipe", {}),
    ("+ images in [-1, 1], x_0 clipped, no noise on the way", {"zero_one": False}),
    ("+ our learning rate, EMA", {"train": BASE.train}),
    ("+ our network", {"model": BASE.model}),
    ("+ cosine schedule", {"schedule": "cosine"}),
    ("+ v in place of eps", {"prediction": "v"}),
    ("+ more of the middle times: ours", {"log_snr_std": BASE.log_snr_std}),
]
preset = smaller_batches(DIGIT_PRESETS["report"])
for name, fields in STAIRS:
    preset = replace(preset, **fields)
    TRIALS[name] = preset  # equal settings share a folder, so that none is trained twice
assert preset == BASE
SEEDS = {"ours": (0, 1, 2)}  # others have one; how much chance alone does


def steps_within(
    seconds: float, preset: Preset, folder: Path, base: Preset = BASE,
    train: Callable = cfdg.train_digits, steps: int = 60,
) -> int:  # fmt: skip
    """Training steps of the preset's network that fit, by trainings of `steps`, kept in the folder.

    The base's are measured once; those of another network follow from the ratio to the base's,
    measured in turn, since the speed of a machine drifts.
    """

    def measure(presets: tuple[Preset, ...]) -> np.ndarray:
        """Seconds a step (3, presets), taken in turn."""
        key = [str(p.model) for p in presets]
        return kept("seconds", key, lambda: {"a step": [
            [seconds_a_step(p, steps, train) for p in presets] for _ in range(3)
        ]}, folder)[0]["a step"]  # fmt: skip

    a_step = np.median(measure((base,)))
    if preset.model != base.model:
        own, other = measure((base, preset)).T
        a_step *= np.median(other / own)
    return max(1, round(seconds / a_step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--only", nargs="*", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    domain = digits.load("mnistm")
    # Choices are made by these scores, so the real images here are training images.
    order = torch.randperm(len(domain.train), generator=torch.Generator().manual_seed(0))
    real = domain.train.images[order[:10_000]]
    scorer, records = study.Scorer.load(real, args.samples), []
    for row, seed in ((name, seed) for name in args.only for seed in SEEDS.get(name, (0,))):
        preset = replace(TRIALS[row], train=replace(TRIALS[row].train, seed=seed))
        out = recipe.run_folder(f"trials-{args.seconds:g}/trial", preset, domain)
        if not (out / "weights.safetensors").exists():
            steps = steps_within(args.seconds, preset, out.parent)
            preset = replace(preset, train=replace(preset.train, steps=steps))
            cfdg.train_digits(preset, out=out, resume=True)
        model, header = cfdg.load_digit_unet(out / "weights.safetensors")
        # DDIM without noise breaks down on estimates of x_0 that are not clipped (`sample_digits`).
        options = {**OPTIONS, "eta": float(preset.zero_one)}
        scores = study.sampled_scores(model, header, scorer, args.samples, out, **options)
        scores["images_seen"] = header["images_seen"]
        shown = {score: scores[score] for score in SHOWN}
        records += study.scored(row, [shown], args.samples, **({"seed": seed} if seed else {}))
        print(results.table(records).to_string(), flush=True)
    if args.record:
        trained = len(results.select(records, score="accuracy"))
        seconds = results.record("training", "seconds", metric([args.seconds], 1, "s"))
        results.write(
            "digits-trials", preset="full", seeds=[BASE.train.seed], directory=RESULTS,
            records=[*records, seconds], seconds=args.seconds * trained, settings=OPTIONS,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("judge", "digit-features")],
            data={"source": domain.data, "sha256": domain.sha256},
        )  # fmt: skip


if __name__ == "__main__":
    main()
