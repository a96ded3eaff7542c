"""Rejection: digits drawn again until a classifier is confident of them, with less guidance.

    python benchmarks/digit_rejection.py [--record] [--cells MODEL]

A sample stays where the classifier of dann-mnistm.safetensors gives the digit asked for at least
the probability `confidence`, else it is drawn again (`cfdg.sample_until_read`). That classifier has
seen no label of MNIST-M and takes no part in any score. The models: the default, the longer
training, and two of half the default's length from random weights of their own (the preset "study"
with seeds 1 and 2). Records:

    tried      accuracy, frechet, ..  by model, w and confidence: 1,000 samples of one noise seed,
                                      scored against training digits
    tried      chosen_w, chosen_confidence  by model: of the cells whose accuracy is at least .99
                                      by the lower end of its interval, that of the least frechet
    samples    accuracy, frechet, ..  by model, w and confidence, as chosen (the half-long as the
                                      default): noise seeds 0 to 4, 1,000 samples each, against
                                      test digits; one value a noise seed. confidence=0: no
                                      rejection, the longer training at its w, and the default's w
    samples    recall_of_real, drawn, evaluations  by the same; draws and network evaluations of
                                      one sample
    gained     accuracy, frechet, ..  of the longer training as chosen: beyond=default, the default
                                      model at the default's w, and beyond=plain, without rejection
    trainings  accuracy, frechet, recall_of_real  one value for each training from random weights,
                                      the mean over its noise seeds
    real       accuracy, frechet, ..  of as many training images, drawn by each seed
    classifier accuracy, accepted     of test digits; the share of them with enough confidence
    judge      accuracy               of all test digits, and of those, accepted=1

Trainings and scores are kept in the build folder and taken up again; --cells makes the scores of
one model, for two processes side by side. --record writes data/results/digits-rejection.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from digit_longer import LONGER
from digit_parts import CHOICE_SEED, LABELS, LEGIBLE, SEEDS, SHIPPED, SHOWN, N, gained

from hw2lib.datasets import digits
from hw2lib.device import precision
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, DIGIT_PRESETS, Sampling
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, WEIGHTS, runs_dir, sha256
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models import dann_net
from hw2lib.studies import cfdg as study

STUDY = DIGIT_PRESETS["study"]
HALF = {f"half-{seed}": replace(STUDY, train=replace(STUDY.train, seed=seed)) for seed in (1, 2)}
TRIED = ("default", "longer")
STRENGTHS, CONFIDENCES = (0.0, 0.25, 0.5), (0.5, 0.9)
CLASSIFIER = WEIGHTS / "dann-mnistm.safetensors"
Cell = tuple[float, float]  # w, confidence


def trained() -> dict[str, Path]:
    """Model -> weights file; what is not there is trained."""
    models = {"default": SHIPPED, "longer": LONGER}
    for name, preset in HALF.items():
        out = runs_dir() / f"digits-{name}"
        cfdg.train_digits(preset, out=out, resume=True)
        models[name] = out / "weights.safetensors"
    return models


class Table:
    """Scores of samples against the real images of a part of a domain: "train" or "test"."""

    def __init__(self, domain: digits.DigitDomain, against: str) -> None:
        self.against = {against: domain.sha256}
        self.scorer, self.spared = study.Scorer.load(getattr(domain, against).images, N), 0.0

    def scores(self, weights: Path, cell: Cell, seed: int) -> study.Scores:
        """Of N samples, and how often one was drawn; kept."""
        w, confidence = cell
        networks = [weights, CLASSIFIER, *scored_by()]
        key = {"weights": list(map(sha256, networks)), "w": w, "confidence": confidence,
               "seed": seed, "against": self.against, "precision": precision()}  # fmt: skip

        def make() -> study.Scores:
            images, drawn = cfdg.sample_until_read(
                *cfdg.load_digit_unet(weights), LABELS, list(range(N)), Sampling(w, seed=seed),
                confidence, progress=True,
            )  # fmt: skip
            return {**self.scorer(images, LABELS), "drawn": drawn.double().mean().item()}

        found, seconds = kept("scores", key, make, runs_dir() / "rejection")
        self.spared += seconds
        return {score: value.item() for score, value in found.items()}


def scored_by() -> list[Path]:
    return [WEIGHTS / f"{name}.safetensors" for name in ("judge", "digit-features")]


def chosen(found: Mapping[Cell, study.Scores]) -> Cell:
    """The cell of the least Frechet distance of those that are legible beyond chance, else the
    most legible."""

    def low(cell: Cell) -> float:
        return accuracy_metric([found[cell]["accuracy"] * N], N)["low"]

    enough = [cell for cell in found if low(cell) >= LEGIBLE]
    return min(enough, key=lambda cell: found[cell]["frechet"]) if enough else max(found, key=low)


def tried_records(table: Table, models: Mapping[str, Path]) -> tuple[dict[str, Cell], list[dict]]:
    """Of TRIED, and {model: its cell}; the half-long trainings have the default's."""
    records, cells = [], {}
    for name in TRIED:
        found = {}
        for cell in ((w, confidence) for w in STRENGTHS for confidence in CONFIDENCES):
            found[cell] = table.scores(models[name], cell, CHOICE_SEED)
            shown = {score: round(found[cell][score], 4) for score in (*SHOWN, "drawn")}
            print(name, *cell, shown, flush=True)
            records += scored("tried", [found[cell]], name, cell)
        cells[name] = chosen(found)
        for what, value in zip(("chosen_w", "chosen_confidence"), cells[name], strict=True):
            entry = metric([value], 1, "number")
            records.append(results.record("tried", what, entry, model=name))
    return cells | dict.fromkeys(HALF, cells["default"]), records


def scored(row: str, scores: list[study.Scores], name: str, cell: Cell) -> list[dict]:
    w, confidence = cell
    return study.scored(row, scores, N, model=name, w=w, confidence=confidence)


def compared_records(
    table: Table, models: Mapping[str, Path], cells: Mapping[str, Cell], domain: digits.DigitDomain
) -> list[dict]:
    """Of all models as chosen, and of what they are compared with, against test digits."""
    records, found = study.real_images(domain, table.scorer, N, SEEDS), {}
    plain, default = ("longer", (cells["longer"][0], 0.0)), ("default", (DEFAULT.w, 0.0))
    for name, cell in (*cells.items(), plain, default):
        found[name, cell] = [table.scores(models[name], cell, seed) for seed in SEEDS]
        w, confidence = cell
        records += scored("samples", found[name, cell], name, cell)
        records.append(study.recall_of_real(records, model=name, w=w, confidence=confidence))
        once = study.evaluations(1000, DEFAULT.steps, w)
        passes = metric([once * s["drawn"] for s in found[name, cell]], N, "number")
        records.append(
            results.record("samples", "evaluations", passes, model=name, w=w, confidence=confidence)
        )
    ours = found["longer", cells["longer"]]
    records += gained(ours, found[plain], beyond="plain")
    records += gained(ours, found[default], beyond="default")
    for score, unit in (
        ("accuracy", "share"),
        ("frechet", "distance"),
        ("recall_of_real", "share"),
    ):
        means = [results.one(records, "samples", score, model=name, w=cells[name][0],
                             confidence=cells[name][1])["mean"]
                 for name in ("default", *HALF)]  # fmt: skip
        records.append(results.record("trainings", score, metric(means, N, unit)))
    return records


def classifier_records(test: digits.DigitSet, confidence: float) -> list[dict]:
    """How real test digits are read, by it and, where it is confident, by the judge."""
    p = dann_net.logits(dann_net.load(CLASSIFIER)[0], test.images).softmax(1)
    accepted = p.gather(1, test.labels[:, None])[:, 0] >= confidence
    right = judge.load().predict(test.images) == test.labels
    share = metric([accepted.double().mean().item()], len(test), "share")
    return [
        results.record("classifier", "accuracy", accuracy_metric([p.argmax(1) == test.labels])),
        results.record("classifier", "accepted", share, confidence=confidence),
        results.record("judge", "accuracy", accuracy_metric([right]), accepted=0),
        results.record("judge", "accuracy", accuracy_metric([right[accepted]]), accepted=1),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--cells", choices=["default", "longer", *HALF], metavar="MODEL")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    choice, table = Table(domain, "train"), Table(domain, "test")
    models = trained()
    cells, records = tried_records(choice, models)
    if args.cells:
        for seed in SEEDS:
            table.scores(models[args.cells], cells[args.cells], seed)
        return
    records += compared_records(table, models, cells, domain)
    records += classifier_records(domain.test, cells["longer"][1])
    print(results.frame(records).to_string())
    if args.record:
        headers = [cfdg.load_digit_unet(models[name])[1] for name in HALF]
        results.write(
            "digits-rejection", preset="full", seeds=list(SEEDS), directory=RESULTS,
            records=records, seconds=time.perf_counter() - began + choice.spared + table.spared
            + sum(header["seconds"] for header in headers),
            weights=[SHIPPED, LONGER, CLASSIFIER, *scored_by()],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"train": vars(STUDY.train), "steps": DEFAULT.steps, "solver": cfdg.SOLVER,
                      "tries": cfdg.TRIES, "precision": precision(),
                      "seed of the choice": CHOICE_SEED},
        )  # fmt: skip


if __name__ == "__main__":
    main()
