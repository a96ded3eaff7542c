"""The recording as jobs: every training, every cell of a study, every benchmark with a result file.

    for job in jobs("full"):
        print(job.name, job.needs, job.seconds)

Rows, seeds and cells are those of the library's tables. A job does what a notebook or a benchmark
would do for that cell, and leaves it where they look: the last jobs run them, and they find all
trainings and samples made. Presets: full, the report's; quick, the notebooks' own quick preset;
tiny, one of each kind in few steps, whose result files are no notebook's. `recording` runs jobs.

Not among them: benchmarks/setup.py and the campaign of faults, which measure a machine of their
own. The shipped weights, from which all starts, are the jobs of `weights()`.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from hw2lib.commands import cli
from hw2lib.experiments.dann_rows import TABLE, rows_for
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, ROOT, WEIGHTS, build_dir, runs_dir, temporary
from hw2lib.io.weights import weights_header

Begin = Callable[[Path], Path]  # a job's folder; what other code began there is put aside first


@dataclass(frozen=True)
class Job:
    """One piece of the recording; it runs on one machine and leaves files that others take up."""

    name: str
    work: Callable[[Begin], list[Path] | None]  # makes, and returns the files that it made
    code: Sequence[str]  # files, with all that they import: a change makes the job again
    settings: dict | None = None  # all it takes from code_digest.SETTINGS; None: they are its code
    needs: Sequence[str] = ()  # names of the jobs that come first
    weights: Sequence[str] = ()  # shipped ones that it takes
    seconds: float = 60.0  # of one core, from recorded result files
    threads: int = 1  # 0: the whole machine, for what measures speed
    mem_mb: int = 1500
    gpu: bool = False  # whether it is worth one
    keeps: str = ""  # how the files begin that `io.cache.kept` makes for it

    @property
    def runtime(self) -> int:
        """Minutes after which a cluster may end it: four times what it takes, and ten more."""
        return 10 + round(4 * self.seconds / 60)


@dataclass(frozen=True)
class Size:
    """How much a preset records."""

    preset: str  # of the library
    targets: Sequence[str]
    seeds: range  # of the adaptations
    drops: dict[float, Sequence[int]]  # p_drop -> seeds of the guidance study
    rows: Callable[[str], Sequence[str]]  # of a target


TARGETS = ("svhn", "usps", "mnistm")  # of the notebook; UCI's run is a benchmark's
SIZES = {
    "tiny": Size("quick", ("usps",), range(1), {0.1: (0,)}, lambda _: TABLE),
    "quick": Size("quick", TARGETS, range(1), {0.0: (0,), 0.1: (0,)},
                  lambda target: rows_for(target, "quick")),
    "full": Size("full", TARGETS, range(5), {0.0: (0, 1, 2), 0.1: (0, 1, 2)},
                 lambda target: rows_for(target, "full")),
}  # fmt: skip
TINY = {"steps": 6, "batch_size": 16, "save_every_s": 0.0}  # of each training at the preset tiny
FEW = 20  # samples of a cell there


def run_notebook(_: Begin, name: str, title: str, parameters: dict, preset: str) -> list[Path]:
    """Execute a notebook; it is the report's own result where the preset is full."""
    out = build_dir() / "record" / preset / f"{title}.ipynb"
    options = [x for key, value in parameters.items() for x in ("-p", key, f"{value}")]
    out.parent.mkdir(parents=True, exist_ok=True)
    with temporary(out.parent, out.name, directory=True) as folder:
        command = [
            sys.executable,
            "-m",
            "papermill",
            f"{ROOT}/notebooks/{name}.ipynb",
            f"{folder}/out.ipynb",
            *options,
        ]
        subprocess.run(command, check=True)
        (folder / "out.ipynb").replace(out)
    return [out]


def notebook(name: str, preset: str, needs: Sequence[str], more: str = "",
             weights: Sequence[str] = (), **parameters: Any) -> Job:  # fmt: skip
    """It finds all that `needs` made, and draws."""
    title = f"notebook-{name}{more}"
    parameters |= {"preset": preset, "record": preset == "full"}
    work = partial(run_notebook, name=name, title=title, parameters=parameters, preset=preset)
    return Job(title, work, [f"notebooks/{name}.ipynb"], None, needs, weights,
               executed_seconds(f"{name}{more}"), gpu=bool(weights))  # fmt: skip


def run_script(begin: Begin, name: str, arguments: Sequence[str], begins: Sequence[str]) -> None:
    for pattern in begins:
        for folder in runs_dir().glob(pattern):
            begin(folder)
    file, before = ROOT / "benchmarks" / f"{name}.py", sys.argv
    sys.argv = [str(file), *arguments, "--record"]
    try:
        runpy.run_path(str(file), run_name="__main__")
    finally:
        sys.argv = before


def script(name: str, result: str, arguments: Sequence[str] = (), begins: Sequence[str] = (),
           seconds: float | None = None, **more: Any) -> Job:  # fmt: skip
    """A benchmark that writes data/results; it takes up what `needs` made, and makes the rest.

    begins: patterns of the folders of its own trainings; seconds: by default those of its result.
    """
    work = partial(run_script, name=name, arguments=arguments, begins=begins)
    seconds = recorded(result) if seconds is None else seconds
    return Job(f"benchmark-{result}", work, [f"benchmarks/{name}.py"], seconds=seconds, **more)


# --- recorded times ------------------------------------------------------------------------------


@cache
def recorded(name: str) -> float:
    """Seconds that a result file says it took."""
    return results.load(name, RESULTS)["seconds"]


def trained_seconds(name: str) -> float:
    """Seconds of each of the trainings that a result file compares."""
    return results.one(results.load(name, RESULTS)["records"], "training", "seconds")["mean"]


def executed_seconds(name: str) -> float:
    """Seconds of a recorded notebook, whose trainings and samples were there already."""
    file = ROOT / "book" / "executed" / f"{name}.ipynb"
    return json.loads(file.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]


def reading_seconds(trainings: int) -> float:
    """Seconds of taking up finished trainings of an adaptation and scoring them, from those of a
    notebook that did."""
    result = results.load("dann-svhn", RESULTS)
    of_notebook = len(result["settings"]["rows"]) * len(result["seeds"])
    return trainings * executed_seconds("dann-svhn") / of_notebook


# --- weights -------------------------------------------------------------------------------------


def train_weights(begin: Begin, what: str) -> list[Path]:
    """`hw2 train WHAT --preset full`; the file is then to be looked at, and put in data/weights."""
    folder = begin(runs_dir() / f"{what}-full")
    if cli.main(["train", what, "--preset", "full", "--resume", "--out", str(folder)]):
        sys.exit(1)
    return [*folder.glob("*.safetensors")]


def weights() -> Iterator[Job]:
    """Trainings of the networks that the recording takes as they are shipped."""
    code = {
        "digits": "experiments/cfdg", "faces": "experiments/ddim", "judge": "evaluators/judge",
        "digit-features": "evaluators/digit_features", "face-features": "evaluators/face_features",
    }  # fmt: skip
    for what, module in code.items():
        header = weights_header(WEIGHTS / f"{what}.safetensors")
        yield Job(
            f"weights-{what}", partial(train_weights, what=what), [f"hw2lib/{module}.py"],
            seconds=header["seconds"], gpu=what in ("digits", "faces"),
        )  # fmt: skip


# --- all -----------------------------------------------------------------------------------------


def jobs(preset: str) -> list[Job]:
    """All jobs of a preset, those that others need before them."""
    import jobs_dann
    import jobs_digits
    import jobs_faces

    found = [*jobs_digits.jobs(preset), *jobs_faces.jobs(preset), *jobs_dann.jobs(preset)]
    if preset == "full":
        of_speed = {"needs": [job.name for job in found], "threads": 0}  # on a machine at rest
        for name, more in (("digits", []), ("faces", []), ("dann", ["--to", "0.59"])):
            found.append(script(f"{name}_speed", f"{name}-speed", more, **of_speed))
        return found
    return [replace(job, seconds=60.0, threads=1) for job in found]  # recorded are those of full
