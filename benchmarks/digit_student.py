"""The student: digits in 4 evaluations, by one network that reads the strength w of guidance.

    python benchmarks/digit_student.py [--record]

As in digit_few_steps.py, but each of the teacher's paths has a w of its own, drawn evenly from 0 to
3, and w is an input of the student, as the time is (Meng et al. 2023). It begins with the shipped
weights; what reads w begins at zero. Three trainings, whose seeds draw the batches. All samples are
drawn with the weights as a file holds them, from the noises of digits-noises.json, and scored as
`studies.cfdg` does. Records:

    default    accuracy, frechet, ..   of the 20 evaluations, from digits-noises.json, by noise seed
    choice     accuracy                of the first training by w, on noises of a seed of their own
    student    accuracy, frechet, ..   by training=0, 1, 2 and w, one value a noise seed: at the
                                       default's w and at the chosen one, the smallest of the choice
                                       that is read as well as the default is on average; the first
                                       training at other w on fewer noise seeds
    trainings  accuracy, frechet, recall, recall_of_real, and what they gain beyond the default, by
               w: one value a training, each the mean over noise seeds; chosen: that w
    rounded    accuracy                with the live page's rounded weights, first noise seed;
               mean_difference, largest_difference  of its pictures to those unrounded, of 255
    speed      ratio                   of CPU seconds for the same digits, the default's to the
                                       student's, a pair at a time; default, student: the seconds
    teacher    paths;  student  training_steps, parameters

--record writes the first training to data/weights/digits-student.safetensors, and
data/results/digits-student.json. Paths, trainings and samples are kept in the build folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import digit_few_steps as few
import numpy as np
import torch
from torch import Tensor, nn

from hw2lib.datasets import digits
from hw2lib.device import device, device_name, mixed_precision
from hw2lib.diffusion import make_schedule
from hw2lib.evaluators import judge
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DEFAULT, Sampling
from hw2lib.io import results
from hw2lib.io.cache import kept
from hw2lib.io.paths import RESULTS, ROOT, WEIGHTS, atomic_write, runs_dir, sha256
from hw2lib.io.weights import save_weights
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models.digit_unet import NULL_LABEL, DigitUNet
from hw2lib.samplers import (
    Denoiser,
    individual_noise,
    sample_dpmpp,
    sample_generators,
    time_steps,
)
from hw2lib.studies import cfdg as study
from hw2lib.training import TrainConfig, fit

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import hw2live  # noqa: E402

OUT, SHIPPED = runs_dir() / "student", WEIGHTS / "digits-student.safetensors"
TEACHER = WEIGHTS / "digits.safetensors"
STEPS, W_MAX = 4, 3.0
TEACHER_STEPS, NOISE_SEED = 16, 1000  # noises of its own: 0 to 9 are those that are scored
PATHS, CHUNK = 4000, 250
TRAIN = TrainConfig(steps=1000, lr=5e-4, schedule="cosine", ema=0.99, save_every_s=60)
TRAININGS, SEEDS, N = (0, 1, 2), few.SEEDS, few.N
CHOICE_W, CHOICE_SEED = (1.5, 2.0, 2.5, 3.0), 2000
OTHER_W, OTHER_SEEDS = (0.0, 0.5, 3.0), SEEDS[:1]
PAIRS, PAIR = 5, 200  # digits
SHOWN = ("accuracy", "frechet", "recall")


def paths(model: nn.Module, header: dict) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher's states, float16 (n, 5, 3, 28, 28) from noise to image at the times of 4 steps,
    the labels (n,) and the strengths w (n,) of n = PATHS paths."""
    n, schedule = PATHS, make_schedule(header["schedule"], header["n_train_steps"])
    times, where = time_steps(schedule.n_steps, STEPS), device()
    model = model.to(where).to(memory_format=torch.channels_last).eval()
    labels = torch.arange(n) % 10
    strengths = W_MAX * torch.rand(n, generator=torch.Generator().manual_seed(NOISE_SEED))
    parts = []
    for start in range(0, n, CHUNK):
        chosen = range(start, start + CHUNK)

        def make(chosen: range = chosen) -> dict[str, np.ndarray]:
            states: list[Tensor] = []
            w = strengths[list(chosen)].to(where)[:, None, None, None]
            both = torch.cat([labels[list(chosen)], torch.full((CHUNK,), NULL_LABEL)]).to(where)

            def predict(x: Tensor, t: Tensor) -> Tensor:
                with mixed_precision(where):
                    v = model(x.repeat(2, 1, 1, 1), t.repeat(2), both).float()
                conditional, unconditional = v.chunk(2)
                return (1 + w) * conditional - w * unconditional

            def see(t: int, x: Tensor, _: Tensor) -> None:
                if t in times:
                    states.append(x.half().cpu())

            x = individual_noise((3, 28, 28), sample_generators(NOISE_SEED, chosen)).to(where)
            denoiser = Denoiser(predict, schedule, header["prediction"], on_step=see)
            images = sample_dpmpp(denoiser, x, TEACHER_STEPS)
            return {"states": torch.stack([*states, images.half().cpu()], 1).numpy()}

        key = {"weights": sha256(TEACHER), "from": start, "n": CHUNK}
        with torch.no_grad():
            found, _ = kept("paths", key, make, OUT)
        parts.append(torch.from_numpy(found["states"]))
    return torch.cat(parts), labels, strengths


def trained(seed: int, model: nn.Module, header: dict) -> tuple[Path, float]:
    """The weights file of a student that began with `model`, and the seconds of its training."""
    schedule, out = make_schedule(header["schedule"], header["n_train_steps"]), OUT / f"seed-{seed}"
    torch.manual_seed(seed)
    net = DigitUNet(replace(model.config, guidance_input=True))
    net.load_state_dict({**net.state_dict(), **model.state_dict()})
    states, labels, w = paths(model, header)
    learner = few.Path(net, few.angles(schedule, STEPS), time_steps(schedule.n_steps, STEPS))

    def loss(learner: nn.Module, step: int, g: torch.Generator) -> Tensor:
        i = torch.randint(len(states), (TRAIN.batch_size,), generator=g)
        k = torch.randint(STEPS, (TRAIN.batch_size,), generator=g)
        x, following = states[i, k].float(), states[i, k + 1].float()
        return learner(x, following, labels[i], k, w[i])

    train = replace(TRAIN, seed=seed)
    fitted = fit(learner, loss, train, out, resume=True, label=f"student, seed {seed}")
    of_teacher = ("schedule", "n_train_steps", "prediction", "data")
    header = {key: header[key] for key in of_teacher} | {
        "kind": "digit_unet", "architecture": asdict(net.config),
        "student": {"steps": STEPS, "w_max": W_MAX}, "train": asdict(train),
        "teacher": {"file": TEACHER.name, "sha256": sha256(TEACHER), "paths": PATHS},
        "images_seen": TRAIN.steps * TRAIN.batch_size, "seconds": round(fitted.seconds, 1),
        "device": device_name(),
    }  # fmt: skip
    file = save_weights(out / "weights.safetensors", fitted.ema.student.state_dict(), header)
    return file, fitted.seconds


def drawn(file: Path, w: float, seed: int, rounded: bool = False) -> Tensor:
    """N digits uint8 (N, 3, 28, 28), as many of each; kept."""

    def make() -> dict[str, np.ndarray]:
        net, header = cfdg.load_digit_unet(file)
        if rounded:
            differences = hw2live.differences(file, TEACHER)
            net.load_state_dict(hw2live.read(TEACHER.read_bytes(), differences))
        how = Sampling(w, STEPS, seed=seed)
        return {"images": cfdg.sample_digits(net, header, few.LABELS, range(N), how).numpy()}

    key = {"weights": sha256(file), "w": w, "seed": seed, "rounded": rounded}
    return torch.from_numpy(kept("drawn", key, make, OUT)[0]["images"])


def scores(
    scorer: study.Scorer, file: Path, w: float, seed: int, rounded: bool = False
) -> study.Scores:
    """Of `drawn` digits against test digits; kept."""
    networks = [file, *(WEIGHTS / f"{name}.safetensors" for name in ("judge", "digit-features"))]
    key = {"weights": list(map(sha256, networks)), "w": w, "seed": seed, "rounded": rounded}
    found, _ = kept("scores", key, lambda: scorer(drawn(file, w, seed, rounded), few.LABELS), OUT)
    return {score: value.item() for score, value in found.items()}


def trainings(scored: Sequence[Sequence[study.Scores]], known: few.Known, w: float) -> list[dict]:
    """Records of what the students of all trainings have in common; scored: by noise seed each."""
    means = {score: [np.mean([s[score] for s in of_one]) for of_one in scored] for score in SHOWN}
    for score in SHOWN:
        default = np.mean([s[score] for s in known.default])
        means[f"{score}_gained"] = [value - default for value in means[score]]
    means["accuracy_lost"] = [-value for value in means["accuracy_gained"]]
    means["recall_of_real"] = [
        np.mean([s["recall"] / real for s, real in zip(of_one, known.real_recall, strict=True)])
        for of_one in scored
    ]
    n, units = N * len(SEEDS), {"accuracy": "accuracy", "frechet": "distance"}
    return [
        results.record("trainings", score, metric(values, n, units.get(score, "share")), w=w)
        for score, values in means.items()
    ]


def choice(file: Path, known: few.Known) -> tuple[float, list[dict]]:
    """The smallest w of CHOICE_W at which the student is read as well as the default, else the one
    at which it is read best; and the records of all."""
    reader, found = judge.load(), {}
    for w in CHOICE_W:
        found[w] = int((reader.predict(drawn(file, w, CHOICE_SEED)) == few.LABELS).sum())
    enough = round(N * np.mean([s["accuracy"] for s in known.default]))
    chosen = next((w for w in CHOICE_W if found[w] >= enough), max(CHOICE_W, key=found.get))
    records = [results.record("choice", "accuracy", accuracy_metric([right], N), w=w)
               for w, right in found.items()]  # fmt: skip
    return chosen, records


def speed(file: Path) -> list[dict]:
    """Records of CPU seconds for PAIR digits, the default and the student in turns."""
    models = {"default": (*cfdg.load_digit_unet(), DEFAULT),
              "student": (*cfdg.load_digit_unet(file), Sampling(steps=STEPS))}  # fmt: skip
    labels, taken = few.LABELS[:: N // PAIR], {name: [] for name in models}
    for pair in range(-1, PAIRS):  # the first warms up
        for name, (net, header, how) in models.items():
            began = time.process_time()
            noises = range(PAIR * (pair + 1), PAIR * (pair + 2))
            cfdg.sample_digits(net, header, labels, noises, how)
            taken[name] += [time.process_time() - began] if pair >= 0 else []
    ratios = [a / b for a, b in zip(*taken.values(), strict=True)]
    records = [results.record("speed", name, metric(s, PAIR, "s")) for name, s in taken.items()]
    return [*records, results.record("speed", "ratio", metric(ratios, PAIR, "ratio"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, header = cfdg.load_digit_unet()
    files, seconds = zip(*(trained(seed, model, header) for seed in TRAININGS), strict=True)
    domain = digits.load("mnistm")
    scorer, known = study.Scorer.load(domain.test.images, N), few.Known.load()
    records = study.scored("default", known.default, N, evaluations=2 * DEFAULT.steps)
    chosen, tried = choice(files[0], known)
    records += tried
    for w in (DEFAULT.w, chosen):
        found = [[scores(scorer, file, w, seed) for seed in SEEDS] for file in files]
        for training, of_one in zip(TRAININGS, found, strict=True):
            records += study.scored("student", of_one, N, w=w, training=training)
        records += trainings(found, known, w)
    for w in OTHER_W:
        if w != chosen:
            found = [scores(scorer, files[0], w, seed) for seed in OTHER_SEEDS]
            records += study.scored("student", found, N, w=w, training=0)
    plain, rounded = (drawn(files[0], DEFAULT.w, SEEDS[0], how) for how in (False, True))
    of_rounded = scores(scorer, files[0], DEFAULT.w, SEEDS[0], rounded=True)
    records += study.scored("rounded", [of_rounded], N)
    apart = (plain.float() - rounded.float()).abs()
    parameters = sum(p.numel() for p in cfdg.load_digit_unet(files[0])[0].parameters())
    for row, score, value in (
        ("rounded", "mean_difference", apart.mean().item()),
        ("rounded", "largest_difference", apart.max().item()),
        ("trainings", "chosen", chosen),
        ("teacher", "paths", PATHS),
        ("student", "training_steps", TRAIN.steps),
        ("student", "parameters", parameters),
    ):
        records.append(results.record(row, score, metric([value], 1, "number")))
    records += speed(files[0])
    print(results.frame(records).to_string())
    if args.record:
        with atomic_write(SHIPPED) as part:
            part.write_bytes(files[0].read_bytes())
        names = ("digits", "digits-student", "judge", "digit-features")
        results.write(
            "digits-student", preset="full", seeds=list(SEEDS), directory=RESULTS,
            records=records, seconds=sum(seconds),
            weights=[WEIGHTS / f"{name}.safetensors" for name in names],
            data={"source": domain.data, "sha256": domain.sha256},
            settings={"w of the paths": [0, W_MAX], "steps of the teacher": TEACHER_STEPS,
                      "seeds of the trainings": list(TRAININGS)},
        )  # fmt: skip


if __name__ == "__main__":
    main()
