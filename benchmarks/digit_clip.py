"""Why DDIM's accuracy falls in many steps: the noise that is kept when the estimate is clipped.

    python benchmarks/digit_clip.py [--record]

DDIM clips its estimate of x_0 and keeps its estimate of the noise, as the course's reference does;
the two then no longer add up to x_t. Here the shipped model generates every fourth of the samples
of noise seed 0 in 100 steps at the default strength, once so ("kept") and once with the noise that
follows from the clipped estimate ("follows"). --record writes data/results/digits-clip.json.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor

from hw2lib.datasets.digits import SIDE, to_uint8
from hw2lib.device import device
from hw2lib.diffusion import guided, make_schedule
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.metrics import accuracy_metric
from hw2lib.models.digit_unet import NULL_LABEL
from hw2lib.samplers import (
    Denoiser,
    in_chunks,
    individual_noise,
    sample_ddim,
    sample_generators,
)

STEPS = 100
NUMBERS = range(0, 1000, 4)
LABELS = torch.tensor([k // 100 for k in NUMBERS])


class Follows(Denoiser):
    """A denoiser whose noise follows from x_t and the clipped estimate of x_0."""

    def __call__(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        x_0, _ = super().__call__(x_t, t)
        ab = self.schedule.alpha_bar[t]
        return x_0, (x_t - ab.sqrt().item() * x_0) / (1 - ab).sqrt().item()


def generate(model: cfdg.DigitNet, header: dict, kind: type[Denoiser]) -> Tensor:
    """uint8 (250, 3, 28, 28), LABELS their digits."""
    schedule = make_schedule(header["schedule"], header["n_train_steps"])

    def chunk(indices: range) -> Tensor:
        chosen = list(indices)
        noise = individual_noise(
            (3, SIDE, SIDE), sample_generators(DEFAULT.seed, [NUMBERS[i] for i in chosen])
        )
        predict = guided(model, LABELS[chosen].to(device()), DEFAULT.w, NULL_LABEL)
        denoiser = kind(predict, schedule, header["prediction"])
        return to_uint8(sample_ddim(denoiser, noise.to(device()), STEPS)).cpu()

    return in_chunks(chunk, len(NUMBERS), progress=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began, reader = time.perf_counter(), judge.load()
    model, header = cfdg.load_digit_unet()
    model = model.to(device()).to(memory_format=torch.channels_last).eval()
    records = []
    for row, kind in (("kept", Denoiser), ("follows", Follows)):
        right = reader.predict(generate(model, header, kind)) == LABELS
        records.append(results.record(row, "accuracy", accuracy_metric([right]), steps=STEPS))
    print(results.frame(records).to_string())
    if args.record:
        results.write(
            "digits-clip", preset="full", seeds=[DEFAULT.seed], directory=RESULTS,
            records=records, seconds=time.perf_counter() - began,
            weights=[WEIGHTS / f"{name}.safetensors" for name in ("digits", "judge")],
            data={"source": "none", "sha256": {}}, settings={"w": DEFAULT.w, "solver": "ddim"},
        )  # fmt: skip


if __name__ == "__main__":
    main()
