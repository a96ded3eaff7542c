"""Numbers of the book come from result files only, so that no sentence can go stale.

- role       {result}`dann-svhn:dann`        46.5 % [44.1, 48.9]
             {result}`dann-svhn:dann:mean`   46.5 %      (or low, high, n, unit, values)
- role       {report}`guided`              99.5 %, of the report being reproduced (data/report.json)
- directive  {results-table} NAME ...        rows = metrics, columns = files, with this machine's
             options: rows, labels, columns  values (build/results) beside the recorded ones
- directive  {scores-table} NAME        metrics called "row: score" as a table of rows by scores
             options: rows (between them ;), scores, titles, corner
- directive  {provenance}                    what made each result file and each weights file

Recorded results lie in data/results, this machine's in HW2_BUILD/results or build/results. A result
that nobody has recorded yet reads "not recorded yet: run ..."; a broken file, an unknown name or
metric and a missing executed notebook are warnings, hence errors under -W.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)

# What makes an executed notebook, and the result file of the same run.
NOTEBOOKS = {
    "cfdg": "papermill notebooks/cfdg.ipynb book/executed/cfdg.ipynb -p preset full -p record True",
    "ddim": "papermill notebooks/ddim.ipynb book/executed/ddim.ipynb -p preset full -p record True",
    "dann-svhn": "papermill notebooks/dann.ipynb book/executed/dann-svhn.ipynb"
    " -p target svhn -p preset full -p record True",
    "dann-usps": "papermill notebooks/dann.ipynb book/executed/dann-usps.ipynb"
    " -p target usps -p preset full -p record True",
}
RESULTS = {
    "digits": NOTEBOOKS["cfdg"],
    "digits-guidance": NOTEBOOKS["cfdg"],
    "digits-steps": NOTEBOOKS["cfdg"],
    "faces": NOTEBOOKS["ddim"],
    "dann-svhn": NOTEBOOKS["dann-svhn"],
    "dann-usps": NOTEBOOKS["dann-usps"],
}
# Of a weights file's configuration; the rest is in the file's header.
WEIGHTS_SHOWN = ("kind", "preset", "architecture", "schedule", "prediction", "min_snr", "log_snr",
                 "p_drop", "domain", "target", "row", "seeds", "seed", "steps", "batch_size",
                 "images_seen", "seconds", "device", "source")  # fmt: skip
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
    path = (local_results(env) if local else root(env) / "data" / "results") / f"{name}.json"
    env.note_dependency(str(path.resolve()))
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        metrics = result["metrics"]
        for entry in metrics.values():
            float(entry["mean"]), entry["low"], entry["high"], int(entry["n"]), entry["unit"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Mistake(
            f"result file {path.name} is broken ({type(error).__name__}: {error}); "
            f"make it again with `{RESULTS[name]}`"
        ) from None
    return result


# --- writing numbers ------------------------------------------------------------------------


def number(x: float, unit: str) -> str:
    """One number: accuracies in per cent, anything else with three significant digits."""
    if unit == "accuracy":
        return f"{100 * x:.1f}"
    if x == 0:
        return "0"
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


class ResultRole(SphinxRole):
    """{result}`NAME:METRIC` or {result}`NAME:METRIC:FIELD`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return self.number(), []
        except Mistake as mistake:
            logger.warning("result %r: %s", self.text, mistake, location=self.get_location())
            return [nodes.literal("", self.text)], []

    def number(self) -> list[nodes.Node]:
        parts = re.split(":(?! )", self.text)  # ": " is part of a metric's name
        if len(parts) not in (2, 3):
            raise Mistake("write NAME:METRIC or NAME:METRIC:FIELD")
        result = read(self.env, parts[0])
        if result is None:
            return missing(parts[0])
        entry = result["metrics"].get(parts[1])
        if entry is None:
            known = ", ".join(result["metrics"])
            raise Mistake(f"no metric {parts[1]!r} in {parts[0]}.json; it has {known}")
        text = formatted(entry, parts[2] if len(parts) == 3 else None)
        return [nodes.inline("", text, classes=["hw2-number"])]


class ReportRole(SphinxRole):
    """{report}`NAME`: an accuracy that the report being reproduced gives."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        path = root(self.env) / "data" / "report.json"
        self.env.note_dependency(str(path))
        values = json.loads(path.read_text(encoding="utf-8"))["values"]
        if self.text not in values:
            logger.warning("report %r: unknown; choose one of %s", self.text, ", ".join(values),
                           location=self.get_location())  # fmt: skip
            return [nodes.literal("", self.text)], []
        text = with_unit(number(values[self.text], "accuracy"), "accuracy")
        return [nodes.inline("", text, classes=["hw2-number"])], []


# --- tables ---------------------------------------------------------------------------------


def table(head: Sequence[object], body: Sequence[Sequence[object]]) -> nodes.Node:
    """A table in a box of its own that scrolls on narrow screens; cells are text or nodes."""
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *[_row(row) for row in body])
    return nodes.container("", nodes.table("", group), classes=["hw2-scroll"])


def _row(cells: Sequence[object]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        content = cell if isinstance(cell, list) else [nodes.Text(str(cell))]
        row += nodes.entry("", nodes.paragraph("", "", *content))
    return row


def readable(value: object) -> str:
    """Nested JSON as one line for people: key value, key value."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {readable(v)}" for key, v in value.items())
    if isinstance(value, list):
        return "; ".join(map(readable, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Reported(SphinxDirective):
    """A directive whose mistakes are warnings at its own line."""

    def run(self) -> list[nodes.Node]:
        try:
            return self.content_nodes()
        except Mistake as mistake:
            logger.warning("%s: %s", self.name, mistake, location=self.get_location())
            return []


class ResultsTable(Reported):
    """{results-table} NAME ... : the metrics of result files, recorded and of this machine."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"rows": _list, "labels": _list, "columns": _list}

    def content_nodes(self) -> list[nodes.Node]:
        names = self.arguments[0].split()
        titles = self.options.get("columns", names)
        if len(titles) != len(names):
            raise Mistake(f"{len(titles)} columns named for {len(names)} result files")
        recorded = [read(self.env, name) for name in names]
        local = [read(self.env, name, local=True) for name in names]
        head, columns = [""], []
        for title, ours, here in zip(titles, recorded, local, strict=True):
            head.append(f"{title}, recorded" if here else title)
            columns.append(ours)
            if here:
                source = here.get("data", {}).get("source", "?")
                head.append(f"{title}, this machine "
                            f"({here.get('preset', '?')} preset, {source} data)")  # fmt: skip
                columns.append(here)
        answer = [nodes.paragraph("", "", nodes.Text(f"{title}: "), *missing(name))
                  for name, title, ours in zip(names, titles, recorded, strict=True)
                  if ours is None]  # fmt: skip
        found = [column for column in columns if column is not None]
        if not found:
            return answer
        rows = self.options.get("rows") or list(
            dict.fromkeys(m for c in found for m in c["metrics"])
        )
        labels = self.options.get("labels") or [row.replace("_", " ") for row in rows]
        if len(labels) != len(rows):
            raise Mistake(f"{len(labels)} labels for {len(rows)} rows")
        body = [[label, *[self.cell(column, row) for column in columns]]
                for row, label in zip(rows, labels, strict=True)]  # fmt: skip
        return [table(head, body), *answer]

    @staticmethod
    def cell(column: dict | None, row: str) -> object:
        entry = column["metrics"].get(row) if column else None
        if entry is None:
            return "–"
        return [nodes.inline("", formatted(entry), classes=["hw2-number"])]


class ScoresTable(Reported):
    """{scores-table} NAME : recorded metrics called "row: score", a row for each row."""

    required_arguments = 1
    option_spec: ClassVar = {
        "rows": lambda text: [part.strip() for part in text.split(";") if part.strip()],
        "scores": _list,
        "titles": _list,
        "corner": str,
    }

    def content_nodes(self) -> list[nodes.Node]:
        name = self.arguments[0]
        result = read(self.env, name)
        if result is None:
            return [nodes.paragraph("", "", *missing(name))]
        pairs = [key.rsplit(": ", 1) for key in result["metrics"] if ": " in key]
        rows = self.options.get("rows") or list(dict.fromkeys(row for row, _ in pairs))
        scores = self.options.get("scores") or list(dict.fromkeys(score for _, score in pairs))
        titles = self.options.get("titles") or scores
        if len(titles) != len(scores):
            raise Mistake(f"{len(titles)} titles for {len(scores)} scores")
        for known, asked in ((0, rows), (1, scores)):
            for one in asked:
                if one not in {pair[known] for pair in pairs}:
                    raise Mistake(f"{name}.json has no {('row', 'score')[known]} {one!r}")
        body = [[row, *[ResultsTable.cell(result, f"{row}: {score}") for score in scores]]
                for row in rows]  # fmt: skip
        return [table([self.options.get("corner", ""), *titles], body)]


class Provenance(Reported):
    """{provenance}: what made each result file, and each weights file in data/weights."""

    def content_nodes(self) -> list[nodes.Node]:
        answer: list[nodes.Node] = []
        for name in RESULTS:
            title = nodes.rubric("", f"{name}.json")
            result = read(self.env, name)
            if result is None:
                answer += [title, nodes.paragraph("", "", *missing(name))]
                continue
            try:
                answer += [title, table(["", "recorded"], self.rows(result))]
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise Mistake(f"{name}.json lacks a field: {error!r}") from None
        weights = self.weights()
        if weights:
            answer += [nodes.rubric("", "Shipped weights (data/weights)"),
                       table(["file", "MiB", "sha256", "configuration"], weights)]  # fmt: skip
        return answer

    def rows(self, result: dict) -> list[list[object]]:
        files: list[nodes.Node] = []
        for file, digest in result["data"]["sha256"].items():
            files += [nodes.literal("", f"{file} {digest[:12]}"), nodes.Text(" ")]
        seeds = ", ".join(map(str, result["seeds"]))
        versions = ", ".join(f"{key} {value}" for key, value in result["versions"].items())
        more = [
            [key.replace("_", " "), readable(value)]
            for key, value in result["data"].items()
            if key not in ("source", "sha256")
        ]
        return [
            ["data", result["data"]["source"]],
            ["files, sha256", files or "none"],
            *more,
            ["preset", result["preset"]],
            ["seeds", seeds],
            ["device", result["device"]],
            ["versions", versions],
            ["commit", [nodes.literal("", result["commit"])]],
            ["time", f"{float(result['seconds']):,.0f} s"],
            ["metrics", ", ".join(f"{key} (n = {entry['n']:,})"
                                  for key, entry in result["metrics"].items())],
        ]  # fmt: skip

    def weights(self) -> list[list[object]]:
        rows = []
        for path in sorted((root(self.env) / "data" / "weights").glob("*.safetensors")):
            self.env.note_dependency(str(path))
            blob = path.read_bytes()
            try:  # 8 bytes length, then a JSON header; ours keeps the configuration in it
                header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
                config = json.loads(header.get("__metadata__", {}).get("config", "{}"))
                shown = {key: config[key] for key in WEIGHTS_SHOWN if key in config}
            except (ValueError, AttributeError, TypeError):
                raise Mistake(f"weights file {path.name} is no safetensors file") from None
            digest = hashlib.sha256(blob).hexdigest()[:12]
            size = f"{len(blob) / 2**20:.1f}"
            rows.append([path.name, size, [nodes.literal("", digest)], readable(shown)])
        return rows


# --- the check of executed notebooks ----------------------------------------------------------


def check_notebooks(app: Sphinx) -> None:
    """Warn for each executed notebook of the table of contents that is missing."""
    toc = Path(app.srcdir) / "_toc.yml"
    named = re.findall(r"file:\s*executed/([\w-]+)", toc.read_text(encoding="utf-8"))
    for name in named:
        if not (Path(app.srcdir) / "executed" / f"{name}.ipynb").is_file():
            command = NOTEBOOKS.get(name, f"papermill notebooks/{name}.ipynb")
            logger.warning("executed notebook %s.ipynb is missing; make it with `%s`",
                           name, command, type="hw2")  # fmt: skip


def setup(app: Sphinx) -> dict:
    app.add_role("result", ResultRole())
    app.add_role("report", ReportRole())
    app.add_directive("results-table", ResultsTable)
    app.add_directive("scores-table", ScoresTable)
    app.add_directive("provenance", Provenance)
    app.connect("builder-inited", check_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
