"""Longer: the default digit model, trained for as many steps again.

    python benchmarks/digit_longer.py [--record]

It begins with the default weights, the average over its training, and takes the full preset's 9,400
steps once more, warm-up and fall of the learning rate included, with batches of another seed. Each
model is compared at the strength w of guidance that is chosen on noises of a seed of its own,
against training digits, and at the default's w. Records:

    tried     accuracy, frechet, ..  by model and w: 1,000 samples, scored against training digits
    tried     legible                by model: the smallest w at which 99 % are read as asked
    samples   accuracy, frechet, ..  by model and w, at those w: noise seeds 0 to 4, 1,000 samples
                                     each, against test digits; one value a noise seed
    samples   recall_of_real         by model and w: recall as a share of that of real images
    gained    accuracy, frechet, ..  of the longer beyond the default model, from the same noises,
                                     at=default and at=legible
    real      accuracy, frechet, ..  of as many training images, drawn by each seed
    training  images_seen, seconds   by model, since random weights

The training and the scores are kept in the build folder and taken up again. --record writes
data/weights/digits-longer.safetensors and data/results/digits-longer.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from digit_parts import CHOICE_SEED, SEEDS, SHIPPED, SHOWN, N, Table, gained, legible

from hw2lib.datasets import digits
from hw2lib.device import precision
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, DIGIT_PRESETS
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS, atomic_write, runs_dir
from hw2lib.io.weights import load_weights
from hw2lib.metrics import metric
from hw2lib.studies import cfdg as study

FULL = DIGIT_PRESETS["full"]
PRESET = replace(FULL, train=replace(FULL.train, seed=1))
LONGER, SCORED_BY = WEIGHTS / "digits-longer.safetensors", ("judge", "digit-features")
STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.25)


def longer(out: Path) -> Path:
    """The weights file of the longer training."""
    cfdg.train_digits(PRESET, out=out, resume=True, start=SHIPPED)
    return out / "weights.safetensors"


def tried_records(table: Table, models: dict[str, Path]) -> tuple[dict[str, float], list[dict]]:
    """Of all models and strengths, and {model: the w that was chosen}."""
    records, chosen = [], {}
    for name, file in models.items():
        found = {w: table.scores(file, "all", w, CHOICE_SEED) for w in STRENGTHS}
        for w, scores in found.items():
            print(name, w, {score: round(scores[score], 4) for score in SHOWN}, flush=True)
            records += study.scored("tried", [scores], N, model=name, w=w)
        chosen[name] = legible({w: scores["accuracy"] for w, scores in found.items()})
        entry = metric([chosen[name]], 1, "number")
        records.append(results.record("tried", "legible", entry, model=name))
    return chosen, records


def compared_records(
    table: Table, models: dict[str, Path], chosen: dict[str, float], domain: digits.DigitDomain
) -> list[dict]:
    """Of all models at the default's w and at those chosen, against test digits."""
    records, found = study.real_images(domain, table.scorer, N, SEEDS), {}
    for name, file in models.items():
        for w in sorted({DEFAULT.w, chosen[name]}):
            found[name, w] = [table.scores(file, "all", w, seed) for seed in SEEDS]
            records += study.scored("samples", found[name, w], N, model=name, w=w)
            records.append(study.recall_of_real(records, model=name, w=w))
    for at, w in (("default", dict.fromkeys(models, DEFAULT.w)), ("legible", chosen)):
        ours, theirs = (found[name, w[name]] for name in ("longer", "default"))
        records += gained(ours, theirs, at=at)
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    models = {"default": SHIPPED, "longer": longer(runs_dir() / "digits-longer")}
    choice, table = Table(domain, "train"), Table(domain, "test")
    chosen, records = tried_records(choice, models)
    records += compared_records(table, models, chosen, domain)
    for name, file in models.items():
        header = load_weights(file, "digit_unet")[1]
        for score, unit in (("images_seen", "number"), ("seconds", "s")):
            entry = metric([header[score]], 1, unit)
            records.append(results.record("training", score, entry, model=name))
    print(results.frame(records).to_string())
    if args.record:
        with atomic_write(LONGER) as part:
            part.write_bytes(models["longer"].read_bytes())
        trained = header["seconds"] - load_weights(SHIPPED, "digit_unet")[1]["seconds"]
        results.write(
            "digits-longer", preset="full", seeds=list(SEEDS), directory=RESULTS, records=records,
            seconds=trained + time.perf_counter() - began + choice.spared + table.spared,
            weights=[SHIPPED, LONGER, *(WEIGHTS / f"{k}.safetensors" for k in SCORED_BY)],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"train": vars(PRESET.train), "steps": DEFAULT.steps, "solver": cfdg.SOLVER,
                      "precision": precision(), "seed of the choice": CHOICE_SEED},
        )  # fmt: skip


if __name__ == "__main__":
    main()
