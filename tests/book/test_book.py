"""The extensions of the book on small projects: numbers, tables, provenance, formulas."""

from __future__ import annotations

import re

import hw2math
import hw2report
import pytest
import torch
from helpers.bookproject import ACCURACY, NORM, made, result_file

from hw2lib.io.weights import save_weights

# --- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "unit", "text"),
    [(20.0, "number", "20"), (1234.5, "number", "1,234"),
     (0.4651, "accuracy", "46.5"), (1.0, "accuracy", "100.0"), (0, "distance", "0"),
     (0.70711, "norm", "0.707"), (2.846, "distance", "2.85"), (0.00123456, "distance", "0.00123"),
     (12.345, "s", "12.3"), (0.9999, "norm", "1.00"), (-2.5, "nats", "-2.50"),
     (12345, "", "12,345"), (999.9, "", "1,000")],
)  # fmt: skip
def test_numbers_have_three_digits_and_accuracies_are_per_cent(x, unit, text):
    assert hw2report.number(x, unit) == text


def test_a_metric_is_mean_and_interval():
    assert hw2report.formatted(ACCURACY) == "46.5 % [44.1, 48.9]"
    assert hw2report.formatted(ACCURACY, "mean") == "46.5 %"
    assert hw2report.formatted(ACCURACY, "values") == "46.0, 47.0 %"
    assert hw2report.formatted(ACCURACY, "n") == "1,600"
    assert hw2report.formatted(NORM) == "0.707"  # one seed: no interval
    with pytest.raises(hw2report.Mistake, match="single seed"):
        hw2report.formatted(NORM, "low")
    with pytest.raises(hw2report.Mistake, match="unknown field"):
        hw2report.formatted(ACCURACY, "median")


# --- role and directives --------------------------------------------------------------------


def test_the_role_reads_the_recorded_result(project):
    result_file(project.recorded)
    page = project.build("A {result}`dann-svhn; dann` B {result}`dann-svhn; dann; mean` C")
    assert "A 46.5 % [44.1, 48.9] B 46.5 % C" in page.text
    assert not page.warnings


def test_the_role_selects_by_score_and_settings(project):
    strong = {**ACCURACY, "mean": 0.47}
    result_file(
        project.recorded, made("samples", NORM, "norm", w=0), made("samples", w=0),
        made("samples", strong, w=2), made("samples", strong, w=2, shares="as here"),
    )  # fmt: skip
    role = "A {result}`dann-svhn; samples; norm` B {result}`dann-svhn; samples; w=2; mean` C"
    assert "A 0.707 B 47.0 % C" in project.build(role).text and not project.warnings
    role = "A {result}`dann-svhn; samples; w=2 shares='as here'; n` B"
    assert "A 1,600 B" in project.build(role).text and not project.warnings
    several = project.build("{result}`dann-svhn; samples`").warnings
    assert "not one record but several; there are samples, accuracy, w=0; samples" in several


def test_a_row_that_is_planned_says_so(project):
    result_file(project.recorded, not_run=["dann"])
    result_file(project.recorded, made("source_only"), not_run=["dann"])
    assert "not recorded yet" in project.build("{result}`dann-svhn; dann`").text
    assert not project.warnings


def test_the_report_role_reads_what_the_report_gives(project):
    (project.top / "data").mkdir()
    (project.top / "data" / "report.json").write_text('{"values": {"usps dann": 0.8272}}')
    page = project.build("A {report}`usps dann` B")
    assert "A 82.7 % B" in page.text and not page.warnings
    assert "'adan': unknown; choose one of usps dann" in project.build("{report}`adan`").warnings


def test_the_weights_role_reads_the_header(project):
    config = {"kind": "judge", "steps": 2200, "test_accuracy": ACCURACY}
    folder = project.top / "data" / "weights"
    save_weights(folder / "judge.safetensors", {"w": torch.zeros(1)}, config)
    page = project.build("A {weights}`judge:steps` B {weights}`judge:test_accuracy` C")
    assert "A 2,200 B 46.5 % [44.1, 48.9] C" in page.text and not page.warnings
    assert "no 'step' in the header" in project.build("{weights}`judge:step`").warnings
    assert "No such file" in project.build("{weights}`jury:steps`").warnings
    assert "not recorded yet: run papermill" in project.build("{weights}`dann-usps:seed`").text
    save_weights(folder / "judge.safetensors", {"w": torch.zeros(1)},
                 {"kind": "judge", "settings": {"steps": 9}, "device": "a GPU"})  # fmt: skip
    assert "on a GPU." in project.build("on {weights}`judge:device`.").text
    assert "A 9 B" in project.build("A {weights}`judge:settings.steps` B").text
    assert "no 'step' in the header" in project.build("{weights}`judge:settings.step`").warnings
    (folder / "judge.safetensors").write_bytes(b"12345678 no JSON")
    assert "no safetensors file" in project.build("{weights}`judge:steps`").warnings


def test_a_result_not_recorded_yet_says_so_and_how_to_make_it(project):
    page = project.build("{result}`digits; guided`\n\n```{results-table} digits\n```\n")
    command = hw2report.RESULTS["digits"]
    assert page.text.count(f"not recorded yet: run {command}") == 2
    assert not page.warnings


def test_a_page_follows_its_result_files(project):
    assert "not recorded yet" in project.build("{result}`dann-svhn; dann`").text
    result_file(project.recorded)
    assert "46.5 %" in project.again().text


@pytest.mark.parametrize(
    ("page", "warning"),
    [("{result}`dann-svnh; dann`", "unknown result 'dann-svnh'; choose one of digits"),
     ("{result}`dann-svhn; adan`", "dann-svhn.json: adan, accuracy is no record; there are dann"),
     ("{result}`dann-svhn; dann; w=1`", "dann, accuracy, w=1 is no record"),
     ("{result}`dann-svhn`", "write NAME; ROW"),
     ("{result}`dann-svhn; dann; mode`", "dann, mode is no record"),
     ("```{results-table} dann-svhn\n:titles: a, b\n\ndann\n```", "2 titles for 1 columns"),
     ("```{results-table} dann-svhn\n:scores: a, b\n:titles: a\n```", "1 titles for 2 columns"),
     ("```{results-table} dann-svhn\n\nadan\n```", "no record for the row 'adan'"),
     ("```{results-table} dann-svhn\n:scores: accuracy, recal\n\ndann\n```", "the column recal"),
     ("```{results-table} dann-svhn\n```", "no rows"),
     ("{result}`dann-svhn; dann; shares='as here`", "No closing quotation")],
)  # fmt: skip
def test_mistakes_are_warnings(project, page, warning):
    result_file(project.recorded)
    warnings = project.build(page).warnings
    assert warning in warnings
    assert "index.md:3" in warnings


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"records": [{"mean": 1}]}'])
def test_a_broken_result_file_is_a_warning_that_names_the_command(project, text):
    project.recorded.mkdir(parents=True)
    (project.recorded / "dann-svhn.json").write_text(text)
    warnings = project.build("{result}`dann-svhn; dann`").warnings
    assert "dann-svhn.json" in warnings and "make it again with" in warnings
    assert hw2report.RESULTS["dann-svhn"] in warnings


def test_the_table_puts_this_machine_beside_the_recorded(project):
    result_file(project.recorded, made("source_only"), made("dann"))
    result_file(project.local, made("dann", {**ACCURACY, "mean": 0.45}), source="embedded")
    table = "```{results-table} dann-svhn dann-usps\n:titles: to SVHN, to USPS\n\n"
    page = project.build(table + "source_only || source only\ndann\n```\n")
    head = "to SVHN, recorded to SVHN, this machine (full preset, embedded data)"
    assert head in page.text
    assert "source only 46.5 % [44.1, 48.9] –" in page.text
    assert "dann 46.5 % [44.1, 48.9] 45.0 % [44.1, 48.9]" in page.text
    assert "to USPS: not recorded yet" in page.text
    assert not page.warnings


def test_the_run_that_was_recorded_does_not_stand_beside_itself(project):
    for folder in (project.recorded, project.local):
        result_file(folder)
    text = project.build("```{results-table} dann-svhn\n:titles: to SVHN\n\ndann\n```\n").text
    assert "to SVHN" in text and "this machine" not in text


def test_a_row_for_comparison_is_grey_and_a_table_has_its_caption(project):
    result_file(project.recorded, made("dann"), made("dann", chosen_by="oracle"))
    table = "```{results-table} dann-svhn\n:caption: Accuracy.\n:grey: "
    rows = "\n\ndann\ndann; chosen_by=oracle || by oracle\n```\n"
    page = project.build(f"{table}by oracle{rows}")
    assert page.html.count("hw2-grey") == 3 and "Accuracy." in page.text
    assert not page.warnings
    assert "no row best that could be grey" in project.build(f"{table}best{rows}").warnings


def test_tables_are_numbered_named_and_have_two_header_lines_where_titles_have_two_parts(project):
    result_file(project.recorded, made("dann"), made("dann", score="recall"))
    table = (
        "{numref}`tab-a`\n\n```{results-table} dann-svhn\n:scores: accuracy, recall, accuracy\n"
        ":titles: to SVHN / accuracy, to SVHN / recall, alone\n:caption: Rows.\n:name: tab-a\n"
        "\ndann\n```\n"
    )
    page = project.build(table)
    assert not page.warnings
    assert page.text.count("Table 1") == 2 and "Rows." in page.text
    assert page.html.count('colspan="2"') == 1 and page.html.count('rowspan="2"') == 2
    assert "<caption>" in page.html and 'href="#tab-a"' in page.html


def test_a_page_bears_the_title_that_the_contents_name(project):
    toc = 'root: index\n  - file: index\n    title: "To SVHN"\n'
    (project.top / "book" / "_toc.yml").write_text(toc)
    page = project.build("text")
    assert "<h1>To SVHN" in page.html and "<title>To SVHN" in page.html


def test_a_cell_that_fits_several_records_is_a_warning(project):
    result_file(project.recorded, made("dann", target="svhn"), made("dann", target="usps"))
    page = project.build("```{results-table} dann-svhn\n\ndann\n```\n")
    assert "dann, accuracy is not one record but several" in page.warnings


def test_scores_stand_in_a_table_of_rows_by_scores(project):
    result_file(
        project.recorded, made("no a, b", target="svhn"), made("no a, b", NORM, target="usps"),
        made("all", NORM, "norm", w=0), made("all", w=0), made("all", NORM, "norm", w=2),
    )  # fmt: skip
    table = "```{results-table} dann-svhn\n:scores: accuracy target=svhn, accuracy target=usps\n"
    page = project.build(table + ":titles: to S, to U\n:corner: part\n\nno a, b || without\n```")
    assert "part to S to U without 46.5 % [44.1, 48.9] 0.707" in page.text and not page.warnings
    table = "```{results-table} dann-svhn\n:scores: accuracy, norm, n\n\n"
    page = project.build(table + "all; w=0 || none\nall; w=2\n```\n")
    assert "accuracy norm n none 46.5 % [44.1, 48.9] 0.707 1,600 all – 0.707 –" in page.text
    assert not page.warnings


def test_provenance_tells_all(project):
    result_file(project.recorded)
    page = project.build("```{provenance}\n```\n")
    for text in ("public", "a.npz 000000000000", "seeds 0, 1", "a processor, float32",
                 "torch 2.15.0", "abc123", "1,234 s", "steps 7",
                 "dann: accuracy (n = 1,600)"):  # fmt: skip
        assert text in page.text
    assert page.text.count("not recorded yet") == len(hw2report.RESULTS) - 1
    assert not page.warnings


def test_a_missing_executed_notebook_is_a_warning_that_names_the_command(project):
    (project.top / "book" / "_toc.yml").write_text("root: index\n- file: executed/cfdg\n")
    warnings = project.build("text").warnings
    assert f"cfdg.ipynb is missing; make it with `{hw2report.NOTEBOOKS['cfdg']}`" in warnings


# --- formulas -------------------------------------------------------------------------------


def test_no_line_begins_with_what_closes_a_formula(project):
    page = project.build("At $x$, ($y$). Then $z$ and more.")
    kept = re.findall(r'<span class="hw2-kept">.*?</math></span>(.*?)</span>', page.html)
    assert kept == [",", ")."] and "Then" in page.text and "and more." in page.text


def test_formulas_become_mathml():
    assert hw2math.to_mathml("x^2").startswith("<math ")
    assert 'display="block"' in hw2math.to_mathml("x", display=True)
    assert "<mtable" in hw2math.to_mathml(r"\begin{aligned} a &= b \\ c &= d \end{aligned}")
    assert '<mo form="prefix">&#x02212;</mo>' in hw2math.to_mathml("[-1, 1]")
    assert "<mo>&#x02212;</mo>" in hw2math.to_mathml("(a) - b")
    assert "<msup><mi>cos</mi><mn>2</mn></msup>" in hw2math.to_mathml(r"\cos^2 x")


@pytest.mark.parametrize("tex", [r"\nosuchcommand x", r"\frac{a", r"\left( x"])
def test_a_formula_not_understood_is_a_warning(project, tex):
    with pytest.raises(ValueError):
        hw2math.to_mathml(tex)
    assert "formula" in project.build(f"${tex}$").warnings
