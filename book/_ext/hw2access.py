"""What screen readers, keyboards and other languages need, where the theme leaves it out.

- A figure without alt text gets its caption as that.
- What is wider than a narrow screen scrolls in a box that the keyboard can reach: the tables of
  this book, printed tables of the notebooks, formulas (hw2math).
- Of a cell that shows a table and a picture, the picture alone is the figure with the caption.
- A line that is printed several times in a row is shown once.
- References are a list with items.
- A page whose front matter names a `lang` is marked as being in that language.
- Runs of one notebook have the titles that the table of contents gives them.
"""

from __future__ import annotations

import re
from html import escape
from itertools import groupby
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


class ScrollBox(nodes.container):
    """Its content scrolls sideways where it is too wide."""


def scrolled(*content: nodes.Node) -> ScrollBox:
    """A ScrollBox with that content."""
    return ScrollBox("", *content, classes=["hw2-scroll"])


def folded(title: str, *content: nodes.Node) -> list[nodes.Node]:
    """That content behind a title that opens it."""
    opening = f"<details class='hw2-folded'><summary>{escape(title)}</summary>"
    return [nodes.raw("", opening, format="html"), *content,
            nodes.raw("", "</details>", format="html")]  # fmt: skip


def visit_scroll_box(self: HTML5Translator, node: ScrollBox) -> None:
    self.body.append(self.starttag(node, "div", tabindex="0"))


def depart_scroll_box(self: HTML5Translator, node: ScrollBox) -> None:
    self.body.append("</div>\n")


def visit_citation(self: HTML5Translator, node: nodes.citation) -> None:
    """docutils' own, but for the role: ARIA has items of a list, and no entries any more."""
    HTML5Translator.visit_citation(self, node)
    self.body[-1] = self.body[-1].replace('role="doc-biblioentry"', 'role="listitem"')


def depart_citation(self: HTML5Translator, node: nodes.citation) -> None:
    HTML5Translator.depart_citation(self, node)


def describe(app: Sphinx, doctree: nodes.document) -> None:
    """Alt texts, boxes around the tables that notebooks print, and no line printed twice."""
    for printed in doctree.findall(nodes.literal_block):
        if "output" in printed["classes"]:
            text = "\n".join(line for line, _ in groupby(printed.rawsource.splitlines()))
            printed.rawsource, printed.children = text, [nodes.Text(text)]  # alike: highlighted
    for figure in doctree.findall(nodes.figure):
        captions = list(figure.findall(nodes.caption))
        for image in figure.findall(nodes.image):
            if captions and not image.get("alt"):
                image["alt"] = captions[0].astext()
    for output in list(doctree.findall(nodes.raw)):
        if "text_html" in output["classes"]:
            above = output.parent
            while above is not None and not isinstance(above, nodes.figure):
                above = above.parent
            shown = above or output
            shown.parent.replace(shown, scrolled(output))


def title_as_listed(app: Sphinx, doctree: nodes.document) -> None:
    """The page's title becomes the one that the table of contents names for it, if any."""
    toc = (Path(app.srcdir) / "_toc.yml").read_text(encoding="utf-8")
    listed = dict(re.findall(r'file: (\S+)\n\s+title: "(.+)"', toc))
    for title in list(doctree.findall(nodes.title))[:1]:
        if name := listed.get(app.env.docname):
            title.children = [nodes.Text(name)]


def in_its_language(app: Sphinx, page: str, template: str, context: dict, _: object) -> None:
    """Mark the text of a page that names its language: for fonts and screen readers."""
    language = app.env.metadata.get(page, {}).get("lang")
    if language and "body" in context:
        context["body"] = f'<div lang="{language}">{context["body"]}</div>'


def setup(app: Sphinx) -> dict:
    app.add_node(ScrollBox, html=(visit_scroll_box, depart_scroll_box))
    app.add_node(nodes.citation, override=True, html=(visit_citation, depart_citation))
    app.connect("doctree-read", describe)
    app.connect("doctree-read", title_as_listed, priority=100)  # before titles are collected
    app.connect("html-page-context", in_its_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
