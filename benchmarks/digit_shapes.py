"""Guidance of shapes alone: which part of guidance makes digits legible, and which costs variety.

    python benchmarks/digit_shapes.py [--record]

Guidance adds w times the difference that the label makes. Here only a part of it is added:

    all      the difference itself: classifier-free guidance
    across   what is orthogonal to the estimate of x_0 (Sadat et al. 2025a, projected guidance)
    fine     less its own blur, sigma 3 pixels (Sadat et al. 2025b, split by frequency)
    no_mean  less the mean of each colour over the image
    grey     its mean over the colours
    shape    both: grey, less the mean over the image (`hw2lib.diffusion.shape_of`)

Everything is drawn by the shipped model in its twenty evaluations. Records:

    tried    accuracy, frechet, ..  by part and w: 1,000 samples of one noise seed, scored against
                                    training digits
    tried    legible                by part: the smallest w at which 99 % are read as asked;
                                    as_default: for shapes, that at which as many are as of "all"
                                    at the default's w
    samples  accuracy, frechet, ..  by part and w, at those w: noise seeds 0 to 4, 1,000 samples
                                    each, against test digits; one value a noise seed
    samples  recall_of_real         by part and w: recall as a share of that of real images
    gained   accuracy, frechet, ..  of shapes beyond "all", both where they are legible, from the
                                    same noises
    real     accuracy, frechet, ..  of as many training images, drawn by each seed

Scores are kept in the build folder and taken up again. --record writes
data/results/digits-shapes.json and the figures digit-shapes.png and digit-shapes-samples.png in
book/_static.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from hw2lib import samplers
from hw2lib.datasets import digits
from hw2lib.device import device, mixed_precision, precision
from hw2lib.diffusion import make_schedule, shape_of, to_x0_and_eps
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT
from hw2lib.figures.base import labelled_grid
from hw2lib.figures.cfdg import guidance_curve
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, ROOT, WEIGHTS, runs_dir, sha256
from hw2lib.metrics import metric
from hw2lib.models.digit_unet import NULL_LABEL
from hw2lib.studies import cfdg as study

N, SEEDS, CHOICE_SEED = 1000, range(5), 5000
LABELS = torch.arange(10).repeat_interleave(N // 10)
LEGIBLE = 0.99  # of the samples are read as asked
FIGURES = ROOT / "book" / "_static"
SHOWN = ("accuracy", "frechet", "recall")


def across(d: Tensor, x_0: Tensor) -> Tensor:
    """d (B, C, H, W) less what of it points along x_0, image by image."""
    along = (d * x_0).sum((1, 2, 3), keepdim=True) / x_0.square().sum((1, 2, 3), keepdim=True)
    return d - along * x_0


PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of the difference, and x_0
    "all": lambda d, _: d,
    "across": across,
    "fine": lambda d, _: d - gaussian_blur(d, [19, 19], [3.0, 3.0]),
    "no_mean": lambda d, _: d - d.mean((2, 3), keepdim=True),
    "grey": lambda d, _: d.mean(1, keepdim=True).expand_as(d),
    "shape": lambda d, _: shape_of(d),
}
TRIED = (
    *(("all", w) for w in (0.25, 0.5, 0.75, 1.0, 1.25)),
    *((part, DEFAULT.w) for part in ("across", "fine", "no_mean", "grey")),
    *(("shape", w) for w in (0.75, 1.0, 1.25, 1.5, 2.0)),
)
NAMES = {"all": "all: classifier-free", "across": "across", "fine": "fine",
         "no_mean": "no mean", "grey": "grey", "shape": "shape"}  # fmt: skip


@cache
def shipped() -> tuple[cfdg.DigitNet, dict]:
    model, header = cfdg.load_digit_unet()
    return model.to(device()).to(memory_format=torch.channels_last).eval(), header


def drawn(part: str, w: float, seed: int, numbers: Sequence[int] = range(N)) -> Tensor:
    """The digits of these numbers, uint8 (n, 3, 28, 28), as `cfdg.sample_digits` draws them from
    their noises, by any of PARTS."""
    model, header = shipped()
    schedule, where = make_schedule(header["schedule"], header["n_train_steps"]), device()

    def chunk(indices: range) -> Tensor:
        chosen = [numbers[min(k, len(numbers) - 1)] for k in indices]
        both = torch.cat([LABELS[chosen], torch.full((len(chosen),), NULL_LABEL)]).to(where)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with mixed_precision(where):
                v = model(x.repeat(2, 1, 1, 1), t.repeat(2), both).float()
            asked, other = v.chunk(2)
            ab = schedule.alpha_bar[int(t[0])]
            x_0, _ = to_x0_and_eps(ab, header["prediction"], x, asked, False)
            return asked + w * PARTS[part](asked - other, x_0)

        noise = samplers.individual_noise((3, 28, 28), samplers.sample_generators(seed, chosen))
        denoiser = samplers.Denoiser(predict, schedule, header["prediction"])
        images = samplers.sample_dpmpp(denoiser, noise.to(where), DEFAULT.steps)
        return digits.to_uint8(images).cpu()

    return samplers.in_chunks(chunk, len(numbers))


class Table:
    """Scores of samples against the real images of a part of a domain: "train" or "test"."""

    def __init__(self, domain: digits.DigitDomain, part: str) -> None:
        self.against = {part: domain.sha256}
        self.scorer, self.spared = study.Scorer.load(getattr(domain, part).images, N), 0.0

    def scores(self, part: str, w: float, seed: int) -> study.Scores:
        """Of N samples; kept."""
        networks = [WEIGHTS / f"{k}.safetensors" for k in ("digits", "judge", "digit-features")]
        key = {"weights": list(map(sha256, networks)), "part": part, "w": w, "seed": seed,
               "against": self.against, "precision": precision()}  # fmt: skip
        found, seconds = kept(
            "scores", key, lambda: self.scorer(drawn(part, w, seed), LABELS), runs_dir() / "shapes"
        )
        self.spared += seconds
        return {score: value.item() for score, value in found.items()}


def legible(accuracy: dict[float, float], enough: float = LEGIBLE) -> float:
    """The smallest w at which enough samples are read as asked, else that at which most are."""
    return next(
        (w for w in sorted(accuracy) if accuracy[w] >= enough), max(accuracy, key=accuracy.get)
    )


def tried_records(table: Table) -> tuple[dict[str, float], list[dict]]:
    """Of TRIED; and what was chosen: {"all": w, "shape": w, "as_default": w}."""
    records: list[dict] = []
    accuracy: dict[str, dict[float, float]] = {}
    for part, w in TRIED:
        scores = table.scores(part, w, CHOICE_SEED)
        accuracy.setdefault(part, {})[w] = scores["accuracy"]
        print(part, w, {score: round(scores[score], 4) for score in SHOWN}, flush=True)
        records += study.scored("tried", [scores], N, part=part, w=w)
    chosen = {part: legible(accuracy[part]) for part in ("all", "shape")}
    chosen["as_default"] = legible(accuracy["shape"], accuracy["all"][DEFAULT.w])
    for part in ("all", "shape"):
        entry = metric([chosen[part]], 1, "number")
        records.append(results.record("tried", "legible", entry, part=part))
    entry = metric([chosen["as_default"]], 1, "number")
    records.append(results.record("tried", "as_default", entry, part="shape"))
    return chosen, records


def chosen_records(
    table: Table, chosen: dict[str, float], domain: digits.DigitDomain
) -> list[dict]:
    """Of what was chosen, against test digits, with real images beside it."""
    records = study.real_images(domain, table.scorer, N, SEEDS)
    cells = {("all", chosen["all"]), ("shape", chosen["shape"]), ("shape", chosen["as_default"])}
    found = {}
    for part, w in sorted(cells):
        found[part, w] = [table.scores(part, w, seed) for seed in SEEDS]
        records += study.scored("samples", found[part, w], N, part=part, w=w)
        records.append(study.recall_of_real(records, part=part, w=w))
    pairs = zip(found["shape", chosen["shape"]], found["all", chosen["all"]], strict=True)
    gained = [{score: ours[score] - theirs[score] for score in SHOWN} for ours, theirs in pairs]
    for score in SHOWN:
        entry = metric([g[score] for g in gained], N, "distance" if score == "frechet" else "share")
        records.append(results.record("gained", score, entry))
    return records


def figure(records: Sequence[dict]) -> Figure:
    """Accuracy against the Frechet distance of what was tried, a curve for each part."""
    curves: dict[str, dict] = {}
    for part, w in TRIED:
        across, up = (
            results.one(records, "tried", score, part=part, w=w)
            for score in ("frechet", "accuracy")
        )
        curves.setdefault(NAMES[part], {})[f"{w:g}"] = across, up
    star = [results.one(records, "real", score)["mean"] for score in ("frechet", "accuracy")]
    return guidance_curve({"1,000 samples a point": curves}, tuple(star), "Fréchet distance")


def samples() -> Figure:
    """Ten digits from one noise each, without guidance and with all and shapes of it."""
    rows = {"none": ("all", 0.0), "all": ("all", DEFAULT.w), "shape": ("shape", DEFAULT.w)}
    numbers = range(0, N, N // 10 + 1)  # one of each digit
    images = torch.stack([drawn(*how, CHOICE_SEED, numbers) for how in rows.values()])
    return labelled_grid(images, list(rows), [str(d) for d in range(10)], "guidance", "digit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    choice = Table(domain, "train")
    chosen, records = tried_records(choice)
    table = Table(domain, "test")
    records += chosen_records(table, chosen, domain)
    print(results.frame(records).to_string())
    if args.record:
        figure(records).savefig(FIGURES / "digit-shapes.png", dpi=150)
        samples().savefig(FIGURES / "digit-shapes-samples.png", dpi=150)
        results.write(
            "digits-shapes", preset="full", seeds=list(SEEDS), directory=RESULTS, records=records,
            seconds=time.perf_counter() - began + choice.spared + table.spared,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("digits", "judge", "digit-features")],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"steps": DEFAULT.steps, "solver": cfdg.SOLVER, "precision": precision(),
                      "seed of the choice": CHOICE_SEED},
        )  # fmt: skip


if __name__ == "__main__":
    main()
