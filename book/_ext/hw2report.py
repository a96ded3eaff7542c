"""Numbers of the book come from result files only, so that no sentence can go stale.

- role       {result}`dann-svhn; dann`              46.5 % [44.1, 48.9]
             {result}`dann-svhn; dann; mean`        46.5 %  (or low, high, n, unit, values)
             {result}`digits-guidance; samples; recall; p_drop=0.1 w=1.5`
- role       {report}`guided`              99.5 %, of the report being reproduced (data/report.json)
- role       {weights}`digits:images_seen`  300,800      (of data/weights/digits.safetensors)
             {weights}`dann-svhn:settings.steps`  of an entry within an entry
- directive  {results-table} NAME ...      a table; each line of its content is a row of it,
                                           ROW; SCORE; key=value || LABEL
             options: scores (columns of one file: SCORE key=value, ...; else the columns are the
             files, with this machine's values beside the recorded ones), titles ("to SVHN /
             accuracy": two lines), corner (title of the first column), caption (numbers the
             table), name, grey (labels of rows that stand there for comparison only)
- directive  {provenance}                  what made each result file and each weights file

Recorded results lie in data/results, this machine's in HW2_BUILD/results or build/results. A result
that nobody has recorded yet reads "not recorded yet: run ..."; a broken file, an unknown name or
metric and a missing executed notebook are warnings, hence errors under -W.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from hw2access import folded, scrolled
from hw2numbers import (
    FIELDS,
    NOTEBOOKS,
    RESULTS,
    Mistake,
    entry,
    fields,
    formatted,
    missing,
    number,
    read,
    root,
    settings,
    weights_config,
    with_unit,
)
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from hw2lib.io import results

logger = logging.getLogger(__name__)

# Of a weights file's configuration; the rest is in the file's header.
WEIGHTS_SHOWN = ("kind", "preset", "architecture", "schedule", "prediction", "min_snr", "log_snr",
                 "p_drop", "domain", "target", "row", "seeds", "seed", "steps", "batch_size",
                 "images_seen", "seconds", "device", "source")  # fmt: skip


def numeral(text: str) -> list[nodes.Node]:
    """A number that no line breaks, and its interval, which may stand below in a narrow column."""
    if ", " in text and "[" not in text:  # several values: lines may break between them
        parts = [numeral(part) for part in re.split(r"(?<=,) ", text)]
        return [node for part in parts for node in (*part, nodes.Text(" "))][:-1]
    value, bracket, interval = text.partition(" [")
    answer: list[nodes.Node] = [nodes.inline("", value, classes=["hw2-number"])]
    if bracket:
        answer += [nodes.Text(" "), nodes.inline("", f"[{interval}", classes=["hw2-number"])]
    return answer


class ResultRole(SphinxRole):
    """{result}`NAME; ROW; SCORE; key=value; FIELD`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            return self.number(), []
        except Mistake as mistake:
            logger.warning("result %r: %s", self.text, mistake, location=self.get_location())
            return [nodes.literal("", self.text)], []

    def number(self) -> list[nodes.Node]:
        name, bar, rest = self.text.partition("; ")
        if not bar:
            raise Mistake("write NAME; ROW, and SCORE, key=value and FIELD where they are needed")
        result = read(self.env, name)
        row, score, setting, field = fields(rest)
        found = result and entry(result, row, score or "accuracy", setting)
        return numeral(formatted(found, field)) if found else missing(name)


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
        if isinstance(value, dict):
            return numeral(formatted(value)), []
        return numeral(number(value, "") if isinstance(value, float) else f"{value:,}"), []


# --- tables ---------------------------------------------------------------------------------


def table(
    head: Sequence[str], body: Sequence[Sequence[object]], caption: str | None = None
) -> nodes.table:
    """A table, numbered where it has a caption; cells are text or nodes.

    Titles "TO SVHN / RECALL", "TO SVHN / ACCURACY" of columns side by side share a line above.
    """
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", *_headers(head))
    group += nodes.tbody("", *[_row(row) for row in body])
    title = [nodes.title(caption, caption)] if caption else []
    return nodes.table("", *title, group)


def _headers(head: Sequence[str]) -> list[nodes.row]:
    """One header line, or two where a title has a part above the other."""
    parts = [title.rpartition(" / ")[::2] for title in head]
    if not any(above for above, _ in parts):
        return [_row(head)]
    lines = nodes.row(), nodes.row()
    for above, columns in groupby(parts, key=itemgetter(0)):
        below = [title for _, title in columns]
        if above:
            lines[0].append(_entry(above, morecols=len(below) - 1))
            lines[1].extend(map(_entry, below))
        else:
            lines[0].extend(_entry(title, morerows=1) for title in below)
    return list(lines)


def _row(cells: Sequence[object]) -> nodes.row:
    return nodes.row("", *map(_entry, cells))


def _entry(cell: object, **span: int) -> nodes.entry:
    content = cell if isinstance(cell, list) else [nodes.Text(str(cell))]
    return nodes.entry("", nodes.paragraph("", "", *content), **span)


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


def rows_of(directive: SphinxDirective) -> list[tuple[str, str | None, dict, str]]:
    """(row, score or None, setting, label) of each line of a directive's content."""
    found = []
    for line in filter(str.strip, directive.content):
        name, _, label = line.partition(" || ")
        row, score, setting, _ = fields(name)
        found.append((row, score, setting, label or row))
    return found


class Reported(SphinxDirective):
    """A directive whose mistakes are warnings at its own line."""

    def run(self) -> list[nodes.Node]:
        try:
            return self.content_nodes()
        except Mistake as mistake:
            logger.warning("%s: %s", self.name, mistake, location=self.get_location())
            return []

    def figure(self, html: str) -> nodes.figure:
        """A drawing with the options caption and name, by which it is numbered."""
        caption = self.options.get("caption", "")
        figure = nodes.figure("", nodes.raw("", html, format="html"),
                              nodes.caption(caption, caption))  # fmt: skip
        self.set_source_info(figure)
        self.add_name(figure)
        return figure


class ResultsTable(Reported):
    """{results-table} NAME ... : records, a row for each line, a column for each file or score."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {"scores": commas, "titles": commas, "grey": commas, "corner": str,
                             "caption": str, "name": str}  # fmt: skip

    def content_nodes(self) -> list[nodes.Node]:
        names, scores = self.arguments[0].split(), self.options.get("scores", [])
        titles = self.options.get("titles", scores or names)
        if len(titles) != len(scores or names):
            raise Mistake(f"{len(titles)} titles for {len(scores or names)} columns")
        recorded = {name: read(self.env, name) for name in names}
        answer = [nodes.paragraph("", "", nodes.Text(f"{title}: "), *missing(name))
                  for name, title in zip(names, titles, strict=False)
                  if recorded[name] is None]  # fmt: skip
        columns = self.by_score(recorded[names[0]]) if scores else self.by_file(recorded)
        if not columns:
            return answer
        rows, grey = rows_of(self), self.options.get("grey", [])
        if not rows:
            raise Mistake("no rows; each line of the content is one, ROW || LABEL")
        if unknown := set(grey) - {label for *_, label in rows}:
            raise Mistake(f"no row {', '.join(sorted(unknown))} that could be grey")
        body, empty = [], {title for title, *_ in columns} if scores else set()
        for row, score, setting, label in rows:
            cells = [cell(result, row, score or of or "accuracy", {**setting, **more})
                     for _, result, of, more in columns]  # fmt: skip
            if not any(cells):
                raise Mistake(f"no record for the row {label!r}")
            empty -= {title for (title, *_), one in zip(columns, cells, strict=True) if one}
            line = [[nodes.inline("", label)], *[one or numeral("–") for one in cells]]
            for node in sum(line, []) if label in grey else []:
                if isinstance(node, nodes.inline):
                    node["classes"].append("hw2-grey")
            body.append(line)
        if empty:
            raise Mistake(f"no record for the column {', '.join(sorted(empty))}")
        head = [self.options.get("corner", "measured"), *[title for title, *_ in columns]]
        made = table(head, body, self.options.get("caption"))
        self.add_name(made)
        return [scrolled(made), *answer]

    def by_score(self, result: dict | None) -> list[tuple[str, dict, str, dict]]:
        """(title, file, score, setting) of each column."""
        columns = [score.partition(" ") for score in self.options["scores"]]
        titles = self.options.get("titles", self.options["scores"])
        return [
            (title, result, score, settings(more))
            for title, (score, _, more) in zip(titles, columns, strict=True) if result
        ]  # fmt: skip

    def by_file(self, recorded: dict[str, dict | None]) -> list[tuple[str, dict, None, dict]]:
        """The same for files, and beside each this machine's, unless it is the recorded run."""
        columns = []
        for title, (name, ours) in zip(
            self.options.get("titles", recorded), recorded.items(), strict=True
        ):
            here = read(self.env, name, local=True)
            if here and ours and here["records"] == ours["records"]:
                here = None
            if ours:
                columns.append((f"{title}, recorded" if here else title, ours, None, {}))
            if here:
                what = f"{here['preset']} preset, {here['data']['source']} data"
                columns.append((f"{title}, this machine ({what})", here, None, {}))
        return columns


def cell(result: dict, row: str, score: str, setting: dict) -> list[nodes.Node] | None:
    """The number in a table, None where there is no such record; "n" in place of a score is that
    of the accuracy."""
    field = score if score in FIELDS else None
    score = "accuracy" if field else score
    if not results.select(result["records"], row, score, **setting):
        return numeral("–") if row in result.get("not_run", []) else None
    return numeral(formatted(entry(result, row, score, setting), field))


class Provenance(Reported):
    """{provenance}: what made each result file, and each weights file in data/weights."""

    def content_nodes(self) -> list[nodes.Node]:
        answer: list[nodes.Node] = []
        for name, command in RESULTS.items():
            answer.append(nodes.rubric("", f"{name}.json"))
            result = read(self.env, name)
            if result is None:
                answer.append(nodes.paragraph("", "", *missing(name)))
                continue
            try:
                said, rows = self.summary(result), self.rows(result)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise Mistake(f"{name}.json lacks a field: {error!r}") from None
            made = scrolled(table(["field", "recorded"], rows, f"{name}.json"))
            answer += [nodes.literal_block(command, command, language="sh"),
                       nodes.paragraph("", said),
                       *folded("Files, settings, versions and records", made)]  # fmt: skip
        weights = self.weights()
        if weights:
            head = ["file", "MiB", "sha256", "configuration"]
            answer.append(scrolled(table(head, weights, "Shipped weights (data/weights)")))
        return answer

    def summary(self, result: dict) -> str:
        seeds, took = ", ".join(map(str, result["seeds"])), float(result["seconds"])
        source = result["data"]["source"].replace("none", "no")
        device = re.sub(r"\b1 threads", "1 thread", result["device"])
        made = f"{source} data, preset {result['preset']}, seeds {seeds}"
        where = ", ".join(filter(None, [device, result.get("precision")]))
        return f"{made}; {took:,.0f} s on {where}; {len(result['records'])} records."

    def rows(self, result: dict) -> list[list[object]]:
        files: list[nodes.Node] = []
        for file, digest in [*result["data"]["sha256"].items(), *result["weights"].items()]:
            files += [nodes.literal("", f"{file} {digest[:12]}"), nodes.Text(" ")]
        versions = ", ".join(f"{key} {value}" for key, value in result["versions"].items())
        more = [
            [key.replace("_", " "), readable(value)]
            for key, value in [*result["data"].items(), *result["settings"].items()]
            if key not in ("source", "sha256")
        ]
        return [
            ["files, sha256", files or "none"],
            *more,
            ["versions", versions],
            ["commit", [nodes.literal("", result["commit"])]],
            ["records", measured(result["records"])],
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


def measured(records: Sequence[dict]) -> str:
    """Which scores each row has, and of how many images."""
    scores: dict[str, dict[str, None]] = {}
    for one in records:
        scores.setdefault(one["row"], {})[f"{one['score']} (n = {one['n']:,})"] = None
    return "; ".join(f"{row}: {', '.join(found)}" for row, found in scores.items())


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
    app.add_directive("provenance", Provenance)
    app.connect("builder-inited", check_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
