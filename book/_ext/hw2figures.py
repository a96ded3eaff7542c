"""Pictures of the recorded runs, at the sentences that need them.

    ```{recorded-figure} cfdg/grid
    :name: fig-grid
    :width: 80%
    :part: .03 .46 .52 .97
    A caption; without one, the notebook's own.
    ```

shows the picture of the cell of book/executed/cfdg.ipynb whose metadata say "label": "grid", as a
numbered figure. `part` shows a rectangle of it: left, top, right and bottom as shares of its width
and height. So nothing is drawn twice. A run, a cell or a picture that is missing is a warning,
hence an error under -W. {recorded-picture} gives the picture alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from hw2numbers import Mistake
from hw2report import Reported
from PIL import Image
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def recorded_cell(notebook: Path, label: str) -> dict:
    """The code cell of that label; Mistake that names the others where there is none."""
    if not notebook.is_file():
        raise Mistake(f"there is no {notebook.name} in {notebook.parent.name}/")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    labelled = {c["metadata"]["label"]: c for c in cells if "label" in c["metadata"]}
    if label not in labelled:
        raise Mistake(f"{notebook.name} has no cell {label!r}; there are {', '.join(labelled)}")
    return labelled[label]


def picture(cell: dict, part: tuple[float, ...] | None) -> tuple[bytes, str]:
    """The last picture of a cell, (content, "png" or "svg"); of a png, only that part of it."""
    shown = [output["data"] for output in cell["outputs"] if "data" in output]
    for data in reversed(shown):
        if "image/svg+xml" in data and not part:
            return "".join(data["image/svg+xml"]).encode(), "svg"
        if "image/png" in data:
            content = base64.b64decode("".join(data["image/png"]))
            return cropped(content, part) if part else content, "png"
    raise Mistake(f"the cell {cell['metadata']['label']!r} has no picture")


def cropped(content: bytes, part: tuple[float, ...]) -> bytes:
    """The rectangle `part` of a png."""
    whole, out = Image.open(io.BytesIO(content)), io.BytesIO()
    box = [round(share * side) for share, side in zip(part, 2 * whole.size, strict=True)]
    whole.crop(box).save(out, "png")
    return out.getvalue()


def rectangle(text: str) -> tuple[float, ...]:
    """Left, top, right, bottom, each from 0 to 1."""
    left, top, right, bottom = map(float, text.split())
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError("left < right and top < bottom, all from 0 to 1, are right")
    return left, top, right, bottom


class RecordedFigure(Reported):
    """{recorded-figure} RUN/LABEL: the picture of a labelled cell of an executed notebook."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"name": directives.unchanged, "part": rectangle,
                             "width": directives.length_or_percentage_or_unitless,
                             "alt": directives.unchanged}  # fmt: skip

    def content_nodes(self) -> list[nodes.Node]:
        cell = self.cell()
        figure = nodes.figure("", self.image(cell), self.caption(cell))
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure]

    def cell(self) -> dict:
        run, slash, label = self.arguments[0].partition("/")
        if not slash:
            raise Mistake("write RUN/LABEL, such as cfdg/grid")
        notebook = Path(self.env.srcdir) / "executed" / f"{run}.ipynb"
        self.env.note_dependency(str(notebook))
        return recorded_cell(notebook, label)

    def image(self, cell: dict) -> nodes.image:
        shown = {key: self.options[key] for key in ("width", "alt") if key in self.options}
        return nodes.image(uri=self.file(*picture(cell, self.options.get("part"))), **shown)

    def file(self, content: bytes, kind: str) -> str:
        """Where the picture is written for the builder to copy, as the page names it."""
        folder = Path(self.env.doctreedir).parent / "recorded"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(content).hexdigest()[:24]}.{kind}"
        path.write_bytes(content)
        page = Path(self.env.doc2path(self.env.docname)).parent
        return Path(os.path.relpath(path, page)).as_posix()

    def caption(self, cell: dict) -> nodes.caption:
        """The directive's content, else the caption in the cell's metadata."""
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        text = self.content or StringList([figure.get("caption", "")], source=self.arguments[0])
        if not any(text):
            raise Mistake(f"{self.arguments[0]} has no caption")
        box = nodes.Element()
        self.state.nested_parse(text, self.content_offset, box)
        return nodes.caption("", "", *box[0].children)


class RecordedPicture(RecordedFigure):
    """{recorded-picture} RUN/LABEL: the picture alone, for cards; `alt` says what it shows."""

    has_content = False

    def content_nodes(self) -> list[nodes.Node]:
        if "alt" not in self.options:
            raise Mistake(f"{self.arguments[0]} has no text for those who can't see it; add :alt:")
        return [self.image(self.cell())]


def number_by_page(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Figures and tables count from 1 on each page, not through the book.

    Sphinx numbers them at the same event; this comes after it.
    """
    for of_page in env.toc_fignumbers.values():
        for kind, numbers in of_page.items():
            of_page[kind] = {name: (k,) for k, name in enumerate(numbers, 1)}
    return []  # no page is to be written for this alone


def setup(app: Sphinx) -> dict:
    app.connect("env-get-updated", number_by_page, priority=900)
    app.add_directive("recorded-figure", RecordedFigure)
    app.add_directive("recorded-picture", RecordedPicture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
