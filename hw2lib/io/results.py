"""Result files: what was measured, on which data, by which code, on which machine.

    record("dann-svhn", preset="full", data={"source": "public", "sha256": {...}}, seeds=[0, 1],
           seconds=1234.5, metrics={"dann": accuracy_metric([...])})

writes build/results/dann-svhn.json; with `directory=paths.RESULTS` it becomes part of the report.
A file is either whole and complete or not written at all.
"""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
import torchvision

import hw2lib
from hw2lib.device import device_name
from hw2lib.errors import UserError
from hw2lib.io.paths import RESULTS, ROOT, WEIGHTS, atomic_write, build_dir, sha256
from hw2lib.io.weights import weights_header

FIELDS = (
    "name", "preset", "data", "seeds", "device", "versions", "commit", "seconds", "metrics",
)  # fmt: skip
METRIC_FIELDS = ("values", "mean", "low", "high", "n", "unit")


def local_dir() -> Path:
    """This machine's result files, as against the recorded ones in `paths.RESULTS`."""
    return build_dir() / "results"


def record(
    name: str,
    *,
    preset: str,
    data: dict,
    seeds: list[int],
    seconds: float,
    metrics: dict[str, dict],
    weights: Sequence[str | Path] = (),
    directory: str | Path | None = None,
) -> Path:
    """Write DIRECTORY/NAME.json (default: `local_dir()`) and return its path.

    data: {"source": ..., "sha256": {file: digest}}; metrics: entries of `metrics.accuracy_metric`
    or `metrics.metric`; weights: the files of all networks that were loaded, whose digests join
    those of the data. Device, versions and commit are added here. Raises UserError, before
    anything is written, for a missing field or a number that is not finite; and in the report's
    own folder (`directory=RESULTS`) for another preset than full, and for the embedded stand-in,
    be it of this run or of the training of one of the weights files.
    """
    if isinstance(data, dict) and "sha256" in data:
        data = {**data, "sha256": {**data["sha256"], **weights_digests(weights)}}
    result = {
        "name": name,
        "preset": preset,
        "data": data,
        "seeds": list(seeds),
        "device": device_name(),
        "versions": versions(),
        "commit": commit(),
        "seconds": round(seconds, 1),
        "metrics": metrics,
    }
    check(result, f"result {name}")
    directory = Path(directory) if directory else local_dir()
    if directory.resolve() == RESULTS.resolve():
        _fit_for_the_report(f"result {name}", preset, data["source"])
        for file in weights:
            header = weights_header(file)
            source = header.get("data", header).get("source")
            _fit_for_the_report(f"weights file {file}", header.get("preset"), source)
    with atomic_write(directory / f"{name}.json") as part:
        part.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return directory / f"{name}.json"


def _fit_for_the_report(what: str, preset: str | None, source: str | None) -> None:
    """UserError for a preset below full and for embedded data; None: its maker did not say."""
    if preset not in ("full", None) or source == "embedded":
        made = ", ".join(filter(None, [preset and f"preset {preset}", source and f"{source} data"]))
        raise UserError(
            f"{what} was made with {made}; the report takes preset full on course or public data"
        )


def weights_digests(files: Sequence[str | Path]) -> dict[str, str]:
    """{name: sha256} of weights files, as result files have it: the shipped ones are named
    weights/NAME, others by the file's own name."""
    digests = {}
    for file in map(Path, files):
        shipped = file.resolve().parent == WEIGHTS.resolve()
        digests[f"weights/{file.name}" if shipped else file.name] = sha256(file)
    return digests


def load(name: str, directory: str | Path | None = None) -> dict:
    """Read a result file back (default: `local_dir()`); UserError if missing or incomplete."""
    path = (Path(directory) if directory else local_dir()) / f"{name}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"result file {path} does not exist; run what makes {name} first") from None
    except (OSError, ValueError):
        raise UserError(f"result file {path} is no readable JSON; make it again") from None
    check(result, f"result file {path}")
    return result


def check(result: dict, where: str) -> None:
    """UserError that begins with `where` if `result` is not a complete result file's content."""

    def need(good: object, message: str) -> None:
        if not good:
            raise UserError(f"{where}: {message}")

    need(isinstance(result, dict), "not a JSON object; a result file holds one")
    for field in FIELDS:
        need(field in result, f"field {field} is missing; it needs {', '.join(FIELDS)}")
    name = result["name"]
    need(isinstance(name, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name),
         f"name {name!r}; small letters, digits and hyphens are right")  # fmt: skip
    for field in ("preset", "device", "commit"):
        need(isinstance(result[field], str) and result[field], f"{field} must be a text")
    data = result["data"]
    need(isinstance(data, dict) and {"source", "sha256"} <= data.keys(),
         'data must be {"source": ..., "sha256": {file: digest}}')  # fmt: skip
    need(isinstance(result["seeds"], list) and result["seeds"], "seeds must name at least one")
    need(_finite(result["seconds"]) and result["seconds"] >= 0, "seconds must be a number >= 0")
    need(isinstance(result["metrics"], dict) and result["metrics"], "metrics holds no entry")
    for key, entry in result["metrics"].items():
        need(isinstance(entry, dict), f"metric {key} must be an object")
        for field in METRIC_FIELDS:
            need(field in entry, f"metric {key}: field {field} is missing")
        values = entry["values"]
        need(isinstance(values, list) and values, f"metric {key}: values is empty")
        need(all(map(_finite, [*values, entry["mean"], entry["n"]])),
             f"metric {key}: a value is not a finite number")  # fmt: skip
        low, high = entry["low"], entry["high"]
        if low is None and high is None and len(values) == 1:
            continue  # one seed of something else than an accuracy has no interval
        need(_finite(low) and _finite(high), f"metric {key}: low and high must be finite numbers")
        need(low <= entry["mean"] <= high, f"metric {key}: the mean lies outside low and high")


def _finite(x: object) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "hw2lib": hw2lib.__version__,
    }


def commit() -> str:
    """The commit of the code, "-dirty" if tracked files differ from it, "unknown" without git.

    Result files and the book do not count: the second of two recordings was made by the same code.
    """
    try:
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ".",
                       ":(exclude)data/results", ":(exclude)book")  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head + ("-dirty" if changes else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()
