"""The recorded runs are runs of the notebooks that are here."""

import json

import pytest

from hw2lib.io.paths import ROOT

RUNS = {"cfdg": "cfdg", "ddim": "ddim", "dann-svhn": "dann", "dann-usps": "dann",
        "dann-mnistm": "dann", "dann-embedded": "dann"}  # fmt: skip


def cells(path):
    """(type, id, source, tags) of each cell; without those that papermill injected."""
    found = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
    tags = [cell["metadata"].get("tags", []) for cell in found]
    return [
        (cell["cell_type"], cell["id"], "".join(cell["source"]), its)
        for cell, its in zip(found, tags, strict=True)
        if "injected-parameters" not in its
    ]


@pytest.mark.parametrize(("run", "notebook"), RUNS.items())
def test_an_executed_notebook_equals_its_source_cell_for_cell(run, notebook):
    recorded, source = cells(f"book/executed/{run}.ipynb"), cells(f"notebooks/{notebook}.ipynb")
    assert [cell[:2] for cell in recorded] == [cell[:2] for cell in source]
    for ours, theirs in zip(recorded, source, strict=True):
        assert ours == theirs, f"cell {ours[1]} of {run} is another than in notebooks/"


@pytest.mark.parametrize("notebook", sorted(set(RUNS.values())))
def test_notebooks_are_stripped(notebook):
    found = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in found)


@pytest.mark.parametrize("run", RUNS)
def test_a_recorded_run_keeps_no_progress_bar(run):
    found = json.loads((ROOT / f"book/executed/{run}.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in found for output in cell.get("outputs", [])]
    assert outputs
    assert not [output for output in outputs if output.get("name") == "stderr"]
    printed = "".join(line for output in outputs for line in output.get("text", []))
    assert not any(sign in printed for sign in ("\r", "%|", "it/s", "s/it"))
