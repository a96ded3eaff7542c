"""The default setting (solver, steps, w), chosen by three models against training images.

    python benchmarks/digit_setting.py [--record]

The models are those of the guidance study with dropped labels (`hw2lib.guidance`), which must be
trained already. Samples have another seed than the recorded ones, and are compared with 10,000
training images; a row holds 1,000 other training images for each seed. The rule: accuracy .99 or
more and .8 or more of the real images' recall, with as few steps as that takes. The last rows
compare the shipped model with the first half of its training, which is the study's seed 0.
--record writes data/results/digits-setting.json.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from hw2lib.datasets import digits
from hw2lib.experiments import cfdg, recipe
from hw2lib.experiments.cfdg import DIGIT_PRESETS, DigitNet
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS, runs_dir
from hw2lib.studies import cfdg as study

N, SEEDS, SAMPLE_SEED = 1000, (0, 1, 2), 1000
SETTINGS = {
    f"{title}, {n} steps, w = {w:g}": {"solver": solver, "n_steps": n, "w": w}
    for title, solver, n, w in (
        ("DPM-Solver++(2M)", "dpmpp", 10, 1.5),
        ("DPM-Solver++(2M)", "dpmpp", 12, 1.5),
        ("DDIM", "ddim", 20, 1.5),
        ("DPM-Solver++(2M)", "dpmpp", 10, 1.25),
        ("DPM-Solver++(2M)", "dpmpp", 12, 1.25),
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    base = recipe.run_folder("guidance", DIGIT_PRESETS["study"], domain)
    order = torch.randperm(len(domain.train), generator=torch.Generator().manual_seed(0))
    scorer = study.Scorer.load(domain.train.images[order[:10_000]], N)
    labels, rows = torch.arange(10).repeat_interleave(N // 10), {}

    def scored(folder: Path, model: DigitNet, header: dict, setting: dict) -> dict[str, float]:
        options = {**setting, "seed": SAMPLE_SEED}
        return study.kept(
            folder / f"setting-{'-'.join(map(str, setting.values()))}.json",
            {"n": N, "images_seen": header["images_seen"], **options},
            partial(study.sampled_scores, model, header, labels, scorer, **options),
        )

    models = {
        folder: cfdg.load_digit_unet(folder / "weights.safetensors")
        for folder in (base / f"p10-s{seed}" for seed in SEEDS)
    }
    for name, setting in SETTINGS.items():
        found = [scored(folder, *model, setting) for folder, model in models.items()]
        rows[name] = {score: [one[score] for one in found] for score in found[0]}
        print(pd.DataFrame(study.means(rows)).T.round(4).to_string(), flush=True)
    other = [order[10_000 + N * seed :][:N] for seed in SEEDS]
    of_real = [scorer(domain.train.images[i], domain.train.labels[i]) for i in other]
    rows["real images"] = {score: [one[score] for one in of_real] for score in of_real[0]}
    halves = {
        "first half of the training": (base / "p10-s0", models[base / "p10-s0"]),
        "the shipped model": (runs_dir() / "setting", cfdg.load_digit_unet()),
    }
    for w in (0.0, cfdg.GUIDANCE):
        setting = {"solver": cfdg.SOLVER, "n_steps": cfdg.STEPS, "w": w}
        for name, (folder, model) in halves.items():
            found = scored(folder, *model, setting)
            rows[f"{name}, w = {w:g}"] = {score: [value] for score, value in found.items()}
    print(pd.DataFrame(study.means(rows)).T.round(4).to_string(), flush=True)
    if args.record:
        results.record(
            "digits-setting", preset="full", seeds=list(SEEDS), directory=RESULTS,
            metrics=study.as_metrics(rows, N), seconds=time.perf_counter() - began,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("digits", "judge", "yardstick")],
            data={
                "source": domain.data, "sha256": domain.sha256,
                "settings": {"seed of the samples": SAMPLE_SEED, "real images": "training"},
            },
        )  # fmt: skip


if __name__ == "__main__":
    main()
