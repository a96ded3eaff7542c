"""The digits as jobs: the guided models, their samples by strength, solver and noise."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import digit_noises
from jobs import FEW, SIZES, TINY, Begin, Job, notebook, recorded, script, trained_seconds

from hw2lib.datasets import digits
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import DIGIT_PRESETS
from hw2lib.experiments.recipe import Preset, run_folder
from hw2lib.io import results
from hw2lib.io.paths import WEIGHTS
from hw2lib.studies import cfdg as study

SAMPLED = ("hw2lib/studies/cfdg.py",)  # what a cell runs
SCORED = ("judge", "digit-features")  # weights
USED = ("digits", *SCORED)


def slug(strength: dict) -> str:
    """ "w1-ddim20-300-900" """
    more = "".join(f"-{t}" for t in strength.get("interval", ()))
    return f"w{strength['w']:g}-{strength['solver']}{strength['steps']}{more}"


def guidance_preset(preset: str) -> Preset:
    if preset == "tiny":
        quick = DIGIT_PRESETS["quick"]
        return replace(quick, train=replace(quick.train, **TINY))
    return DIGIT_PRESETS[study.TRAININGS.get(preset, preset)]


def guided_folder(preset: str, p_drop: float, seed: int) -> Path:
    base = run_folder("guidance", guidance_preset(preset), digits.load("mnistm"))
    return base / f"p{100 * p_drop:g}-s{seed}"


def train_guided(begin: Begin, preset: str, p_drop: float, seed: int) -> list[Path]:
    """One model of the guidance study, where `studies.cfdg.study` looks for it."""
    p = guidance_preset(preset)
    p = replace(p, p_drop=p_drop, train=replace(p.train, seed=seed))
    folder = begin(guided_folder(preset, p_drop, seed))
    cfdg.train_digits(p, out=folder, resume=True)
    return [folder / "weights.safetensors"]


def samples_of(preset: str) -> int:
    return FEW if preset == "tiny" else study.SAMPLES[preset]


def scorer_of(preset: str) -> study.Scorer:
    return study.Scorer.load(digits.load("mnistm").test.images, samples_of(preset))


def guided_cell(_: Begin, preset: str, p_drop: float, seed: int, strength: dict) -> None:
    """Samples of one model at one strength, scored."""
    folder = guided_folder(preset, p_drop, seed)
    model = cfdg.load_digit_unet(folder / "weights.safetensors")
    study.sampled_scores(
        *model, scorer_of(preset), samples_of(preset), folder, **strength, seed=seed
    )


def solver_cell(_: Begin, preset: str, case: tuple[str, int, int]) -> None:
    """Samples of the shipped model by one solver, scored."""
    solver, steps, n = case
    domain = digits.load("mnistm")
    out = run_folder("steps", DIGIT_PRESETS[SIZES[preset].preset], domain)
    study.sampled_scores(
        *cfdg.load_digit_unet(), scorer_of(preset), n, out,
        solver=solver, steps=steps, w=cfdg.DEFAULT.w, seed=0,
    )  # fmt: skip


def noise_cell(_: Begin, seed: int, w: float) -> None:
    digit_noises.generated(seed, w, *cfdg.load_digit_unet())


def table(_: Begin, drops: dict, strengths: Sequence[dict]) -> list[Path]:
    """The result file of the guidance study at the preset tiny."""
    p, domain = guidance_preset("tiny"), digits.load("mnistm")
    began = time.perf_counter()
    records = study.study(p, drops, n=FEW, strengths=strengths)
    networks = [WEIGHTS / f"{name}.safetensors" for name in ("judge", "digit-features")]
    file = results.write(
        "digits-guidance", preset="tiny", seeds=[0], records=records, weights=networks,
        seconds=time.perf_counter() - began,
        data={"source": domain.data, "sha256": domain.sha256},
    )  # fmt: skip
    return [file]


def jobs(preset: str) -> Iterator[Job]:
    size, tiny = SIZES[preset], preset == "tiny"
    p = guidance_preset(preset)
    a_pass = recorded("digits-noises") / (len(digit_noises.SEEDS) * sum(
        study.evaluations(1000, cfdg.DEFAULT.steps, w) for w in digit_noises.STRENGTHS
    ))  # seconds of 1,000 images through the network  # fmt: skip
    strengths = study.STRENGTHS[:2] if tiny else study.STRENGTHS
    trained, cells = [], []
    for drop, seed in ((drop, seed) for drop, seeds in size.drops.items() for seed in seeds):
        what = {"preset": preset, "p_drop": drop, "seed": seed}
        trained.append(Job(
            f"guidance-p{100 * drop:g}-s{seed}", partial(train_guided, **what),
            ("hw2lib/experiments/cfdg.py",), {"preset": repr(p), "seed": seed},
            seconds=trained_seconds("digits-recipe"), gpu=True,
        ))  # fmt: skip
        for strength in strengths:
            passes = study.evaluations(1000, strength["steps"], strength["w"])
            cells.append(Job(
                f"{trained[-1].name}-{slug(strength)}", partial(guided_cell, **what,
                strength=strength), SAMPLED, {**strength, "preset": repr(p)},
                [trained[-1].name], SCORED, passes * a_pass, gpu=True, keeps="scores-",
            ))  # fmt: skip
    for case in study.CASES[size.preset][: 1 if tiny else None]:
        solver, steps, n = case
        passes = study.evaluations(1000, steps, cfdg.DEFAULT.w)
        cells.append(Job(
            f"solver-{solver}-{steps}-n{n}", partial(solver_cell, preset=preset, case=case),
            SAMPLED, {"case": case}, weights=USED, seconds=passes * a_pass * n / 1000, gpu=True,
            keeps="scores-",
        ))  # fmt: skip
    yield from trained
    yield from cells
    needs = [job.name for job in (*trained, *cells)]
    if tiny:
        work = partial(table, drops=size.drops, strengths=strengths)
        yield Job("table-digits", work, SAMPLED, {}, needs, SCORED)
        return
    yield notebook("cfdg", preset, needs, weights=USED)
    if preset == "quick":
        return
    noises = [
        Job(f"noises-w{w:g}-s{seed}", partial(noise_cell, seed=seed, w=w),
            ("benchmarks/digit_noises.py",), {}, weights=USED,
            seconds=a_pass * study.evaluations(1000, cfdg.DEFAULT.steps, w), gpu=True,
            keeps="noises-")
        for w in digit_noises.STRENGTHS for seed in digit_noises.SEEDS
    ]  # fmt: skip
    yield from noises
    yield script(
        "digit_noises",
        "digits-noises",
        needs=[job.name for job in noises],
        seconds=60.0,
        gpu=True,
        weights=USED,
    )
    yield script(
        "digit_setting",
        "digits-setting",
        needs=["notebook-cfdg"],
        gpu=True,
        weights=USED,
        keeps="scores-",
    )
    yield script(
        "digit_recipe",
        "digits-recipe",
        seconds=2 * trained_seconds("digits-recipe"),
        needs=["notebook-cfdg"],
        begins=["recipe-*"],
        weights=SCORED,
    )
    yield script("digit_trials", "digits-trials", begins=["trials-300"], weights=SCORED)
    yield script("digit_clip", "digits-clip", weights=USED)
    yield script("digit_parts", "digits-parts", gpu=True, weights=USED, keeps="scores-")
    yield script(
        "digit_longer", "digits-longer", needs=["benchmark-digits-parts"],
        begins=["digits-longer"], gpu=True, weights=USED,
    )  # fmt: skip
    yield script("digit_guides", "digits-guides", begins=["guides/guide-*"], weights=USED)
    yield script(
        "digit_few_steps",
        "digits-few-steps",
        needs=["benchmark-digits-noises"],
        begins=["few-steps/[842]"],
        gpu=True,
        weights=USED,
    )
    yield script(
        "digit_student",
        "digits-student",
        needs=["benchmark-digits-noises"],
        begins=["student/seed-[012]"],
        gpu=True,
        weights=USED,
    )
    yield script(
        "digit_rejection",
        "digits-rejection",
        needs=["benchmark-digits-longer", "benchmark-digits-student", "notebook-cfdg"],
        gpu=True,
        weights=(*USED, "dann-mnistm"),
        keeps="scores-",
    )
    yield script(
        "digit_small",
        "digits-small",
        needs=["benchmark-digits-rejection"],
        begins=["digits-small"],
        gpu=True,
        weights=(*USED, "dann-mnistm"),
        keeps="scores-",
    )
