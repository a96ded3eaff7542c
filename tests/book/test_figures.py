"""Pictures in the book: those of recorded runs, and accuracies as dots."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import hw2access
import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document
from helpers.bookproject import NORM, made, result_file
from PIL import Image

# --- pictures of recorded runs ----------------------------------------------------------------


def recorded_run(project, label="grid", caption="A *caption* of the run."):
    """An executed notebook with one picture, red on the left and green on the right."""
    image, content = Image.new("RGB", (40, 20), (255, 0, 0)), io.BytesIO()
    image.paste((0, 255, 0), (20, 0, 40, 20))
    image.save(content, "png")
    data = {"image/png": base64.b64encode(content.getvalue()).decode()}
    cell = nbformat.v4.new_code_cell(
        "draw()", outputs=[nbformat.v4.new_output("display_data", data)]
    )
    cell.metadata.update(label=label, mystnb={"figure": {"caption": caption}})
    folder = project.top / "book" / "executed"
    folder.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "cfdg.ipynb")
    return content.getvalue()


def shown(page) -> list[Path]:
    names = re.findall(r'src="(_images/[^"]+)"', page.html)
    return [page.top / "out" / name for name in names]


def test_a_recorded_figure_is_the_runs_picture_with_its_caption_number_and_alt_text(project):
    content = recorded_run(project)
    page = project.build(
        "See {numref}`fig-a`.\n\n```{recorded-figure} cfdg/grid\n:name: fig-a\n```\n"
    )
    assert not page.warnings
    assert [file.read_bytes() for file in shown(page)] == [content]
    assert "See Fig. 1." in page.text and "Fig. 1 A caption of the run." in page.text
    assert 'alt="A caption of the run."' in page.html


def test_a_recorded_figure_may_be_a_part_with_words_of_its_own(project):
    recorded_run(project)
    page = project.build(
        "```{recorded-figure} cfdg/grid\n:part: .5 0 1 .5\n\nThe **right** side.\n```\n"
    )
    assert not page.warnings and "The right side." in page.text
    image = Image.open(shown(page)[0])
    assert image.size == (20, 10) and image.getcolors() == [(200, (0, 255, 0))]


@pytest.mark.parametrize(
    ("directive", "warning"),
    [("cfdg", "write RUN/LABEL"),
     ("ddim/grid", "there is no ddim.ipynb in executed/"),
     ("cfdg/mesh", "cfdg.ipynb has no cell 'mesh'; there are grid"),
     ("cfdg/grid\n:part: .5 0 .4 1", "left < right and top < bottom")],
)  # fmt: skip
def test_a_figure_that_is_not_there_is_a_warning(project, directive, warning):
    recorded_run(project)
    assert warning in project.build(f"```{{recorded-figure}} {directive}\n```\n").warnings


def test_figures_count_from_one_on_each_page(project):
    recorded_run(project)
    figure = "```{recorded-figure} cfdg/grid\n```\n"
    (project.top / "book" / "second.md").write_text(f"# Second\n\n{figure}")
    page = project.build(f"```{{toctree}}\nsecond\n```\n\n{figure}")
    second = (project.top / "out" / "second.html").read_text()
    assert not page.warnings and "Fig. 1 " in page.html and "Fig. 1 " in second


def test_a_recorded_picture_has_no_caption_and_a_text_for_those_who_cannot_see_it(project):
    content = recorded_run(project)
    page = project.build("```{recorded-picture} cfdg/grid\n:alt: Red and green.\n```\n")
    assert not page.warnings and 'alt="Red and green."' in page.html
    assert [file.read_bytes() for file in shown(page)] == [content] and "Fig." not in page.text
    assert "add :alt:" in project.build("```{recorded-picture} cfdg/grid\n```\n").warnings


def test_a_figure_without_picture_or_caption_is_a_warning(project):
    recorded_run(project, caption="")
    page = "```{recorded-figure} cfdg/grid\n```\n"
    assert "cfdg/grid has no caption" in project.build(page).warnings
    run = project.top / "book" / "executed" / "cfdg.ipynb"
    run.write_text(run.read_text().replace("image/png", "text/plain"))
    assert "the cell 'grid' has no picture" in project.again().warnings


def test_a_new_recording_is_shown_without_being_asked_for(project):
    recorded_run(project)
    first = shown(project.build("```{recorded-figure} cfdg/grid\n```\n"))
    run = project.top / "book" / "executed" / "cfdg.ipynb"
    run.write_text(run.read_text().replace("A *caption*", "Another caption"))
    page = project.again()
    assert "Another caption of the run." in page.text and shown(page) == first


def test_of_a_cells_table_and_picture_the_picture_alone_is_a_figure():
    """The caption of a cell belongs to each of its outputs until then."""
    table = nodes.raw("", "<table></table>", format="html", classes=["output", "text_html"])
    caption = nodes.caption("", "Distances.")
    page = new_document("page")
    forms = nodes.container("", table)  # of one output: as html, as text
    page += [nodes.figure("", forms, caption), nodes.figure("", nodes.image(), caption.deepcopy())]
    hw2access.describe(None, page)
    assert [type(node).__name__ for node in page.children] == ["ScrollBox", "figure"]
    assert [image["alt"] for image in page.findall(nodes.image)] == ["Distances."]


def test_a_line_printed_twice_is_shown_once():
    page = new_document("page")
    page += nodes.literal_block(text := "a\na\nb\na\n", text, classes=["output", "stream"])
    page += nodes.literal_block("", "a\na")  # code
    hw2access.describe(None, page)
    assert [block.astext() for block in page.children] == ["a\nb\na", "a\na"]


# --- dots ---------------------------------------------------------------------------------------


def test_accuracies_are_drawn_as_dots_with_the_reports_beside_them(project):
    result_file(project.recorded, made("dann"), made("norm", NORM, "norm"))
    (project.top / "data" / "report.json").write_text('{"values": {"svhn dann": 0.25}}')
    dots = "```{accuracy-dots} dann-svhn dann-usps\n:titles: to S, to U\n:caption: Dots.\n"
    dots = f"See {{numref}}`dots`.\n\n{dots}:name: dots\n\n"
    page = project.build(dots + "dann || ours\n```\n")
    assert 'aria-label="to S, ours 46.5 %"' in page.html
    assert 'class="hw2-interval" style="left:44.10%;width:4.80%"' in page.html
    assert 'class="hw2-dot" style="left:46.50%"' in page.html
    assert 'class="hw2-diamond" style="left:25.00%"' in page.html
    assert "Dots." in page.text and "to U: not recorded yet" in page.text
    assert "See Fig. 1." in page.text and "Fig. 1 Dots." in page.text
    assert not page.warnings
    assert "norm, accuracy is no record" in project.build(dots + "norm\n```\n").warnings
    assert "0 rows, 2 files" in project.build(dots + "```\n").warnings
