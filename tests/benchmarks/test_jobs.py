"""The jobs of the recording: whole, in order, and as the notebooks and commands have them."""

import ast
import json
import re
import sys
from dataclasses import replace

import code_digest
import jobs
import pytest
import recording
from helpers.bookcopy import EXTENSIONS

from hw2lib.experiments import dann_rows
from hw2lib.io.paths import ROOT

sys.path.insert(0, str(EXTENSIONS))
import hw2numbers  # noqa: E402

# of a machine of their own, or of the graph itself
APART = {"setup", "faults", "live", "cluster", "scaling"}


@pytest.fixture(scope="module")
def full():
    return jobs.jobs("full")


@pytest.mark.parametrize("preset", jobs.SIZES)
def test_needs_come_first_and_names_are_file_names(preset):
    before = set()
    for job in jobs.jobs(preset):
        assert set(job.needs) <= before and job.name not in before, job.name
        assert re.fullmatch(r"[\w.-]+", job.name, re.ASCII), job.name
        assert all((ROOT / file).is_file() for file in job.code), job.name
        assert job.seconds >= 0 and job.runtime >= 10
        before.add(job.name)


def test_every_result_file_has_its_job_with_the_command_of_the_provenance(full):
    by_name = {job.name: job for job in full}
    for result, command in hw2numbers.RESULTS.items():
        if result in APART:
            continue
        if command.startswith("papermill"):
            name = "notebook-" + command.split(".ipynb")[1].rpartition("/")[2]
            options = by_name[name].work.keywords["parameters"]
            given = [part.split() for part in command.split(" -p ")[1:]]
            assert {key: str(options[key]) for key, _ in given} == dict(given), result
            continue
        work = by_name[f"benchmark-{result}"].work.keywords
        words = ["python", f"benchmarks/{work['name']}.py", *work["arguments"], "--record"]
        assert " ".join(words) == command


def test_the_guidance_study_has_the_seeds_of_its_notebook():
    cells = json.loads((ROOT / "notebooks" / "cfdg.ipynb").read_text())["cells"]
    text = next(t for t in ("".join(c["source"]) for c in cells) if "study.study(" in t)
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    (drops,) = (n.args[1] for n in calls if ast.unparse(n.func) == "study.study")
    for preset in ("quick", "full"):
        known = {"preset": preset}
        exec(text.split("\n")[0], known)  # the line that sets `seeds`
        seeds = eval(ast.unparse(drops), known)
        of_jobs = {p: list(its) for p, its in jobs.SIZES[preset].drops.items()}
        assert seeds == of_jobs


def test_a_changed_row_changes_its_own_jobs(full, monkeypatch):
    of_dann = [job for job in full if job.name.startswith("dann-")]
    before = {job.name: recording.input_of(job) for job in of_dann}
    rows = dict(dann_rows.ROWS, dann=replace(dann_rows.ROWS["dann"], lr=1e-3))
    monkeypatch.setattr(dann_rows, "ROWS", rows)
    after = {job.name: recording.input_of(job) for job in jobs.jobs("full") if job.name in before}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        f"dann-{target}-dann-s{seed}"
        for target in ("svhn", "usps", "mnistm", "uci")
        for seed in range(5)
    }


def test_tables_that_are_left_out_of_the_code_are_there():
    for file, names in code_digest.SETTINGS.items():
        body = code_digest.tree(ROOT / file).body
        assigned = set().union(*map(code_digest._assigned, body))
        assert set(names) <= assigned, file


def test_weights_are_trainings_of_the_shipped_files():
    assert {job.name for job in jobs.weights()} == {
        "weights-digits", "weights-faces", "weights-judge", "weights-digit-features",
        "weights-face-features",
    }  # fmt: skip
