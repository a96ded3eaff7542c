"""Parts of guidance: does some part of it make digits legible at less cost of variety?

    python benchmarks/digit_parts.py [--record]

Guidance adds w times the difference d that the label makes. Here only a part of it is added:

    all      d itself: classifier-free guidance
    across   what of d is orthogonal to the estimate of x_0 (Sadat et al., ICLR 2025)
    fine     d less its own blur, sigma 3 pixels (Sadat et al., arXiv 2506.19713)
    no_mean  d less the mean of each colour over the image
    grey     the mean of d over the colours
    shape    both: grey, less the mean over the image

Everything is drawn by the shipped model in its twenty evaluations. Records:

    tried    accuracy, frechet, ..  by part and w: 1,000 samples of one noise seed, scored against
                                    training digits
    tried    legible                by part: the smallest w at which 99 % are read as asked
    samples  accuracy, frechet, ..  by part, at that w: noise seeds 0 to 4, 1,000 samples each,
                                    against test digits; one value a noise seed
    samples  recall_of_real         by part and w: recall as a share of that of real images
    gained   accuracy, frechet, ..  of "shape" beyond "all", both at that w, from the same noises
    real     accuracy, frechet, ..  of as many training images, drawn by each seed

Scores are kept in the build folder and taken up again. --record writes
data/results/digits-parts.json and the figure book/_static/digit-parts.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from hw2lib import samplers
from hw2lib.datasets import digits
from hw2lib.device import device, mixed_precision, precision
from hw2lib.diffusion import make_schedule, to_x0_and_eps
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT
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
SHIPPED = WEIGHTS / "digits.safetensors"
FIGURE = ROOT / "book" / "_static" / "digit-parts.png"
SHOWN = ("accuracy", "frechet", "recall")


def across(d: Tensor, x_0: Tensor) -> Tensor:
    """d (B, C, H, W) less what of it points along x_0, image by image."""
    along = (d * x_0).sum((1, 2, 3), keepdim=True) / x_0.square().sum((1, 2, 3), keepdim=True)
    return d - along * x_0


def grey(d: Tensor, _: Tensor) -> Tensor:
    return d.mean(1, keepdim=True).expand_as(d)


def no_mean(d: Tensor, _: Tensor) -> Tensor:
    return d - d.mean((2, 3), keepdim=True)


PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # of d and the estimate of x_0
    "all": lambda d, _: d,
    "across": across,
    "fine": lambda d, _: d - gaussian_blur(d, [19, 19], [3.0, 3.0]),
    "no_mean": no_mean,
    "grey": grey,
    "shape": lambda d, x_0: no_mean(grey(d, x_0), x_0),
}
TRIED = (
    *(("all", w) for w in (0.25, 0.5, 0.75, 1.0, 1.25)),
    *((part, DEFAULT.w) for part in ("across", "fine", "no_mean", "grey")),
    *(("shape", w) for w in (0.75, 1.0, 1.25, 1.5, 2.0)),
)
COMPARED = ("all", "shape")


def drawn(weights: Path, part: str, w: float, seed: int, numbers: Sequence[int]) -> Tensor:
    """The digits of these numbers, uint8 (n, 3, 28, 28), as `cfdg.sample_digits` draws them from
    their noises, by any of PARTS."""
    model, header = cfdg.load_digit_unet(weights)
    schedule, where = make_schedule(header["schedule"], header["n_train_steps"]), device()
    model = model.to(where).to(memory_format=torch.channels_last).eval()

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

    def __init__(self, domain: digits.DigitDomain, against: str) -> None:
        self.against = {against: domain.sha256}
        self.scorer, self.spared = study.Scorer.load(getattr(domain, against).images, N), 0.0

    def scores(self, weights: Path, part: str, w: float, seed: int) -> study.Scores:
        """Of N samples; kept."""
        networks = [weights, *(WEIGHTS / f"{k}.safetensors" for k in ("judge", "digit-features"))]
        key = {"weights": list(map(sha256, networks)), "part": part, "w": w, "seed": seed,
               "against": self.against, "precision": precision()}  # fmt: skip

        def make() -> study.Scores:
            return self.scorer(drawn(weights, part, w, seed, range(N)), LABELS)

        found, seconds = kept("scores", key, make, runs_dir() / "parts")
        self.spared += seconds
        return {score: value.item() for score, value in found.items()}


def legible(accuracy: Mapping[float, float]) -> float:
    """The smallest w at which enough samples are read as asked, else that at which most are."""
    enough = [w for w in sorted(accuracy) if accuracy[w] >= LEGIBLE]
    return enough[0] if enough else max(accuracy, key=lambda w: accuracy[w])


def tried_records(table: Table) -> tuple[dict[str, float], list[dict]]:
    """Of TRIED, and {part: the w that was chosen}."""
    records: list[dict] = []
    accuracy: dict[str, dict[float, float]] = {}
    for part, w in TRIED:
        scores = table.scores(SHIPPED, part, w, CHOICE_SEED)
        accuracy.setdefault(part, {})[w] = scores["accuracy"]
        print(part, w, {score: round(scores[score], 4) for score in SHOWN}, flush=True)
        records += study.scored("tried", [scores], N, part=part, w=w)
    chosen = {part: legible(accuracy[part]) for part in COMPARED}
    for part, w in chosen.items():
        records.append(results.record("tried", "legible", metric([w], 1, "number"), part=part))
    return chosen, records


def compared_records(
    table: Table, chosen: dict[str, float], domain: digits.DigitDomain
) -> list[dict]:
    """Of COMPARED at what was chosen, against test digits, with real images beside them."""
    records, found = study.real_images(domain, table.scorer, N, SEEDS), {}
    for part, w in chosen.items():
        found[part] = [table.scores(SHIPPED, part, w, seed) for seed in SEEDS]
        records += study.scored("samples", found[part], N, part=part, w=w)
        records.append(study.recall_of_real(records, part=part, w=w))
    return records + gained(found["shape"], found["all"])


def gained(
    ours: Sequence[study.Scores], theirs: Sequence[study.Scores], **setting: float
) -> list[dict]:
    """Records of differences, noise seed by noise seed."""
    return [
        results.record(
            "gained", score,
            metric([a[score] - b[score] for a, b in zip(ours, theirs, strict=True)], N,
                   "distance" if score == "frechet" else "share"),
            **setting,
        )
        for score in SHOWN
    ]  # fmt: skip


def figure(records: Sequence[dict]) -> Figure:
    """Accuracy against the Frechet distance of what was tried, a curve for each part."""
    curves: dict[str, dict] = {}
    for part, w in TRIED:
        entries = (
            results.one(records, "tried", score, part=part, w=w)
            for score in ("frechet", "accuracy")
        )
        strength = f"{w:g}" if part in COMPARED else ""  # the others have the default's
        curves.setdefault(part.replace("_", " "), {})[strength] = tuple(entries)
    star = [results.one(records, "real", score)["mean"] for score in ("frechet", "accuracy")]
    return guidance_curve({"1,000 samples a point": curves}, tuple(star), "Fréchet distance")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    choice, table = Table(domain, "train"), Table(domain, "test")
    chosen, records = tried_records(choice)
    records += compared_records(table, chosen, domain)
    print(results.frame(records).to_string())
    if args.record:
        figure(records).savefig(FIGURE, dpi=150)
        results.write(
            "digits-parts", preset="full", seeds=list(SEEDS), directory=RESULTS, records=records,
            seconds=time.perf_counter() - began + choice.spared + table.spared,
            weights=[WEIGHTS / f"{k}.safetensors" for k in ("digits", "judge", "digit-features")],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"steps": DEFAULT.steps, "solver": cfdg.SOLVER, "precision": precision(),
                      "seed of the choice": CHOICE_SEED},
        )  # fmt: skip


if __name__ == "__main__":
    main()
