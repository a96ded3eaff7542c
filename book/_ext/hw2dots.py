"""Accuracies as a picture: dots with intervals, drawn in HTML from the result files.

- directive  {accuracy-dots} NAME ...   one panel a file; each line of the content is one of the
             options: titles, caption,  picture, ROW || LABEL, as in results-table; diamonds are
             name                       values of data/report.json called "PREFIX ROW", PREFIX
                                        being what follows the last "-" of the file's name;
                                        where it has caption and name, it is a numbered figure

It needs no picture file, so it follows the numbers, the page's width and its dark mode.
"""

from __future__ import annotations

import json
from html import escape
from typing import ClassVar

from docutils import nodes
from hw2numbers import Mistake, entry, missing, number, read, root
from hw2report import Reported, commas, rows_of
from sphinx.application import Sphinx

TICKS = (0, 25, 50, 75, 100)


class AccuracyDots(Reported):
    """{accuracy-dots} NAME ... : recorded accuracies, with what others report beside them."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {"titles": commas, "caption": str, "name": str}

    def content_nodes(self) -> list[nodes.Node]:
        names, rows = self.arguments[0].split(), rows_of(self)
        titles = self.options.get("titles", names)
        if not rows or len(titles) != len(names):
            raise Mistake(
                f"{len(rows)} rows, {len(names)} files, {len(titles)} titles: one title a file "
                "and a row or more are right"
            )
        path = root(self.env) / "data" / "report.json"
        self.env.note_dependency(str(path))
        reported = json.loads(path.read_text())["values"] if path.is_file() else {}
        panels, said, answer = [], [], []
        for name, title in zip(names, titles, strict=True):
            result = read(self.env, name)
            if result is None:
                answer.append(nodes.paragraph("", "", nodes.Text(f"{title}: "), *missing(name)))
                continue
            lines = []
            for row, _, setting, label in rows:
                found = entry(result, row, "accuracy", setting)
                if found is None:
                    continue
                other = reported.get(f"{name.rpartition('-')[2]} {row}")
                lines.append((label, found, other))
                said.append(f"{title}, {label} {number(found['mean'], 'accuracy')} %")
            panels.append(panel(title, lines))
        if panels:
            html = (f'<div class="hw2-dots" role="img" aria-label="{escape("; ".join(said))}">'
                    f"{''.join(panels)}</div>")  # fmt: skip
            answer = [self.figure(html), *answer]
        return answer


def panel(title: str, lines: list[tuple[str, dict, float | None]]) -> str:
    """One file's panel: lines of (label, entry, what others report), and the scale."""
    body = "".join(f"<span>{escape(label)}</span>{track(entry, other)}"
                   for label, entry, other in lines)  # fmt: skip
    scale = "".join(f'<i style="left:{tick}%">{tick}</i>' for tick in TICKS)
    return (f'<div class="hw2-panel"><b>{escape(title)}</b>{body}<span></span>'
            f'<span class="hw2-scale">{scale}</span></div>')  # fmt: skip


def track(entry: dict, other: float | None) -> str:
    """A line from 0 to 100 % with interval and dot, and a diamond for what others report."""
    mean = 100 * entry["mean"]
    low, high = (mean if entry[end] is None else 100 * entry[end] for end in ("low", "high"))
    marks = (f'<i class="hw2-interval" style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
             f'<i class="hw2-dot" style="left:{mean:.2f}%"></i>')  # fmt: skip
    if other is not None:
        marks += f'<i class="hw2-diamond" style="left:{100 * other:.2f}%"></i>'
    return f'<span class="hw2-track">{marks}</span>'


def setup(app: Sphinx) -> dict:
    app.add_directive("accuracy-dots", AccuracyDots)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
