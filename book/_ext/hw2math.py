"""Formulas as MathML: browsers draw it by themselves, without a script and without a network.

latex2mathml turns TeX into MathML when the book is built. Good spacing needs an OpenType font
with a MATH table, which few Linux machines have; the package ziamath ships STIX Two Math (SIL
Open Font License), and the build copies it from there beside the pages.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

FONT = "STIXTwoMath-Regular.ttf"
SPACING = (  # where latex2mathml's spaces are not TeX's
    (r"<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>"),  # "is distributed as" is a relation
    (r"<mo>&#x02205;</mo>", "<mi>&#x02205;</mi>"),  # the empty set is a thing
    (r"(?<!<msup>)(<mi>(?:log|exp|sin|cos)</mi>)(?=<m[in])", r'\1<mspace width="0.167em"/>'),
    # a minus after a relation or an opening bracket is a sign
    (r"(<mo[^>]*>(?!&#x00029;|\]|&#x02016;)[^<]*</mo>)<mo>&#x02212;</mo>",
     r'\1<mo form="prefix">&#x02212;</mo>'),
)  # fmt: skip
CLOSING = re.compile(r"[,.;:?!)\]’”。，、；：？）」]+")  # no line begins with one
logger = logging.getLogger(__name__)


def to_mathml(tex: str, display: bool = False) -> str:
    """The <math> element of a TeX formula. Raises ValueError naming what is not understood."""
    tex = re.sub(r"\\(begin|end)\{(aligned|split|gathered)\}", r"\\\1{align*}", tex.strip())
    tex = re.sub(r"(?<!\\left)\\lVert", r"\\left\\lVert", tex)  # tells left from right
    tex = re.sub(r"(?<!\\right)\\rVert", r"\\right\\rVert", tex)
    if len(re.findall(r"(?<!\\)\{", tex)) != len(re.findall(r"(?<!\\)\}", tex)):
        raise ValueError("braces do not match")
    try:
        mathml = convert(tex, display="block" if display else "inline")
    except Exception as error:  # noqa: BLE001 - it has a dozen, without a common base
        raise ValueError(f"{type(error).__name__} {error}".strip()) from None
    # What it does not know it copies into the output, backslash and all.
    unknown = re.findall(r"\\[A-Za-z]+", mathml)
    if unknown:
        raise ValueError(f"unknown command {', '.join(unknown)}")
    for pattern, better in SPACING:
        mathml = re.sub(pattern, better, mathml)
    return mathml


def _append(self, node: nodes.Element, display: bool) -> None:
    tex = node.astext()
    try:
        mathml = to_mathml(tex, display)
    except ValueError as error:
        logger.warning("formula %r: %s", tex, error, location=node)
        mathml = f"<code>{self.encode(tex)}</code>"
    self.body.append(mathml)


def visit_math(self, node: nodes.math) -> None:
    """Inline formula $...$."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    _append(self, node, display=False)
    self.body.append("</span>")
    raise nodes.SkipNode


def visit_math_block(self, node: nodes.math_block) -> None:
    """Displayed formula $$...$$, with its number if it has a label."""
    box = self.starttag(node, "div", CLASS="math notranslate nohighlight", tabindex="0")
    self.body.append(box)  # a wide one scrolls, by the keyboard too
    if node.get("number"):
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    _append(self, node, display=True)
    self.body.append("</div>\n")
    raise nodes.SkipNode


def keep_closing(app: Sphinx, doctree: nodes.document) -> None:
    """A comma or bracket after an inline formula stays on its line: browsers may break there."""
    for formula in list(doctree.findall(nodes.math)):
        line, place = formula.parent, formula.parent.index(formula) + 1
        after = line[place] if place < len(line) else None
        if isinstance(after, nodes.Text) and (closing := CLOSING.match(after)):
            line[place] = nodes.Text(after[closing.end() :])
            kept = nodes.inline("", "", classes=["hw2-kept"])
            line.replace(formula, kept)
            kept += [formula, nodes.Text(closing[0])]


def copy_font(app: Sphinx, error: Exception | None) -> None:
    """Put the font where _static/custom.css looks for it."""
    if error or app.builder.format != "html":
        return
    spec = find_spec("ziamath")
    source = Path(spec.origin).parent / "fonts" / FONT if spec and spec.origin else None
    if source is None or not source.is_file():
        raise ExtensionError(f"font {FONT} is missing: install ziamath from requirements.lock")
    shutil.copyfile(source, Path(app.outdir) / "_static" / FONT)


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("doctree-read", keep_closing)
    app.connect("build-finished", copy_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
