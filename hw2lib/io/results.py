"""Result files: what was measured, on which data, by which code, on which machine.

    records = [record("dann", "accuracy", accuracy_metric([...]), target="svhn")]
    write("dann-svhn", preset="full", data={"source": "public", "sha256": {...}}, seeds=[0, 1],
          seconds=1234.5, records=records)

writes build/results/dann-svhn.json; with `directory=RESULTS` it becomes part of the report. A file
holds what `_Result` declares, whole or not at all, and the measurements, one record a line:

    row      whose measurement it is: "dann", "samples", "real"
    score    what was measured: "accuracy", "frechet", "seconds"
    setting  under which conditions: {"target": "svhn", "w": 1.25}; no two agree in all three
    values   one a seed; mean; low and high, the 95 % interval; n, images a seed; unit

All who need a number select it by these fields:

    one(load("dann-svhn", RESULTS)["records"], "dann", "accuracy")["mean"]
"""

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import hw2lib
from hw2lib.errors import UserError
from hw2lib.io.paths import RESULTS, ROOT, atomic_write, build_dir, sha256

if TYPE_CHECKING:  # the book reads result files without torch and pandas
    from pandas import DataFrame

Text = Annotated[str, Field(min_length=1)]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Record(_Checked):
    row: Text
    score: Text
    setting: dict[str, Any]
    values: Annotated[list[float], Field(min_length=1)]
    mean: float
    low: float | None
    high: float | None
    n: Annotated[int, Field(ge=1)]
    unit: Text

    @model_validator(mode="after")
    def _interval(self) -> Self:
        ends = (self.low, self.high)
        if ends == (None, None) and len(self.values) == 1:
            return self  # one seed of something else than an accuracy has no interval
        if None in ends or not self.low <= self.mean <= self.high:
            raise ValueError(f"low and high are {ends}; numbers with the mean between are right")
        return self


class _Data(_Checked):
    source: Text
    sha256: dict[str, str]
    domains: list[str] = []
    recorded_in: Any = None


class _Result(_Checked):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    preset: Text
    data: _Data
    weights: dict[str, str]
    settings: dict[str, Any]
    seeds: Annotated[list[int], Field(min_length=1)]
    device: Text
    precision: Literal["bfloat16", "float32"] | None = None  # of the networks' products
    versions: dict[str, str]
    commit: Text
    seconds: Annotated[float, Field(ge=0)]
    not_run: list[str] = []
    records: Annotated[list[_Record], Field(min_length=1)]

    @model_validator(mode="after")
    def _no_two_alike(self) -> Self:
        names = [repr((r.row, r.score, sorted(r.setting.items()))) for r in self.records]
        for k, name in enumerate(names):
            if name in names[:k]:
                raise ValueError(f"two records are {name}")
        return self


def record(row: str, score: str, entry: Mapping[str, Any], /, **setting: Any) -> dict[str, Any]:
    """A record of an entry that `metrics.accuracy_metric` or `metrics.metric` made."""
    return {"row": row, "score": score, "setting": _plain(setting), **entry}


def _plain(setting: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, and 1 for 1.0: a setting has one form."""
    found = json.loads(json.dumps(setting)).items()
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in found}


def select(
    records: Iterable[dict],
    row: str | Sequence[str] | None = None,
    score: str | Sequence[str] | None = None,
    **setting: Any,
) -> list[dict]:
    """The records of a row and a score, or of several, with all of `setting` among theirs."""

    def fits(asked: str | Sequence[str] | None, found: str) -> bool:
        return asked is None or found in ([asked] if isinstance(asked, str) else asked)

    found = [r for r in records if fits(row, r["row"]) and fits(score, r["score"])]
    return [r for r in found if _plain(setting).items() <= r["setting"].items()]


def one(records: Iterable[dict], row: str, score: str, **setting: Any) -> dict[str, Any]:
    """The plainest record that `select` finds: the one with the fewest settings.

    Raises UserError, which names the candidates, where there is none or more than one.
    """
    records = list(records)
    found = select(records, row, score, **setting)
    fewest = min((len(r["setting"]) for r in found), default=0)
    plainest = [r for r in found if len(r["setting"]) == fewest]
    if len(plainest) == 1:
        return plainest[0]
    rest = plainest or select(records, row) or records
    there_are = "; ".join(dict.fromkeys(said(r) for r in rest))
    asked = said({"row": row, "score": score, "setting": setting})
    many = "is not one record but several" if plainest else "is no record"
    raise UserError(f"{asked} {many}; there are {there_are}")


def said(record: Mapping[str, Any]) -> str:
    """A record's name in words, "dann, accuracy, target=svhn"."""
    settings = (f"{key}={value}" for key, value in record["setting"].items())
    return ", ".join([record["row"], record["score"], *settings])


def frame(records: Iterable[dict]) -> "DataFrame":
    """A line for each record: row, score, each setting in a column of its own, mean, low, high."""
    return _shown(
        {"row": r["row"], "score": r["score"], **r["setting"],
         "mean": r["mean"], "low": r["low"], "high": r["high"]}
        for r in records
    )  # fmt: skip


def table(records: Iterable[dict]) -> "DataFrame":
    """A line for each row and setting, the means of its scores in columns."""
    lines: dict[str, dict] = {}
    for r in records:
        line = lines.setdefault(repr((r["row"], r["setting"])), {"row": r["row"], **r["setting"]})
        line[r["score"]] = r["mean"]
    return _shown(lines.values())


def _shown(lines: Iterable[dict]) -> "DataFrame":
    """Four digits, whole numbers as such, blanks where a line has no such setting or score."""
    import pandas as pd

    return pd.DataFrame(lines).round(4).convert_dtypes().astype(object).fillna("")


def path_of(name: str, directory: str | Path | None = None) -> Path:
    """DIRECTORY/NAME.json; this machine's own result files lie in build/results."""
    return Path(directory or build_dir() / "results") / f"{name}.json"


def write(
    name: str,
    *,
    preset: str,
    data: dict,
    seeds: list[int],
    seconds: float,
    records: list[dict],
    weights: Sequence[str | Path] = (),
    settings: dict | None = None,
    not_run: Sequence[str] = (),
    directory: str | Path | None = None,
) -> Path:
    """Write the result file and return its path (see `path_of`).

    weights: the files of all networks that were loaded. Device, precision, versions and commit are
    added. Raises UserError, before anything is written, for a missing field or a number that is not
    finite; and in the report's own folder (`directory=RESULTS`) for another preset than full, and
    for the embedded stand-in, be it of this run or of the training of one of the weights files.
    """
    from hw2lib.device import device_name, precision
    from hw2lib.io.weights import weights_header

    path = path_of(name, directory)
    result = {
        "name": name,
        "preset": preset,
        "data": data,
        "weights": {Path(file).name: sha256(Path(file)) for file in weights},
        "settings": settings or {},
        "seeds": list(seeds),
        "device": device_name(),
        "precision": precision(),
        "versions": versions(),
        "commit": commit(),
        "seconds": round(seconds, 1),
        **({"not_run": list(not_run)} if not_run else {}),
        "records": records,
    }
    check(result, f"result {name}")
    if path.parent.resolve() == RESULTS.resolve():
        _fit_for_the_report(f"result {name}", preset, data["source"])
        for file in weights:
            header = weights_header(file)
            source = header.get("data", header).get("source")
            _fit_for_the_report(f"weights file {file}", header.get("preset"), source)
    with atomic_write(path) as part:
        part.write_text(as_text(result), encoding="utf-8")
    return path


def _fit_for_the_report(what: str, preset: str | None, source: str | None) -> None:
    """UserError for a preset below full and for embedded data; None: its maker did not say."""
    if preset not in ("full", None) or source == "embedded":
        made = ", ".join(filter(None, [preset and f"preset {preset}", source and f"{source} data"]))
        raise UserError(
            f"{what} was made with {made}; the report takes preset full on course or public data"
        )


def as_text(result: dict) -> str:
    """JSON, a line for each record: a new recording changes the lines of what it measured."""
    head = json.dumps({**result, "records": []}, indent=1, allow_nan=False)
    lines = ",\n".join("  " + json.dumps(r, allow_nan=False) for r in result["records"])
    return head.replace('"records": []', f'"records": [\n{lines}\n ]') + "\n"


def load(name: str, directory: str | Path | None = None) -> dict:
    """Read a result file back (see `path_of`); UserError if it is missing or incomplete."""
    path = path_of(name, directory)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"result file {path} does not exist; run what makes {name} first") from None
    except (OSError, ValueError, RecursionError):
        raise UserError(f"result file {path} is no readable JSON; make it again") from None
    check(result, f"result file {path}")
    if result["name"] != name:
        raise UserError(f"result file {path} is named {result['name']} within; {name} is right")
    return result


def check(result: dict, where: str) -> None:
    """UserError that begins with `where` if `result` is not a complete result file's content."""
    try:
        _Result.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        said = [".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")]
        raise UserError(": ".join([where, *filter(None, said)])) from None


def versions() -> dict[str, str]:
    """Versions of what computes."""
    import numpy
    import torch
    import torchvision

    packages = {m.__name__: m.__version__ for m in (torch, torchvision, numpy)}
    return {**packages, "python": platform.python_version(), "hw2lib": hw2lib.__version__}


def commit() -> str:
    """The commit of the code, "-dirty" if tracked files differ from it, "unknown" without git.

    Result files and the book do not count: the second of two recordings was made by the same code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".",
                      ":(exclude)data/results", ":(exclude)book")  # fmt: skip
        return git("rev-parse", "HEAD").strip() + ("-dirty" if changes.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
