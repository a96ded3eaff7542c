"""Digits in 8, 4 and 2 evaluations: the guided sampler distilled into one network.

    python benchmarks/digit_few_steps.py [--record]

The teacher is the shipped model with guidance w = 1.25 and 16 steps of DPM-Solver++(2M), two
evaluations each. Its states at K of these times, x_0 .. x_K from noise to image, are what a
student learns, from the teacher's weights: one step of DDIM from t_k shall land at x_{k+1},

    v = (cos(d) x_k - x_{k+1}) / sin(d),    d = phi_k - phi_{k+1},  cos(phi) = sqrt(alpha_bar)

which is progressive distillation's target (Salimans & Ho 2022, appendix G) along the whole path
of a guided teacher (Meng et al. 2023), on states that the teacher has passed (Luhman & Luhman
2021). No unconditional pass is left: K steps are K evaluations. Students are scored as
`studies.cfdg` scores samples, on noises that no path began from, those of digits-noises.json, whose
samples of the teacher's network in 20 evaluations they are held against, seed by seed. Records of
row "student" by evaluations: accuracy, frechet, recall and the like; recall_of_real; what the first
three gain beyond row "default", the 20 evaluations; CPU seconds for 1,000 digits. --record writes
data/results/digits-few-steps.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hw2lib.datasets import digits
from hw2lib.device import device, mixed_precision
from hw2lib.diffusion import Schedule, make_schedule
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, Sampling
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, WEIGHTS, runs_dir, sha256
from hw2lib.io.results import one
from hw2lib.metrics import metric
from hw2lib.models.digit_unet import DigitUNet
from hw2lib.samplers import (
    Denoiser,
    in_chunks,
    individual_noise,
    sample_ddim,
    sample_generators,
    time_steps,
)
from hw2lib.studies import cfdg as study
from hw2lib.training import TrainConfig, fit

OUT = runs_dir() / "few-steps"
TEACHER = Sampling(steps=16, seed=1000)  # noises of its own: 0 to 9 are those that are scored
PATHS, CHUNK = 4000, 500
EVALUATIONS = (8, 4, 2)
TRAIN = TrainConfig(steps=600, lr=5e-4, schedule="cosine", ema=0.99, save_every_s=60)
SEEDS, N = (0, 1, 2, 3, 4), 1000
LABELS = torch.arange(10).repeat_interleave(N // 10)


def paths(model: cfdg.DigitNet, header: dict, n: int = PATHS) -> tuple[Tensor, Tensor]:
    """The teacher's states, float16 (n, 9, 3, 28, 28) from noise to image at the times of 8 steps,
    and the labels (n,)."""
    times = time_steps(header["n_train_steps"], 8)
    labels = torch.arange(n) % 10
    parts = []
    for start in range(0, n, CHUNK):
        chosen = range(start, start + CHUNK)

        def make(chosen: range = chosen) -> dict[str, np.ndarray]:
            states: dict[int, list[Tensor]] = {t: [] for t in times}

            def see(t: int, x: Tensor, _: Tensor) -> None:
                if t in states:
                    states[t].append(x.half())

            images = cfdg.sample_digits(
                model, header, labels[list(chosen)], list(chosen), TEACHER, on_step=see,
                progress=True,
            )  # fmt: skip
            every = [torch.cat(states[t]) for t in times] + [digits.to_float(images).half()]
            return {"states": torch.stack(every, 1).numpy()}

        key = {"weights": sha256(WEIGHTS / "digits.safetensors"), "from": start, "n": CHUNK}
        found, _ = kept("paths", key, make, OUT)
        parts.append(torch.from_numpy(found["states"]))
    return torch.cat(parts), labels


def angles(schedule: Schedule, steps: int) -> Tensor:
    """phi (steps + 1,) at the times of `steps` steps and at the image, where it is 0."""
    ab = schedule.alpha_bar[time_steps(schedule.n_steps, steps)]
    return torch.cat([ab.sqrt().acos(), torch.zeros(1, dtype=ab.dtype)])


class Path(nn.Module):
    """A student with the loss of one batch as its forward."""

    def __init__(self, student: DigitUNet, phi: Tensor, times: list[int]) -> None:
        super().__init__()
        self.student, self.phi, self.times = student, phi, torch.tensor(times)

    def forward(
        self, x: Tensor, following: Tensor, labels: Tensor, k: Tensor, w: Tensor | None = None
    ) -> Tensor:
        """x = x_k and following = x_{k+1}, (B, 3, 28, 28) each; w (B,), where it is read."""
        d = (self.phi[k] - self.phi[k + 1])[:, None, None, None].float()
        v = (d.cos() * x - following) / d.sin()
        more = () if w is None else (w,)
        return (self.student(x, self.times[k], labels, *more).float() - v).square().mean()


def student(steps: int, model: cfdg.DigitNet, header: dict) -> tuple[DigitUNet, float]:
    """A network that draws in `steps` evaluations, and the seconds of its training."""
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    torch.manual_seed(0)
    net = DigitUNet(model.config).to(memory_format=torch.channels_last)
    net.load_state_dict(model.state_dict())
    states, labels = paths(model, header)
    states = states[:, :: 8 // steps]
    learner = Path(net, angles(schedule, steps), time_steps(schedule.n_steps, steps))

    def loss(learner: nn.Module, step: int, g: torch.Generator) -> Tensor:
        i = torch.randint(len(states), (TRAIN.batch_size,), generator=g)
        k = torch.randint(steps, (TRAIN.batch_size,), generator=g)
        return learner(states[i, k].float(), states[i, k + 1].float(), labels[i], k)

    fitted = fit(learner, loss, TRAIN, OUT / f"{steps}", resume=True, label=f"{steps} evaluations")
    return fitted.ema.student, fitted.seconds


def draw(net: DigitUNet, header: dict, steps: int, seed: int, n: int = N) -> Tensor:
    """n digits uint8 (n, 3, 28, 28) in `steps` evaluations, as many of each digit."""
    labels = torch.arange(10).repeat_interleave(n // 10)
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    where = device()

    def chunk(indices: range) -> Tensor:
        chosen = [min(k, n - 1) for k in indices]
        x = individual_noise((3, 28, 28), sample_generators(seed, chosen)).to(where)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with mixed_precision(where):
                return net(x, t, labels[chosen].to(where)).float()

        model = Denoiser(predict, schedule, header["prediction"], clip=False)
        return digits.to_uint8(sample_ddim(model, x, steps)).cpu()

    return in_chunks(chunk, n)


@dataclass(frozen=True)
class Known:
    """From digits-noises.json, a value a noise seed of SEEDS."""

    default: list[study.Scores]  # of the 20 evaluations
    real_recall: list[float]

    @classmethod
    def load(cls) -> Known:
        noises = results.load("digits-noises", RESULTS)["records"]
        scores = {
            score: one(noises, "samples", score, w=DEFAULT.w)["values"][: len(SEEDS)]
            for score in ("accuracy", "frechet", "recall", "recall_of_real")
        }
        each = [dict(zip(scores, row, strict=True)) for row in zip(*scores.values(), strict=True)]
        return cls(each, one(noises, "real", "recall")["values"][: len(SEEDS)])


def measured(
    net: DigitUNet, header: dict, steps: int, scorer: study.Scorer
) -> tuple[list[study.Scores], list[float]]:
    """Scores of the samples of each seed, and the CPU seconds that they took."""
    scores, seconds = [], []
    for seed in SEEDS:

        def make(seed: int = seed) -> dict[str, np.ndarray]:
            began = time.process_time()
            images = draw(net, header, steps, seed)
            return {"images": images.numpy(), "seconds": np.array(time.process_time() - began)}

        key = {"steps": steps, "seed": seed, "train": TRAIN.steps, "paths": PATHS}
        found, _ = kept("drawn", key, make, OUT / f"{steps}")
        scores.append(scorer(torch.from_numpy(found["images"]), LABELS))
        seconds.append(float(found["seconds"]))
    return scores, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, header = cfdg.load_digit_unet()
    domain = digits.load("mnistm")
    scorer, known = study.Scorer.load(domain.test.images, N), Known.load()
    records, trained = study.scored("default", known.default, N, evaluations=2 * DEFAULT.steps), 0.0
    for steps in EVALUATIONS:
        net, seconds = student(steps, model, header)
        trained += seconds
        scores, taken = measured(net.eval(), header, steps, scorer)
        records += study.scored("student", scores, N, evaluations=steps)
        shares = [s["recall"] / real for s, real in zip(scores, known.real_recall, strict=True)]
        found = {"recall_of_real": metric(shares, N, "share"), "seconds": metric(taken, N, "s")}
        for score in ("accuracy", "frechet", "recall"):
            gained = [s[score] - b[score] for s, b in zip(scores, known.default, strict=True)]
            found[f"{score}_gained"] = metric(gained, N, "number")
        lost = [-gain for gain in found["accuracy_gained"]["values"]]
        found["accuracy_lost"] = metric(lost, N, "share")
        records += [
            results.record("student", score, entry, evaluations=steps)
            for score, entry in found.items()
        ]
    for row, score, value in (
        ("teacher", "paths", PATHS),
        ("student", "training_steps", TRAIN.steps),
    ):
        records.append(results.record(row, score, metric([value], 1, "number")))
    print(results.frame(records).to_string())
    if args.record:
        names = ("digits", "judge", "digit-features")
        results.write(
            "digits-few-steps", preset="full", seeds=list(SEEDS), directory=RESULTS,
            records=records, seconds=trained,
            weights=[WEIGHTS / f"{name}.safetensors" for name in names],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"w": TEACHER.w, "steps of the teacher": TEACHER.steps},
        )  # fmt: skip


if __name__ == "__main__":
    main()
