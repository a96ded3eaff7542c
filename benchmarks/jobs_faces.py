"""The faces as jobs: blocks of the eta table, faces that move with eta, walks, the way back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jobs import Begin, Job, notebook, recorded, script

from hw2lib.datasets import faces
from hw2lib.evaluators import face_features
from hw2lib.experiments import ddim
from hw2lib.io import results
from hw2lib.io.paths import WEIGHTS
from hw2lib.studies import ddim as study
from hw2lib.studies import walks

USED = ("faces", "face-features")  # weights
DRAWN = ("hw2lib/studies/ddim.py",)  # what a block runs


def plan_of(preset: str) -> study.Plan:
    quick = study.PLANS["quick"]
    if preset == "tiny":
        return replace(quick, samples=16, eta_steps=(2,), steps=2)
    return study.PLANS[preset]


def sampler(preset: str) -> study.Sampler:
    return study.Sampler(*ddim.load_face_unet(), steps=plan_of(preset).steps)


def face_block(_: Begin, preset: str, steps: int, eta: float, block: range) -> None:
    """A block of faces for a cell of the eta table."""
    draw = sampler(preset)
    draw(draw.starts(block), first=block.start, steps=steps, eta=eta)


def face_moved(_: Begin, preset: str, eta: float) -> None:
    plan = plan_of(preset)
    study.movement(sampler(preset), plan.noises, plan.draws, [eta])


def face_walk(_: Begin, preset: str, way: str) -> None:
    draw = sampler(preset)
    walks.walks(draw, walks.pair_noises(draw, plan_of(preset).pairs), [way])


def face_code(_: Begin, preset: str, steps: int) -> None:
    walks.inversion(sampler(preset), plan_of(preset).encoded, [steps])


def table(_: Begin, preset: str) -> list[Path]:
    """The result file of the eta table at the preset tiny."""
    began, draw, plan, data = time.perf_counter(), sampler(preset), plan_of(preset), faces.load()
    eye = face_features.load()
    real = eye.embed(faces.split(data)[1])
    file = results.write(
        "faces", preset="tiny", seeds=[0], records=study.eta_study(draw, eye, plan, real),
        seconds=draw.spared + time.perf_counter() - began,
        weights=[WEIGHTS / "faces.safetensors", WEIGHTS / "face-features.safetensors"],
        data={"source": data.data, "sha256": data.sha256},
    )  # fmt: skip
    return [file]


def jobs(preset: str) -> Iterator[Job]:
    plan, ways, etas = plan_of(preset), walks.WAYS, study.ETAS
    cells = list(dict.fromkeys([(n, eta) for n in plan.eta_steps for eta in etas]
                               + [(plan.steps, 0.0)]))  # fmt: skip
    blocks = [range(a, min(a + study.BLOCK, plan.samples))
              for a in range(0, plan.samples, study.BLOCK)]  # fmt: skip
    moved = plan.noises * (1 + plan.draws * (len(etas) - 1)) * plan.steps
    walked = len(ways) * plan.pairs * len(walks.ALPHAS) * plan.steps
    coded = 2 * plan.encoded * sum(plan.code_steps)
    drawn = sum(n * plan.samples for n, _ in cells)
    a_pass = recorded("faces") / (drawn + moved + walked + coded)  # seconds of one face

    def job(name: str, passes: int, work: Callable, settings: dict, **more: Any) -> Job:
        return Job(
            f"faces-{name}", partial(work, preset=preset, **settings), more.pop("code", DRAWN),
            {key: str(value) for key, value in settings.items()} | {"plan": repr(plan)},
            weights=USED, seconds=passes * a_pass, threads=2, gpu=True, keeps="drawn-", **more,
        )  # fmt: skip

    made = [
        job(f"steps{n}-eta{eta:g}-from{block.start}", n * len(block), face_block,
            {"steps": n, "eta": eta, "block": block})
        for n, eta in cells[: 2 if preset == "tiny" else None] for block in blocks
    ]  # fmt: skip
    if preset != "tiny":
        for eta in etas:
            n = plan.noises * (plan.draws if eta else 1) * plan.steps
            needs = ["faces-moved-eta0"] if eta else []  # which all of them are compared with
            made.append(job(f"moved-eta{eta:g}", n, face_moved, {"eta": eta}, needs=needs))
        of_walks = {"code": ("hw2lib/studies/walks.py",)}
        for way in ways:
            made.append(job(f"walk-{way}", walked // len(ways), face_walk, {"way": way},
                            **of_walks))  # fmt: skip
        for n in plan.code_steps:
            made.append(job(f"code{n}", 2 * plan.encoded * n, face_code, {"steps": n}, **of_walks))
    yield from made
    needs = [job.name for job in made]
    if preset == "tiny":
        yield Job("table-faces", partial(table, preset=preset), DRAWN, {}, needs, USED)
        return
    yield notebook("ddim", preset, needs, weights=USED)
    if preset == "full":
        yield script("face_dots", "faces-dots", threads=2, gpu=True, weights=USED, keeps="drawn-")
        solvers = ["--samples", "512", "--steps", "5", "10", "--bfloat16"]
        yield script("face_solvers", "faces-solvers", solvers, weights=USED, keeps="drawn-")
        yield script("face_guides", "faces-guides", begins=["face-guides/guide-*"], weights=USED,
                     keeps="drawn-")  # fmt: skip
        yield script("face_inversion", "faces-inversion", weights=USED, keeps="drawn-")
        yield script("face_trials", "faces-trials", begins=["face-trials-480"], weights=USED)
