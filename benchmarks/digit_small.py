"""Small: the digit model with half of its parameters, and what its samples lose.

    python benchmarks/digit_small.py [--record]

The full preset's training from random weights, with three quarters of the channels and a quarter
of the condition's width. Records:

    tried    accuracy, frechet, ..  by w: 1,000 samples of one noise seed, scored against training
                                    digits
    tried    chosen_w               the smallest w at which as many are read as asked as of the
                                    default model's at the default's w, from digits-longer.json
    samples  accuracy, frechet, ..  by w and confidence, as chosen and, by rejection, as chosen for
                                    the default model in digits-rejection.json: noise seeds 0 to 4,
                                    1,000 samples each, against test digits; one value a noise seed
    samples  recall_of_real         by the same: recall as a share of that of real images
    default  accuracy, frechet, ..  of the default model at the default's w
    gained   accuracy, frechet, ..  of the small model as chosen beyond the default model at the
                                    default's w, from the same noises
    real     accuracy, frechet, ..  of as many training images, drawn by each seed
    speed    ratio                  of CPU seconds for the same digits, the default model's to the
                                    small one's, a pair at a time; default, small: the seconds
    model    parameters, seconds    of the training

The training, runs/digits-small of the build folder, and the scores are kept and taken up again.
--record writes data/results/digits-small.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from digit_parts import CHOICE_SEED, LABELS, SEEDS, SHIPPED, SHOWN, N, gained
from digit_rejection import CLASSIFIER, Table, scored_by

from hw2lib.datasets import digits
from hw2lib.device import precision
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, DIGIT_PRESETS, Sampling
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, runs_dir
from hw2lib.metrics import metric
from hw2lib.models.digit_unet import DigitConfig
from hw2lib.studies import cfdg as study

PRESET = replace(DIGIT_PRESETS["full"], model=DigitConfig((48, 96), (2, 2), 64))
STRENGTHS = (1.0, 1.25, 1.5, 2.0)
PAIRS, PAIR = 5, 100  # of timed samplings; digits of one


def tried_records(table: Table, file: Path, enough: float) -> tuple[float, list[dict]]:
    """Of STRENGTHS, and the w that was chosen."""
    records, read = [], {}
    for w in STRENGTHS:
        scores = table.scores(file, (w, 0.0), CHOICE_SEED)
        print(w, {score: round(scores[score], 4) for score in SHOWN}, flush=True)
        records += study.scored("tried", [scores], N, w=w)
        read[w] = scores["accuracy"]
    chosen = min((w for w in read if read[w] >= enough), default=max(read, key=lambda w: read[w]))
    return chosen, [*records, results.record("tried", "chosen_w", metric([chosen], 1, "number"))]


def compared_records(
    table: Table, file: Path, cells: list[tuple[float, float]], domain: digits.DigitDomain
) -> list[dict]:
    """Of the small model in these cells (w, confidence), the first being the choice without
    rejection, and of the default, against test digits."""
    records, found = study.real_images(domain, table.scorer, N, SEEDS), []
    for w, confidence in cells:
        found.append([table.scores(file, (w, confidence), seed) for seed in SEEDS])
        records += study.scored("samples", found[-1], N, w=w, confidence=confidence)
        records.append(study.recall_of_real(records, w=w, confidence=confidence))
    default = [table.scores(SHIPPED, (DEFAULT.w, 0.0), seed) for seed in SEEDS]
    return [*records, *study.scored("default", default, N), *gained(found[0], default)]


def speed_records(file: Path) -> list[dict]:
    """CPU seconds of both models for the same digits, in turns; the first pair warms up."""
    models = {"default": cfdg.load_digit_unet(SHIPPED), "small": cfdg.load_digit_unet(file)}
    taken: dict[str, list[float]] = {name: [] for name in models}
    for pair in range(-1, PAIRS):
        for name, model in models.items():
            began = time.process_time()
            cfdg.sample_digits(*model, LABELS[:: N // PAIR], list(range(PAIR)), Sampling(seed=9))
            taken[name] += [time.process_time() - began] if pair >= 0 else []
    ratios = [a / b for a, b in zip(taken["default"], taken["small"], strict=True)]
    records = [results.record("speed", name, metric(s, PAIR, "s")) for name, s in taken.items()]
    return [*records, results.record("speed", "ratio", metric(ratios, PAIR, "ratio"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    cfdg.train_digits(PRESET, out=(out := runs_dir() / "digits-small"), resume=True)
    file = out / "weights.safetensors"
    model, header = cfdg.load_digit_unet(file)
    choice, table = Table(domain, "train"), Table(domain, "test")
    of_longer, of_rejection = (
        results.load(f"digits-{name}", RESULTS)["records"] for name in ("longer", "rejection")
    )
    enough = results.one(of_longer, "tried", "accuracy", model="default", w=DEFAULT.w)["mean"]
    w, records = tried_records(choice, file, enough)
    by_rejection = tuple(
        results.one(of_rejection, "tried", f"chosen_{what}", model="default")["mean"]
        for what in ("w", "confidence")
    )
    records += compared_records(table, file, [(w, 0.0), by_rejection], domain)
    records += speed_records(file)
    parameters = sum(p.numel() for p in model.parameters())
    for score, value, unit in (("parameters", parameters, "number"),
                               ("seconds", header["seconds"], "s")):  # fmt: skip
        records.append(results.record("model", score, metric([value], 1, unit)))
    print(results.frame(records).to_string())
    if args.record:
        results.write(
            "digits-small", preset="full", seeds=list(SEEDS), directory=RESULTS, records=records,
            seconds=header["seconds"] + time.perf_counter() - began + choice.spared + table.spared,
            weights=[SHIPPED, CLASSIFIER, *scored_by()],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"train": vars(PRESET.train), "model": vars(PRESET.model),
                      "steps": DEFAULT.steps, "solver": cfdg.SOLVER, "precision": precision(),
                      "seed of the choice": CHOICE_SEED},
        )  # fmt: skip


if __name__ == "__main__":
    main()
