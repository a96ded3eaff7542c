"""How far the scores of the shipped digit model move with the noises it starts from.

    python benchmarks/digit_noises.py [--record]

1,000 samples for each noise seed, as many of each digit, with and without guidance, scored against
test images; seed 0 is that of the report's headline. Is there more between seeds than independent
samples give? Records:

    samples  accuracy, frechet, ..  by w, as studies.cfdg scores; one value a seed
    samples  recall_of_real         by w: recall as a share of that of real images
    samples  chi_square             by w: sum over seeds of (right - mean)^2, in units of the
                                    variance that independent samples of each digit have
    samples  chance                 by w: how often independent samples reach such a chi_square
    samples  neighbours             by w: correlation of "read as asked" of samples k and k + 1
    real     accuracy, frechet, ..  of as many training images, drawn by each seed
    noises   correlation            of the noises number k and k + 1, mean over k; a value a seed
    noises   between_seeds          of the noises number k of a seed and of the next one, likewise

The images are kept in the build folder and taken up again. --record writes
data/results/digits-noises.json.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from scipy.special import chdtrc
from torch import Tensor

from hw2lib.datasets import digits
from hw2lib.device import precision
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, Sampling
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, WEIGHTS, runs_dir, sha256
from hw2lib.metrics import metric
from hw2lib.samplers import individual_noise, sample_generators
from hw2lib.studies import cfdg as study

SEEDS, N = range(10), 1000
STRENGTHS = (0.0, DEFAULT.w)
LABELS = torch.arange(10).repeat_interleave(N // 10)


def generated(seed: int, w: float, model: cfdg.DigitNet, header: dict) -> tuple[Tensor, float]:
    """The N images uint8 (N, 3, 28, 28) of a noise seed, LABELS their digits; seconds spared."""

    def make() -> dict[str, np.ndarray]:
        how = Sampling(w=w, seed=seed)
        images = cfdg.sample_digits(model, header, LABELS, range(N), how, progress=True)
        return {"images": images.numpy()}

    weights = sha256(WEIGHTS / "digits.safetensors")
    key = {"weights": weights, "n": N, "w": w, "seed": seed, "precision": precision()}
    found, spared = kept("noises", key, make, runs_dir() / "noises")
    return torch.from_numpy(found["images"]), spared


def chi_square(right: np.ndarray) -> float:
    """Of right (seeds, 10, n), a line a digit: do the seeds' counts vary as those of independent
    samples do, whose variance is the sum of n p (1 - p) over the digits? seeds - 1 degrees of
    freedom."""
    counts, p = right.sum((1, 2)), right.mean((0, 2))
    return float(((counts - counts.mean()) ** 2).sum() / (right.shape[2] * p * (1 - p)).sum())


def neighbours(right: np.ndarray) -> list[float]:
    """Correlation of neighbours in right (seeds, 10, n), one value a seed. The mean of each digit
    over all seeds is taken off: that of one seed alone would make neighbours look opposed."""
    x = right - right.mean((0, 2), keepdims=True)
    return ((x[..., 1:] * x[..., :-1]).mean((1, 2)) / (x**2).mean()).tolist()


def independence(right: np.ndarray, w: float) -> list[dict]:
    """Records of right (seeds, 10, n): chi_square, chance, neighbours."""
    chi = chi_square(right)
    scores = {
        "chi_square": metric([chi], N, "number"),
        "chance": metric([chdtrc(len(right) - 1, chi)], N, "share"),
        "neighbours": metric(neighbours(right), N, "number"),
    }
    return [results.record("samples", score, entry, w=w) for score, entry in scores.items()]


def noises(seed: int) -> Tensor:
    """The noises of a seed, float64 (N, D)."""
    x = individual_noise((3, digits.SIDE, digits.SIDE), sample_generators(seed, range(N)))
    return x.flatten(1).double()


def correlations() -> list[dict]:
    """Records of the noises: of neighbouring numbers and of neighbouring seeds."""
    noise = [noises(seed) for seed in SEEDS]
    pairs = {
        "correlation": [(x[1:] * x[:-1]).mean() for x in noise],
        "between_seeds": [(x * y).mean() for x, y in zip(noise, noise[1:], strict=False)],
    }
    return [results.record("noises", k, metric(v, N, "number")) for k, v in pairs.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, domain = time.perf_counter(), digits.load("mnistm")
    model, header = cfdg.load_digit_unet()
    scorer = study.Scorer.load(domain.test.images, N)
    records, spared = study.real_images(domain, scorer, N, SEEDS), 0.0
    for w in STRENGTHS:
        of_seeds, seconds = zip(*(generated(k, w, model, header) for k in SEEDS), strict=True)
        spared += sum(seconds)
        records += study.scored("samples", [scorer(x, LABELS) for x in of_seeds], N, w=w)
        records.append(study.recall_of_real(records, w=w))
        right = [(scorer.judge.predict(x) == LABELS).view(10, -1).numpy() for x in of_seeds]
        records += independence(np.stack(right), w)
    records += correlations()
    print(results.frame(records).to_string())
    if args.record:
        names = ("digits", "judge", "digit-features")
        results.write(
            "digits-noises", preset="full", seeds=list(SEEDS), directory=RESULTS,
            records=records, seconds=time.perf_counter() - began + spared,
            weights=[WEIGHTS / f"{name}.safetensors" for name in names],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"steps": DEFAULT.steps, "solver": cfdg.SOLVER},
        )  # fmt: skip


if __name__ == "__main__":
    main()
