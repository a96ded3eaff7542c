"""Result files and weights headers as the book reads them, and their numbers as text (hw2report).

Recorded results lie in data/results, this machine's in HW2_BUILD/results or build/results. Numbers
are selected by fields, as `hw2lib.io.results.one` does:

    NAME; ROW; SCORE; key=value key=value; FIELD

The score is accuracy where none is named, settings and field may be left out.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from docutils import nodes
from sphinx.environment import BuildEnvironment

from hw2lib.errors import UserError
from hw2lib.io import results

# What makes an executed notebook and the result file of the same run; other result files.
NOTEBOOKS = {
    "cfdg": "papermill notebooks/cfdg.ipynb book/executed/cfdg.ipynb -p preset full -p record True",
    "ddim": "papermill notebooks/ddim.ipynb book/executed/ddim.ipynb -p preset full -p record True",
    "dann-svhn": "papermill notebooks/dann.ipynb book/executed/dann-svhn.ipynb"
    " -p target svhn -p preset full -p seeds 5 -p record True",
    "dann-usps": "papermill notebooks/dann.ipynb book/executed/dann-usps.ipynb"
    " -p target usps -p preset full -p seeds 5 -p record True",
    "dann-mnistm": "papermill notebooks/dann.ipynb book/executed/dann-mnistm.ipynb"
    " -p target mnistm -p preset full -p seeds 5 -p record True",
    "dann-embedded": "papermill notebooks/dann.ipynb book/executed/dann-embedded.ipynb"
    " -p target svhn -p data embedded",
}
RESULTS = {
    "digits": NOTEBOOKS["cfdg"],
    "digits-guidance": NOTEBOOKS["cfdg"],
    "digits-steps": NOTEBOOKS["cfdg"],
    "digits-clip": "python benchmarks/digit_clip.py --record",
    "digits-few-steps": "python benchmarks/digit_few_steps.py --record",
    "digits-student": "python benchmarks/digit_student.py --record",
    "digits-guides": "python benchmarks/digit_guides.py --record",
    "digits-parts": "python benchmarks/digit_parts.py --record",
    "digits-longer": "python benchmarks/digit_longer.py --record",
    "digits-rejection": "python benchmarks/digit_rejection.py --record",
    "digits-small": "python benchmarks/digit_small.py --record",
    "digits-noises": "python benchmarks/digit_noises.py --record",
    "digits-setting": "python benchmarks/digit_setting.py --record",
    "digits-recipe": "python benchmarks/digit_recipe.py --record",
    "digits-trials": "python benchmarks/digit_trials.py --record",
    "digits-speed": "python benchmarks/digits_speed.py --record",
    "faces": NOTEBOOKS["ddim"],
    "faces-speed": "python benchmarks/faces_speed.py --record",
    "faces-trials": "python benchmarks/face_trials.py --record",
    "faces-dots": "python benchmarks/face_dots.py --record",
    "faces-solvers": "python benchmarks/face_solvers.py --samples 512 --steps 5 10"
    " --bfloat16 --record",
    "faces-guides": "python benchmarks/face_guides.py --record",
    "faces-inversion": "python benchmarks/face_inversion.py --record",
    "live": "python benchmarks/live.py --record",
    "dann-svhn": NOTEBOOKS["dann-svhn"],
    "dann-usps": NOTEBOOKS["dann-usps"],
    "dann-mnistm": NOTEBOOKS["dann-mnistm"],
    "dann-uci": "python benchmarks/dann_uci.py --record",
    "dann-ablation": "python benchmarks/dann_trials.py svhn usps mnistm --record",
    "dann-ensemble-svhn": "python benchmarks/dann_ensemble.py svhn --record",
    "dann-ensemble-usps": "python benchmarks/dann_ensemble.py usps --record",
    "dann-ensemble-mnistm": "python benchmarks/dann_ensemble.py mnistm --record",
    "dann-ensemble-views": "python benchmarks/dann_ensemble_views.py svhn usps mnistm --record",
    "dann-reversal": "python benchmarks/dann_reversal.py svhn mnistm uci --record",
    "dann-report-causes": "python benchmarks/dann_report.py --record",
    "dann-report-form": "python benchmarks/dann_apart.py report-form svhn usps --record",
    "dann-no-masks": "python benchmarks/dann_apart.py no-masks svhn usps --record",
    "dann-reading": "python benchmarks/dann_reading.py svhn usps mnistm --record",
    "dann-speed": "python benchmarks/dann_speed.py --to 0.59 --record",
    "setup": "python benchmarks/setup.py --record",
    "scaling": "python benchmarks/scaling.py --record",
    "faults": "PYTHONPATH=tests:. python -m faults.campaign --record faults",
    "cluster": "PYTHONPATH=tests:. python -m cluster.campaign --record",
}
FIELDS = ("mean", "low", "high", "n", "unit", "values")
PLAIN_UNITS = ("", "1", "distance", "number", "none", "norm", "share", "ratio")


class Mistake(Exception):
    """A wrong name, metric or file; its text becomes a warning at the place that asked."""


# --- reading --------------------------------------------------------------------------------


def root(env: BuildEnvironment) -> Path:
    """The repository's top: the folder that holds book/."""
    return Path(env.srcdir).parent


def local_results(env: BuildEnvironment) -> Path:
    """This machine's result files."""
    return Path(os.environ.get("HW2_BUILD") or root(env) / "build").expanduser() / "results"


def read(env: BuildEnvironment, name: str, local: bool = False) -> dict | None:
    """A result file, None if there is none. Mistake for an unknown name or a broken file.

    The page that asks is built again whenever the file appears or changes.
    """
    if name not in RESULTS:
        raise Mistake(f"unknown result {name!r}; choose one of {', '.join(RESULTS)}")
    folder = local_results(env) if local else root(env) / "data" / "results"
    path = results.path_of(name, folder)
    env.note_dependency(str(path.resolve()))
    if not path.is_file():
        return None
    try:
        return results.load(name, folder)
    except UserError as error:
        raise Mistake(f"{error}; make it again with `{RESULTS[name]}`") from None


def fields(text: str) -> tuple[str, str | None, dict, str | None]:
    """(row, score or None, setting, field or None) of "ROW; SCORE; key=value; FIELD"."""
    row, *parts = (part.strip() for part in text.split("; "))
    score, setting, field = None, {}, None
    for part in parts:
        if re.match(r"\w+=", part):
            setting = settings(part)
        elif part in FIELDS:
            field = part
        else:
            score = part
    return row, score, setting, field


def settings(text: str) -> dict:
    """ "w=1.25 shares='as here'" -> values as JSON has them, else as text."""
    found = {}
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise Mistake(f"{text!r}: {error}; key=value or key='some words' is right") from None
    for part in parts:
        key, _, value = part.partition("=")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def entry(result: dict, row: str, score: str, setting: dict) -> dict | None:
    """The record, None where its row is planned and was not run yet; Mistake for another name."""
    try:
        return results.one(result["records"], row, score, **setting)
    except UserError as error:
        if row in result.get("not_run", []):
            return None
        raise Mistake(f"{result['name']}.json: {error}") from None


# --- writing numbers ------------------------------------------------------------------------


def number(x: float, unit: str) -> str:
    """One number: accuracies in per cent, counts whole, else three significant digits."""
    if unit == "accuracy":
        return f"{100 * x:.1f}"
    if x == 0 or (unit == "number" and x == int(x)):
        return f"{x:,.0f}"
    return f"{x:,.{max(0, 2 - _exponent(x))}f}"


def _exponent(x: float) -> int:
    """Power of ten of the first digit, after rounding to three digits."""
    return int(f"{x:.2e}".split("e")[1])


def with_unit(text: str, unit: str) -> str:
    """Append the unit, unless it says nothing."""
    if unit == "accuracy":
        return f"{text} %"
    return text if unit in PLAIN_UNITS else f"{text} {unit}"


def formatted(entry: dict, field: str | None = None) -> str:
    """A metric as text: mean [low, high], or one of its fields."""
    unit = entry["unit"]
    if field is None:
        text = with_unit(number(entry["mean"], unit), unit)
        if entry["low"] is None or entry["high"] is None:
            return text
        return f"{text} [{number(entry['low'], unit)}, {number(entry['high'], unit)}]"
    if field not in FIELDS:
        raise Mistake(f"unknown field {field!r}; choose one of {', '.join(FIELDS)}")
    value = entry.get(field)
    if value is None:
        raise Mistake(f"field {field!r} is empty: a single seed gives no interval here")
    if field == "unit":
        return str(value)
    if field == "n":
        return f"{int(value):,}"
    values = value if isinstance(value, list) else [value]
    return with_unit(", ".join(number(v, unit) for v in values), unit)


def missing(name: str) -> list[nodes.Node]:
    """The sentence that stands where a number will stand."""
    return [
        nodes.inline("", "not recorded yet: run ", classes=["hw2-missing"]),
        nodes.literal("", RESULTS[name]),
    ]


def weights_config(path: Path) -> dict:
    """The configuration in a weights file's header; Mistake for no safetensors file."""
    with open(path, "rb") as stream:
        try:  # 8 bytes length, then a JSON header; ours keeps the configuration in it
            length = min(int.from_bytes(stream.read(8), "little"), path.stat().st_size)
            header = json.loads(stream.read(length))
            return json.loads(header.get("__metadata__", {}).get("config", "{}"))
        except (ValueError, AttributeError, TypeError):
            raise Mistake(f"weights file {path.name} is no safetensors file") from None
