"""The adaptations as jobs: a training for each row and seed of each target, and what reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import dann_apart
import dann_ensemble
import dann_reading
import dann_trials
import dann_uci
import dann_variants
from dann_variants import Variant
from jobs import SIZES, TARGETS, TINY, Begin, Job, notebook, reading_seconds, recorded, script

from hw2lib.datasets.pairs import load_problem
from hw2lib.experiments import dann
from hw2lib.experiments.dann_rows import APART, MAIN, row_for, with_settings
from hw2lib.io.paths import runs_dir
from hw2lib.studies import dann as study


def train_row(begin: Begin, target: str, name: str, preset: str, seed: int) -> list[Path]:
    """One row of a target's table for one seed, where the notebook looks for it."""
    tiny = preset == "tiny"
    base = folder_of(target, preset)
    folder = begin(base / f"seed-{seed}" / name)
    dann.run(target, SIZES[preset].preset, [seed], [name], base, settings=TINY if tiny else {})
    return [folder / "dann.safetensors"]


def folder_of(target: str, preset: str) -> Path:
    data = load_problem(target).data
    return runs_dir() / (f"dann-{target}-tiny" if preset == "tiny"
                         else dann.run_name(target, preset, data))  # fmt: skip


def train_variant(begin: Begin, target: str, case: str, variant: Variant, seed: int) -> list[Path]:
    """One variant of `dann_trials` for one seed."""
    problem = dann_trials.case_of(load_problem(target), case)
    out = dann_trials.folder_of(target, case, dann_trials.STEPS)
    folder = begin(out / dann_variants.name_of(variant) / f"seed-{seed}")
    dann_variants.ablation(problem, [seed], dann_trials.STEPS, out, [variant])
    return [folder / "dann.safetensors"]


def train_uci(begin: Begin, name: str, seed: int) -> list[Path]:
    """One row of `dann_uci` for one seed."""
    folder = begin(dann_uci.folder_of(dann_uci.STEPS) / f"seed-{seed}" / name)
    dann_uci.adapt([seed], [name], dann_uci.STEPS)
    return [folder / "dann.safetensors"]


def table(_: Begin, target: str, rows: Sequence[str], seeds: Sequence[int]) -> list[Path]:
    """The result file of a target at the preset tiny."""
    result = dann.run(target, "quick", seeds, rows, folder_of(target, "tiny"), settings=TINY)
    return [study.write(result, study.records_of(result["rows"]))]


def jobs(preset: str) -> Iterator[Job]:
    size = SIZES[preset]
    code = ("hw2lib/experiments/dann.py",)

    def training(target: str, name: str, seed: int, seconds: float) -> Job:
        row = with_settings(row_for(name, size.preset, target), TINY if preset == "tiny" else {})
        return Job(
            f"dann-{target}-{name}-s{seed}", partial(train_row, target=target, name=name,
            preset=preset, seed=seed), code, {**row.settings(), "seed": seed}, seconds=seconds,
        )  # fmt: skip

    for target in size.targets:
        rows = size.rows(target)
        each = recorded(f"dann-{target}") / (len(rows) * len(size.seeds))
        trained = [training(target, row, s, each) for row in rows for s in size.seeds]
        yield from trained
        needs = [job.name for job in trained]
        if preset == "tiny":
            work = partial(table, target=target, rows=rows, seeds=list(size.seeds))
            yield Job(f"table-{target}", work, ("hw2lib/studies/dann.py",), {}, needs)
        else:
            yield notebook("dann", preset, needs, f"-{target}", target=target,
                           seeds=len(size.seeds))  # fmt: skip
    if preset != "full":
        return
    for group, rows in APART.items():
        targets = dann_apart.TARGETS
        each = recorded(f"dann-{group}") / (len(targets) * len(rows) * len(size.seeds))
        trained = [
            training(target, row, s, each)
            for target in targets for row in rows for s in size.seeds
        ]  # fmt: skip
        yield from trained
        yield script("dann_apart", f"dann-{group}", [group, *targets],
                     needs=[job.name for job in trained],
                     seconds=reading_seconds(len(trained)))  # fmt: skip
    read = len(size.seeds) * sum(map(len, dann_reading.READ.values()))
    yield script("dann_reading", "dann-reading", [*dann_reading.READ], keeps="reading",
                 needs=[f"notebook-dann-{t}" for t in dann_reading.READ],
                 seconds=reading_seconds(read))  # fmt: skip
    each = recorded("dann-uci") / (len(MAIN) * len(size.seeds))
    trained = [
        Job(f"dann-uci-{row}-s{seed}", partial(train_uci, name=row, seed=seed), code,
            {**row_for(row).settings(), "steps": dann_uci.STEPS, "seed": seed}, seconds=each)
        for row in MAIN for seed in size.seeds
    ]  # fmt: skip
    yield from trained
    yield script("dann_uci", "dann-uci", needs=[job.name for job in trained],
                 seconds=reading_seconds(len(trained)))  # fmt: skip
    for target in dann_ensemble.TARGETS:
        name = f"dann-ensemble-{target}"
        needs = [f"dann-{target}-{dann_ensemble.TEACHER}-s{s}" for s in size.seeds]
        yield script("dann_ensemble", name, [target], begins=[f"{name}/*/seed-*"], needs=needs)
    teachers = [
        f"dann-{target}-{dann_ensemble.TEACHER}-s{s}"
        for target in dann_ensemble.TARGETS for s in size.seeds
    ]  # fmt: skip
    yield script("dann_ensemble_views", "dann-ensemble-views", [*dann_ensemble.TARGETS],
                 needs=teachers)  # fmt: skip
    yield script("dann_report", "dann-report-causes", begins=["dann-report-causes/*/*/seed-*"])
    yield script("dann_reversal", "dann-reversal", ["svhn", "mnistm", "uci"],
                 begins=["dann-reversal/*/*/seed-*"])  # fmt: skip
    variants = list(variant_jobs())
    yield from variants
    yield script("dann_trials", "dann-ablation", list(TARGETS),
                 needs=[job.name for job in variants],
                 seconds=reading_seconds(len(variants)))  # fmt: skip


def variant_jobs() -> Iterator[Job]:
    """The trainings of `dann_trials`."""
    planned = [
        (target, case, variant, seed)
        for target in TARGETS
        for case, variants in dann_trials.variants_of(target).items()
        for variant in variants
        for seed in range(dann_trials.SEEDS)
    ]
    for target, case, variant, seed in planned:
        what = {"target": target, "case": case, "variant": variant, "seed": seed}
        yield Job(
            f"variant-{target}-{case}-{dann_variants.name_of(variant)}-s{seed}",
            partial(train_variant, **what), ("benchmarks/dann_trials.py",),
            {**variant[2].settings(), "steps": dann_trials.STEPS, "seed": seed},
            seconds=recorded("dann-ablation") / len(planned),
        )  # fmt: skip
