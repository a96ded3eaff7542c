"""The default setting (solver, steps, w), chosen by three models against training images.

    python benchmarks/digit_setting.py [--record]

The models are those of the guidance study with dropped labels (`studies.cfdg`), which must be
trained already. Samples have another seed than the recorded ones, and are compared with 10,000
training images; a row holds 1,000 other training images for each seed. The rule: accuracy .99 or
more and .8 or more of the real images' recall, with as few steps as that takes. The last rows
compare the shipped model with the first half of its training, which is the study's seed 0.
--record writes data/results/digits-setting.json.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from hw2lib.datasets import digits
from hw2lib.experiments import cfdg, recipe
from hw2lib.experiments.cfdg import DIGIT_PRESETS, DigitNet
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS, runs_dir
from hw2lib.studies import cfdg as study

N, SEEDS, SAMPLE_SEED = 1000, (0, 1, 2), 1000
SETTINGS = [
    {"solver": solver, "steps": steps, "w": w}
    for solver, steps, w in (
        ("dpmpp", 10, 1.5), ("dpmpp", 12, 1.5), ("ddim", 20, 1.5), ("dpmpp", 10, 1.25),
        ("dpmpp", 12, 1.25),
    )
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    base = recipe.run_folder("guidance", DIGIT_PRESETS["study"], domain)
    order = torch.randperm(len(domain.train), generator=torch.Generator().manual_seed(0))
    scorer = study.Scorer.load(domain.train.images[order[:10_000]], N)

    def scored(folder: Path, model: DigitNet, header: dict, setting: dict) -> dict[str, float]:
        return study.sampled_scores(model, header, scorer, N, folder, **setting, seed=SAMPLE_SEED)

    models = {
        folder: cfdg.load_digit_unet(folder / "weights.safetensors")
        for folder in (base / f"p10-s{seed}" for seed in SEEDS)
    }
    records = []
    for setting in SETTINGS:
        found = [scored(folder, *model, setting) for folder, model in models.items()]
        records += study.scored("samples", found, N, **setting)
        print(results.table(records).to_string(), flush=True)
    other = [order[10_000 + N * seed :][:N] for seed in SEEDS]
    of_real = [scorer(domain.train.images[i], domain.train.labels[i]) for i in other]
    records += study.scored("real", of_real, N)
    halves = {
        0.5: (base / "p10-s0", models[base / "p10-s0"]),
        1: (runs_dir() / "setting", cfdg.load_digit_unet()),
    }
    for w in (0.0, cfdg.DEFAULT.w):
        setting = {"solver": cfdg.SOLVER, "steps": cfdg.DEFAULT.steps, "w": w}
        for share, (folder, model) in halves.items():
            found = scored(folder, *model, setting)
            records += study.scored("samples", [found], N, training=share, w=w)
    print(results.table(records).to_string())
    if args.record:
        results.write(
            "digits-setting", preset="full", seeds=list(SEEDS), directory=RESULTS,
            records=records, seconds=time.perf_counter() - began,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("digits", "judge", "digit-features")],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"seed of the samples": SAMPLE_SEED, "real images": "training"},
        )  # fmt: skip


if __name__ == "__main__":
    main()
