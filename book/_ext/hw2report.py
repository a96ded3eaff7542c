"""Numbers of the book come from result files only, so that no sentence can go stale.

- role       {result}`dann-svhn:dann`        46.5 % [44.1, 48.9]
             {result}`dann-svhn:dann:mean`   46.5 %      (or low, high, n, unit, values)
- role       {report}`guided`              99.5 %, of the report being reproduced (data/report.json)
- role       {weights}`digits:images_seen`  300,800      (of data/weights/digits.safetensors)
             {weights}`dann-svhn:settings.steps`  of an entry within an entry
- directive  {results-table} NAME ...        rows = metrics, columns = files, with this machine's
             options: rows, labels,          values (build/results) beside the recorded ones;
             columns, grey, caption          grey: rows that stand there for comparison only
- directive  {scores-table} NAME        metrics called "row: score" as a table of rows by scores
             options: rows and names (between them ;), scores, titles, corner, caption
             groups: metrics called "group, row: score", one column for each group and score
- directive  {provenance}                    what made each result file and each weights file

Recorded results lie in data/results, this machine's in HW2_BUILD/results or build/results. A result
that nobody has recorded yet reads "not recorded yet: run ..."; a broken file, an unknown name or
metric and a missing executed notebook are warnings, hence errors under -W.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from hw2numbers import (
    NOTEBOOKS,
    RESULTS,
    Mistake,
    formatted,
    missing,
    not_run,
    number,
    read,
    root,
    weights_config,
    with_unit,
)
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)

# Of a weights file's configuration; the rest is in the file's header.
WEIGHTS_SHOWN = ("kind", "preset", "architecture", "schedule", "prediction", "min_snr", "log_snr",
                 "p_drop", "domain", "target", "row", "seeds", "seed", "steps", "batch_size",
                 "images_seen", "seconds", "device", "source")  # fmt: skip


def numeral(text: str) -> list[nodes.Node]:
    """A number that no line breaks, and its interval, which may stand below in a narrow column."""
    value, bracket, interval = text.partition(" [")
    answer: list[nodes.Node] = [nodes.inline("", value, classes=["hw2-number"])]
    if bracket:
        answer += [nodes.Text(" "), nodes.inline("", f"[{interval}", classes=["hw2-number"])]
    return answer


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
        if entry is None and not_run(result, parts[1]):
            return missing(parts[0])
        if entry is None:
            known = ", ".join(result["metrics"])
            raise Mistake(f"no metric {parts[1]!r} in {parts[0]}.json; it has {known}")
        text = formatted(entry, parts[2] if len(parts) == 3 else None)
        return numeral(text)


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
        return numeral(text), []


class WeightsRole(SphinxRole):
    """{weights}`NAME:KEY`: what the header of data/weights/NAME.safetensors says, a number, a
    word or an entry of a result file."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name, _, key = self.text.partition(":")
        path = root(self.env) / "data" / "weights" / f"{name}.safetensors"
        self.env.note_dependency(str(path))
        if name in RESULTS and not path.is_file():
            return missing(name), []
        try:
            value = weights_config(path)
            for part in key.split("."):
                if part not in value:
                    raise Mistake(f"no {part!r} in the header; it has {', '.join(value)}")
                value = value[part]
        except (Mistake, OSError) as error:
            logger.warning("weights %r: %s", self.text, error, location=self.get_location())
            return [nodes.literal("", self.text)], []
        if isinstance(value, str):
            return [nodes.Text(value)], []
        text = formatted(value) if isinstance(value, dict) else f"{value:,}"
        return numeral(text), []


# --- tables ---------------------------------------------------------------------------------


def table(
    head: Sequence[object], body: Sequence[Sequence[object]], caption: str | None = None
) -> nodes.Node:
    """A table in a box of its own that scrolls on narrow screens; cells are text or nodes.

    The caption stands outside that box, so that it is read without scrolling.
    """
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *[_row(row) for row in body])
    box = nodes.container("", nodes.table("", group), classes=["hw2-scroll"])
    return nodes.container("", *above(caption), box) if caption else box


def above(caption: str | None) -> list[nodes.Node]:
    """The caption that stands above a table or a picture."""
    text = nodes.paragraph("", "", nodes.Text(caption or ""))
    return [nodes.container("", text, classes=["hw2-caption"])] if caption else []


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


def commas(text: str, between: str = ",") -> list[str]:
    """The parts of an option's text."""
    return [part.strip() for part in text.split(between) if part.strip()]


def _rows(text: str) -> list[str]:
    return commas(text, ";")


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
    option_spec: ClassVar = {"rows": commas, "labels": commas, "columns": commas, "grey": commas,
                             "caption": str}  # fmt: skip

    def content_nodes(self) -> list[nodes.Node]:
        names = self.arguments[0].split()
        titles = self.options.get("columns", names)
        if len(titles) != len(names):
            raise Mistake(f"{len(titles)} columns named for {len(names)} result files")
        recorded = [read(self.env, name) for name in names]
        local = [read(self.env, name, local=True) for name in names]
        head, columns = [""], []
        for title, ours, here in zip(titles, recorded, local, strict=True):
            if here and ours and here["metrics"] == ours["metrics"]:
                here = None  # the run that was recorded
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
        grey = self.options.get("grey", [])
        if unknown := set(grey) - set(rows):
            raise Mistake(f"no row {', '.join(sorted(unknown))} that could be grey")
        body = []
        for row, label in zip(rows, labels, strict=True):
            cells = [[nodes.inline("", label)], *[self.cell(column, row) for column in columns]]
            for node in sum(cells, []) if row in grey else []:
                if isinstance(node, nodes.inline):
                    node["classes"].append("hw2-grey")
            body.append(cells)
        return [table(head, body, self.options.get("caption")), *answer]

    @staticmethod
    def cell(column: dict | None, row: str) -> list[nodes.Node]:
        entry = column["metrics"].get(row) if column else None
        text = "–" if entry is None else formatted(entry)
        return numeral(text)


class ScoresTable(Reported):
    """{scores-table} NAME : recorded metrics called "row: score", a row for each row."""

    required_arguments = 1
    option_spec: ClassVar = {
        "rows": _rows,
        "names": _rows,
        "groups": commas,
        "scores": commas,
        "titles": commas,
        "corner": str,
        "caption": str,
    }

    def content_nodes(self) -> list[nodes.Node]:
        name = self.arguments[0]
        result = read(self.env, name)
        if result is None:
            return [nodes.paragraph("", "", *missing(name))]
        # (group and comma or nothing, row, score) of each metric
        groups = [f"{group}, " for group in self.options.get("groups", [])] or [""]
        known = [(group, *key.removeprefix(group).rsplit(": ", 1)) for key in result["metrics"]
                 for group in groups if ": " in key and key.startswith(group)]  # fmt: skip
        rows = self.options.get("rows") or list(dict.fromkeys(row for _, row, _ in known))
        scores = self.options.get("scores") or list(dict.fromkeys(score for *_, score in known))
        columns = [(group, score) for group in groups for score in scores]
        titles = self.options.get("titles") or [group + score for group, score in columns]
        names = self.options.get("names") or rows
        for what, asked, given in (("titles", columns, titles), ("names", rows, names)):
            if len(asked) != len(given):
                raise Mistake(f"{len(given)} {what} for {len(asked)} {_OF[what]}")
        for what, part, asked in (("row", 1, rows), ("score", 2, scores)):
            for one in asked:
                if one not in {entry[part] for entry in known} and not not_run(result, one):
                    raise Mistake(f"{name}.json has no {what} {one!r}")
        body = [[label, *[ResultsTable.cell(result, f"{group}{row}: {score}")
                          for group, score in columns]]
                for row, label in zip(rows, names, strict=True)]  # fmt: skip
        head = [self.options.get("corner", ""), *titles]
        return [table(head, body, self.options.get("caption"))]


_OF = {"titles": "scores", "names": "rows"}


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
            blob, config = path.read_bytes(), weights_config(path)
            shown = {key: config[key] for key in WEIGHTS_SHOWN if key in config}
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
    app.add_role("weights", WeightsRole())
    app.add_directive("results-table", ResultsTable)
    app.add_directive("scores-table", ScoresTable)
    app.add_directive("provenance", Provenance)
    app.connect("builder-inited", check_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
