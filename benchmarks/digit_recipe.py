"""The recipe of the report being reproduced, and ours, at equal compute.

    python benchmarks/digit_recipe.py [--record]

The preset "report" trains on one thread for as many seconds of the processor as the first training
of the guidance study (preset "study", seed 0) takes; so does ours with rectified flow in place of
v, which the shorter trials of `digit_trials` suggest. All draw 500 samples from the same noises,
without guidance and with each recipe's own w, scored against test images. Each has its own
sampler: ours the default, theirs one that adds noise on the way as DDPM does, in 50 steps, since
all T would take hours. (DDIM in 20 steps fails on their model, whose estimates are not clipped.)
Finished parts are taken up again; --record writes data/results/digits-recipe.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hw2lib.datasets import digits
from hw2lib.experiments import cfdg, recipe
from hw2lib.experiments.cfdg import DIGIT_PRESETS
from hw2lib.experiments.recipe import Preset
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, WEIGHTS, runs_dir
from hw2lib.metrics import metric
from hw2lib.studies import cfdg as study

N, SEED = 500, 0
THEIR_W = 2.0  # (1 + w) conditional - w unconditional, as the course's code has it
SAMPLERS = {
    "ours": {"steps": cfdg.DEFAULT.steps, "solver": cfdg.SOLVER, "seed": SEED},
    "report": {"steps": 50, "solver": "ddim", "eta": 1.0, "seed": SEED},
}
OWN_W = {"ours": cfdg.DEFAULT.w, "report": THEIR_W}


def seconds_a_step(preset: Preset, steps: int = 20, train: Callable = cfdg.train_digits) -> float:
    """Seconds of the processor for one training step, from two short runs."""
    taken = []
    for n in (3, 3 + steps):
        short = replace(preset, train=replace(preset.train, steps=n, warmup=1))
        began = time.process_time()
        train(short, out=runs_dir() / "timing" / str(time.time_ns()))
        taken.append(time.process_time() - began)
    return (taken[1] - taken[0]) / steps


def equal_steps(ours: Preset, theirs: Preset, out: Path) -> tuple[float, int]:
    """Seconds of the processor for ours, and steps of theirs in them; kept in `out`."""

    def measure() -> dict[str, list[float]]:
        pairs = [[seconds_a_step(p) for p in (ours, theirs)] for _ in range(2)]
        return {"seconds a step": [min(taken) for taken in zip(*pairs, strict=True)]}

    a, b = kept("steps", [str(ours), str(theirs)], measure, out)[0]["seconds a step"].tolist()
    return ours.train.steps * a, round(ours.train.steps * a / b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    domain = digits.load("mnistm")
    ours, theirs = DIGIT_PRESETS["study"], DIGIT_PRESETS["report"]
    flow = replace(ours, prediction="flow")
    their_folder = recipe.run_folder("recipe", theirs, domain)
    seconds, steps = equal_steps(ours, theirs, their_folder)
    print(f"{seconds:.0f} seconds of one thread: {steps} steps", flush=True)
    theirs = replace(theirs, train=replace(theirs.train, steps=steps))
    trainings = (
        ("ours", ours, recipe.run_folder("guidance", ours, domain) / "p10-s0"),
        ("ours", flow, recipe.run_folder("recipe", flow, domain)),
        ("report", theirs, their_folder),
    )
    scorer, records = study.Scorer.load(domain.test.images, N), []
    for row, preset, out in trainings:
        cfdg.train_digits(preset, out=out, resume=True)
        model, header = cfdg.load_digit_unet(out / "weights.safetensors")
        for w in (0.0, OWN_W[row]):
            scores = study.sampled_scores(model, header, scorer, N, out, w=w, **SAMPLERS[row])
            scores = {"images_seen": header["images_seen"], **scores}
            records += study.scored(row, [scores], N, prediction=preset.prediction, w=w)
            print(results.table(records).to_string(), flush=True)
    if args.record:
        training = results.record("training", "seconds", metric([seconds], 1, "s"))
        results.write(
            "digits-recipe", preset="full", seeds=[SEED], seconds=len(trainings) * seconds,
            records=[*records, training], directory=RESULTS,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("judge", "digit-features")],
            data={"source": domain.data, "sha256": domain.sha256}, settings=SAMPLERS,
        )  # fmt: skip


if __name__ == "__main__":
    main()
