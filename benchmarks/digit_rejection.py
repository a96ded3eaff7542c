"""Rejection: digits drawn again until a classifier is confident of them, with less guidance.

    python benchmarks/digit_rejection.py [--record]

A sample stays where the classifier of dann-mnistm.safetensors gives the digit asked for at least
the probability `confidence`, else it is drawn again (`cfdg.sample_until_read`). That classifier has
seen no label of MNIST-M and takes no part in any score. The models: the default, the longer
training, the student of four evaluations in all of its three trainings, and one of half the
default's length from random weights of its own: that of the guidance study with seed 1. Records:

    tried      accuracy, frechet, ..  by model, w and confidence: 1,000 samples of one noise seed,
                                      scored against training digits
    tried      chosen_w, chosen_confidence  by model: of the cells whose accuracy is at least .99
                                      by the lower end of its interval, that of the least frechet
    samples    accuracy, frechet, ..  by model, w and confidence, as chosen, the half-long one as
                                      the default and all students as the first: noise seeds 0
                                      to 4, 1,000 samples each, against test digits; one value a
                                      noise seed. confidence=0 is without rejection: the longer
                                      training and the first student at their w, the default model
                                      at the default's
    samples    recall_of_real, drawn, evaluations  by the same; draws and network evaluations of
                                      one sample
    trainings  accuracy, frechet, recall_of_real  of the students: one value a training, each the
                                      mean over noise seeds
    gained     accuracy, frechet, ..  by model, the longer and the student as chosen:
                                      beyond=default, the default model at the default's w;
                                      beyond=plain, the same model and w without rejection
    real       accuracy, frechet, ..  of as many training images, drawn by each seed
    classifier accuracy, accepted     of test digits; the share of them with enough confidence
    judge      accuracy               of all test digits, and of those, accepted=1

The training and the scores are kept in the build folder and taken up again. --record writes
data/results/digits-rejection.json and two figures, book/_static/digit-rejection.png, with the
strengths without rejection of digits-longer.json, which have the same noises, and
book/_static/digit-rejection-samples.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import digit_student
import torch
from digit_longer import LONGER
from digit_longer import STRENGTHS as PLAIN
from digit_parts import CHOICE_SEED, LABELS, LEGIBLE, SEEDS, SHIPPED, SHOWN, N, gained
from matplotlib.figure import Figure

from hw2lib.datasets import digits
from hw2lib.device import precision
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, DIGIT_PRESETS, Sampling
from hw2lib.experiments.recipe import run_folder
from hw2lib.figures.base import labelled_grid
from hw2lib.figures.cfdg import guidance_curve
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, ROOT, WEIGHTS, runs_dir, sha256
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models import dann_net
from hw2lib.studies import cfdg as study

STUDY = DIGIT_PRESETS["study"]
HALF = replace(STUDY, train=replace(STUDY.train, seed=1))
STUDENTS = {"student-1": 1, "student-2": 2}  # seeds; the shipped one is that of seed 0
STUDENT = WEIGHTS / "digits-student.safetensors"
STRENGTHS = {"default": (0.0, 0.25, 0.5), "longer": (0.0, 0.25, 0.5), "student": (0.25, 0.5, 0.75)}
CONFIDENCES = (0.5, 0.9)
CLASSIFIER = WEIGHTS / "dann-mnistm.safetensors"
STATIC = ROOT / "book" / "_static"
Cell = tuple[float, float]  # w, confidence


def trained(domain: digits.DigitDomain) -> dict[str, Path]:
    """Model -> weights file; what the guidance study has not trained is trained in its place."""
    half = run_folder("guidance", STUDY, domain) / f"p10-s{HALF.train.seed}"
    cfdg.train_digits(HALF, out=half, resume=True)
    models = {"default": SHIPPED, "longer": LONGER, "student": STUDENT}
    models["half"] = half / "weights.safetensors"
    for name, seed in STUDENTS.items():
        models[name], _ = digit_student.trained(seed, *cfdg.load_digit_unet(SHIPPED))
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
            model, header = cfdg.load_digit_unet(weights)
            how = Sampling(w, steps(header), seed=seed)
            images, drawn = cfdg.sample_until_read(
                model, header, LABELS, list(range(N)), how, confidence, progress=True
            )
            return {**self.scorer(images, LABELS), "drawn": drawn.double().mean().item()}

        found, seconds = kept("scores", key, make, runs_dir() / "rejection")
        self.spared += seconds
        return {score: value.item() for score, value in found.items()}


def steps(header: dict) -> int:
    return header["student"]["steps"] if "student" in header else DEFAULT.steps


def passes(weights: Path, w: float) -> int:
    """Evaluations of the network for one draw: a student needs none without a label."""
    header = cfdg.load_digit_unet(weights)[1]
    return study.evaluations(1000, steps(header), 0.0 if "student" in header else w)


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
    """Of STRENGTHS, and {model: its cell}; other trainings have that of the first."""
    records, cells = [], {}
    for name, strengths in STRENGTHS.items():
        found = {}
        for cell in ((w, confidence) for w in strengths for confidence in CONFIDENCES):
            found[cell] = table.scores(models[name], cell, CHOICE_SEED)
            shown = {score: round(found[cell][score], 4) for score in (*SHOWN, "drawn")}
            print(name, *cell, shown, flush=True)
            records += scored("tried", [found[cell]], name, cell)
        cells[name] = chosen(found)
        for what, value in zip(("chosen_w", "chosen_confidence"), cells[name], strict=True):
            entry = metric([value], 1, "number")
            records.append(results.record("tried", what, entry, model=name))
    return {**cells, "half": cells["default"], **dict.fromkeys(STUDENTS, cells["student"])}, records


def scored(row: str, scores: list[study.Scores], name: str, cell: Cell) -> list[dict]:
    w, confidence = cell
    return study.scored(row, scores, N, model=name, w=w, confidence=confidence)


def compared_records(
    table: Table, models: Mapping[str, Path], cells: Mapping[str, Cell], domain: digits.DigitDomain
) -> list[dict]:
    """Of all models as chosen, and of what they are compared with, against test digits."""
    records, found = study.real_images(domain, table.scorer, N, SEEDS), {}
    plain = {name: (cells[name][0], 0.0) for name in ("longer", "student")}
    for name, cell in (*cells.items(), *plain.items(), ("default", (DEFAULT.w, 0.0))):
        found[name, cell] = [table.scores(models[name], cell, seed) for seed in SEEDS]
        w, confidence = cell
        setting = {"model": name, "w": w, "confidence": confidence}
        records += scored("samples", found[name, cell], name, cell)
        records.append(study.recall_of_real(records, **setting))
        once = passes(models[name], w)
        taken = metric([once * s["drawn"] for s in found[name, cell]], N, "number")
        records.append(results.record("samples", "evaluations", taken, **setting))
    for name, without in plain.items():
        ours = found[name, cells[name]]
        records += gained(ours, found[name, without], model=name, beyond="plain")
        records += gained(ours, found["default", (DEFAULT.w, 0.0)], model=name, beyond="default")
    w, confidence = cells["student"]
    for score in ("accuracy", "frechet", "recall_of_real"):
        means = [
            results.one(records, "samples", score, model=name, w=w, confidence=confidence)["mean"]
            for name in ("student", *STUDENTS)
        ]
        entry = metric(means, N * len(SEEDS), study.UNITS.get(score, "share"))
        records.append(results.record("trainings", score, entry))
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


def figure(records: Sequence[dict], plain: Sequence[dict]) -> Figure:
    """Accuracy against the Frechet distance of what was tried, a panel for each model; `plain`:
    the records of digits-longer.json. Where points are dense, w = .25 goes without its number."""

    def points(found: Sequence[dict], strengths: Sequence[float], **setting) -> dict[str, tuple]:
        def entries(w: float) -> tuple:
            return tuple(results.one(found, "tried", score, w=w, **setting)
                         for score in ("frechet", "accuracy"))  # fmt: skip

        dense = 0.25 if found is records else None
        return {"" if w == dense else f"{w:g}": entries(w) for w in strengths}

    panels = {
        title: {
            "guidance alone": points(plain, PLAIN, model=name),
            **{f"and rejection, p at least {confidence:g}":
               points(records, STRENGTHS[name], model=name, confidence=confidence)
               for confidence in CONFIDENCES},
        }
        for name, title in (("default", "default model"), ("longer", "trained for longer"))
    }  # fmt: skip
    star = [results.one(records, "real", score)["mean"] for score in ("frechet", "accuracy")]
    return guidance_curve(panels, tuple(star), "Fréchet distance")


def samples_figure(models: Mapping[str, Path], cells: Mapping[str, Cell]) -> Figure:
    """Ten threes from ten noises: by guidance alone, and by rejection as chosen, a row each."""
    rows = {"guidance": ("default", (DEFAULT.w, 0.0)), "longer": ("longer", cells["longer"]),
            "student": ("student", cells["student"])}  # fmt: skip
    labels, numbers, images = torch.full((10,), 3), list(range(10)), []
    for name, (w, confidence) in rows.values():
        model, header = cfdg.load_digit_unet(models[name])
        how = Sampling(w, steps(header))
        found, _ = cfdg.sample_until_read(model, header, labels, numbers, how, confidence)
        images.append(found)
    columns = [str(k + 1) for k in numbers]
    return labelled_grid(torch.stack(images), list(rows), columns, "", "noise")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    choice, table = Table(domain, "train"), Table(domain, "test")
    models = trained(domain)
    cells, records = tried_records(choice, models)
    records += compared_records(table, models, cells, domain)
    records += classifier_records(domain.test, cells["longer"][1])
    print(results.frame(records).to_string())
    if args.record:
        plain = results.load("digits-longer", RESULTS)["records"]
        figure(records, plain).savefig(STATIC / "digit-rejection.png", dpi=150)
        samples_figure(models, cells).savefig(STATIC / "digit-rejection-samples.png", dpi=150)
        headers = [cfdg.load_digit_unet(models[name])[1] for name in ("half", *STUDENTS)]
        results.write(
            "digits-rejection", preset="full", seeds=list(SEEDS), directory=RESULTS,
            records=records, seconds=time.perf_counter() - began + choice.spared + table.spared
            + sum(header["seconds"] for header in headers),
            weights=[SHIPPED, LONGER, STUDENT, CLASSIFIER, *scored_by()],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"train": vars(STUDY.train), "steps": DEFAULT.steps, "solver": cfdg.SOLVER,
                      "tries": cfdg.TRIES, "precision": precision(),
                      "seed of the choice": CHOICE_SEED},
        )  # fmt: skip


if __name__ == "__main__":
    main()
