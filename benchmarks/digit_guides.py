"""Autoguidance: the shipped digit model steered away from a worse one (Karras et al. 2024).

    python benchmarks/digit_guides.py [--choose | --record]

A guide (quarter-300) is our network with a quarter of the channels, trained as ours but for 300
steps, by three seeds; another (whole-4700) is the first half of the shipped model's training, that
of the guidance study's seed 0. A cell says what sampling steers away from, how strongly and when:

    unlabelled  the model without label: classifier-free guidance
    guide       a guide with the label
    mean        the mean of these two
    turns       unlabelled in the first half of the time steps, guide in the second

--choose scores 200 samples of one noise seed, with the guides' first seed, against training
digits. The rest is scored by 1,000 samples for each noise seed against test digits; noise seed k
has the guide of seed k, and all cells start from the same noises. Records:

    tried    accuracy, frechet, ..  of --choose, by away, w, guide (network and training steps),
                                    interval
    samples  accuracy, frechet, ..  of the cells that were chosen; one value a noise seed
    samples  recall_of_real         recall as a share of that of real images
    samples  evaluations            passes of a network for one sample, of the guide or the model
    real     accuracy, frechet, ..  of as many training images, drawn by each seed; with
                                    samples=200 those beside "tried"

All networks compute in bfloat16, on machines without fast units for it too, so that cells of
unlike machines do not mix. Trainings and scores are kept in the build folder and taken up again.
--record writes data/results/digits-guides.json and the figure book/_static/digit-guides.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor

from hw2lib import device
from hw2lib.datasets import digits
from hw2lib.diffusion import Model
from hw2lib.experiments import cfdg, recipe
from hw2lib.experiments.cfdg import DEFAULT, DIGIT_PRESETS, Sampling
from hw2lib.experiments.recipe import Preset
from hw2lib.figures.cfdg import guidance_curve
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, ROOT, WEIGHTS, runs_dir, sha256
from hw2lib.metrics import metric
from hw2lib.models.digit_unet import NULL_LABEL, DigitConfig
from hw2lib.studies import cfdg as study

STUDY = DIGIT_PRESETS["study"]
NETWORKS = {"quarter": DigitConfig(widths=(16, 32), c_condition=64), "whole": STUDY.model}
GUIDE_SEEDS = (0, 1, 2)
Draw = tuple[int, int]  # noise seed, guide's seed
HALF_WAY = recipe.N_TRAIN_STEPS // 2
CHOICE_N, CHOICE = 200, ((1000, 0),)
N, DRAWS = 1000, tuple((k, k) for k in GUIDE_SEEDS)
SEEDS = [noise for noise, _ in DRAWS]


@dataclass(frozen=True)
class Cell:
    """What sampling steers away from, how strongly, and between which time steps."""

    away: str  # "unlabelled" | "guide" | "mean" | "turns"
    w: float
    guide: str | None = None  # its network and its training steps: quarter-300
    interval: tuple[int, int] | None = None

    def setting(self) -> dict:
        """As in the records; without what is None."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def evaluations(self) -> int:
        """Passes of a network for one sample."""
        guided = study.evaluations(recipe.N_TRAIN_STEPS, DEFAULT.steps, self.w, self.interval)
        return guided + (guided - DEFAULT.steps) * (self.away == "mean")


SMALL = "quarter-300"
NAMES = {("unlabelled", None): "no label: classifier-free", ("guide", SMALL): "small guide",
         ("guide", "whole-4700"): "half-trained guide", ("mean", SMALL): "mean of both",
         ("turns", SMALL): "by turns"}  # fmt: skip
FIGURE = ROOT / "book" / "_static" / "digit-guides.png"
TRIED = (
    *(Cell("unlabelled", w) for w in (0.0, 0.25, 0.5, 1.25)),
    *(Cell("guide", w, SMALL) for w in (0.5, 1.0, 2.0)),
    *(Cell("guide", 1.0, SMALL, times) for times in ((500, 1000), (300, 900), (0, 500))),
    *(Cell("guide", w, "whole-4700") for w in (1.0, 3.0)),
    *(Cell(away, w, SMALL) for away in ("mean", "turns") for w in (0.5, 1.0)),
)
CHOSEN = (Cell("unlabelled", 0.5), Cell("guide", 1.0, SMALL))


def guide_preset(guide: str, seed: int) -> Preset:
    """The settings of a guide: those of the guidance study but for its network and its steps."""
    network, steps = guide.split("-")
    train = replace(STUDY.train, steps=int(steps), seed=seed)
    return replace(STUDY, model=NETWORKS[network], train=train)


@cache
def trained_guide(guide: str, seed: int) -> Model:
    """A guide, trained if it is not there yet, in eval mode."""
    preset = guide_preset(guide, seed)
    out = recipe.run_folder("guides/guide", preset, digits.load("mnistm"))
    if not (out / "weights.safetensors").exists():
        cfdg.train_digits(preset, out=out, resume=True)
    net, _ = cfdg.load_digit_unet(out / "weights.safetensors")
    return net.to(device.device()).to(memory_format=torch.channels_last).eval()


def away_from(cell: Cell, model: Model, guide_seed: int) -> Model | None:
    """What `sample_digits` steers away from; None: the null label."""
    if cell.away == "unlabelled":
        return None
    guide = trained_guide(cell.guide, guide_seed)
    if cell.away == "guide":
        return guide

    def null(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return model(x, t, torch.full_like(labels, NULL_LABEL)).float()

    def mean(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return (guide(x, t, labels).float() + null(x, t, labels)) / 2

    def turns(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return (null if t[0] >= HALF_WAY else guide)(x, t, labels)

    return {"mean": mean, "turns": turns}[cell.away]


class Table:
    """Scores of cells against real images (M, 3, 28, 28), from n samples a noise seed."""

    def __init__(self, real: Tensor, n: int) -> None:
        self.scorer, self.n, self.spared = study.Scorer.load(real, n), n, 0.0
        self.labels = torch.arange(10).repeat_interleave(n // 10)
        self.model, self.header = cfdg.load_digit_unet()
        self.weights = sha256(WEIGHTS / "digits.safetensors")

    def scores(self, cell: Cell, draw: Draw) -> study.Scores:
        """Of the samples of a draw; kept."""
        seed, guide_seed = draw

        def make() -> study.Scores:
            how = Sampling(cell.w, interval=cell.interval, seed=seed)
            away = away_from(cell, self.model, guide_seed)
            images = cfdg.sample_digits(
                self.model, self.header, self.labels, range(self.n), how, guide=away
            )
            return self.scorer(images, self.labels)

        key = {"weights": self.weights, "n": self.n, "seed": seed, **cell.setting()}
        key["trained"] = str(guide_preset(cell.guide, guide_seed)) if cell.guide else None
        found, seconds = kept("scores", key, make, runs_dir() / "guides")
        self.spared += seconds
        return {score: value.item() for score, value in found.items()}

    def records(self, row: str, cells: Sequence[Cell], draws: Sequence[Draw]) -> list[dict]:
        """Of all cells, a value a draw; printed as they come."""
        records = []
        for cell in cells:
            found = [self.scores(cell, draw) for draw in draws]
            of_cell = study.scored(row, found, self.n, **cell.setting())
            print(results.table(of_cell).to_string(), flush=True)
            records += of_cell
        return records


def tried_records(table: Table, train: digits.DigitSet, order: Tensor) -> list[dict]:
    """Of TRIED, against training digits, and of as many others of them."""
    images = order[10_000:][:CHOICE_N]
    real = table.scorer(train.images[images], train.labels[images])
    records = table.records("tried", TRIED, CHOICE)
    return records + study.scored("real", [real], CHOICE_N, samples=CHOICE_N)


def chosen_records(table: Table, domain: digits.DigitDomain) -> list[dict]:
    """Of CHOSEN, against test digits, with real images beside them."""
    records = study.real_images(domain, table.scorer, N, SEEDS)
    records += table.records("samples", CHOSEN, DRAWS)
    for cell in CHOSEN:
        setting = cell.setting()
        passes = metric([cell.evaluations()], N, "number")
        records.append(study.recall_of_real(records, **setting))
        records.append(results.record("samples", "evaluations", passes, **setting))
    return records


def figure(records: Sequence[dict]) -> Figure:
    """Accuracy against the Frechet distance of what was tried, a curve for each kind."""
    curves: dict[str, dict] = {}
    for cell in (cell for cell in TRIED if cell.interval is None):
        name = NAMES[cell.away, cell.guide]
        across, up = (
            results.one(records, "tried", score, **cell.setting())
            for score in ("frechet", "accuracy")
        )
        strength = "" if cell.w == 0.25 else f"{cell.w:g}"  # where there is no room
        curves.setdefault(name, {})[strength] = across, up
    star = [
        results.one(records, "real", score, samples=CHOICE_N)["mean"]
        for score in ("frechet", "accuracy")
    ]
    return guidance_curve({"200 samples a point": curves}, tuple(star), "Fréchet distance")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--choose", action="store_true")
    what.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device.fast_bfloat16 = lambda where: True
    began, domain = time.perf_counter(), digits.load("mnistm")
    order = torch.randperm(len(domain.train), generator=torch.Generator().manual_seed(0))
    choice = Table(domain.train.images[order[:10_000]], CHOICE_N)
    records = tried_records(choice, domain.train, order)
    if args.choose:
        return
    table = Table(domain.test.images, N)
    records += chosen_records(table, domain)
    if args.record:
        figure(records).savefig(FIGURE, dpi=150)
        results.write(
            "digits-guides", preset="full", seeds=SEEDS, directory=RESULTS, records=records,
            seconds=time.perf_counter() - began + choice.spared + table.spared,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("digits", "judge", "digit-features")],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"steps": DEFAULT.steps, "solver": cfdg.SOLVER, "precision": "bfloat16",
                      "seed of the choice": CHOICE[0][0], "guide seeds": list(GUIDE_SEEDS)},
        )  # fmt: skip


if __name__ == "__main__":
    main()
