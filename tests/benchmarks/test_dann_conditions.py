"""DANN under other conditions: what its cells change, and the gains that are paired by seed."""

import json
from dataclasses import replace

import dann_conditions
import dann_trials
import pytest
from dann_conditions import REPORT_CELLS, REVERSAL_CELLS, gains, train_cell
from helpers.domains import made_up

from hw2lib.datasets.augment import HANDLING, PLAIN
from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io import results
from hw2lib.io.paths import RESULTS
from hw2lib.io.results import one, record
from hw2lib.metrics import accuracy_metric


def changed(row, base):
    return {key for key, value in vars(row).items() if value != vars(base)[key]}


def test_the_report_is_changed_one_part_at_a_time_and_all_together():
    base, target, source, rate, every, frozen = REPORT_CELLS
    assert changed(base.row, ROWS["report_form"]) == {"steps", "batch_size", "lr"}
    assert base.row.lr == pytest.approx(10 * ROWS["report_form"].lr)
    assert base.changes == {} == rate.changes
    usual = HANDLING["usps"]
    assert (target.changes["handling"], target.row) == ((usual[0], PLAIN), base.row)
    rotated = source.changes["handling"][0]
    assert (source.changes["handling"], source.row) == ((rotated, usual[1]), base.row)
    assert changed(rotated, PLAIN) == {"rotation", "shift"}
    assert changed(rate.row, base.row) == {"schedule"}
    for cell in (every, frozen):
        assert cell.changes["handling"] == (rotated, PLAIN)
    assert every.row == rate.row
    assert changed(frozen.row, every.row) == {"frozen_after"}
    assert frozen.row.frozen_after == ROWS["report_form_frozen"].frozen_after


def test_uci_without_reversal_differs_from_its_recorded_dann_in_that_alone():
    (cell,) = REVERSAL_CELLS
    recorded = results.load("dann-uci", RESULTS)["settings"]["dann"]
    settings = json.loads(json.dumps(cell.row.settings()))
    assert {key for key in settings if settings[key] != recorded[key]} == {"losses"}
    assert settings["losses"] == cell.setting == {"adversarial": 0}


def test_a_cell_is_trained_on_the_changed_problem_and_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dann_conditions, "runs_dir", lambda: tmp_path)
    problem = make_problem(made_up("mnistm"), made_up("usps"), HANDLING["usps"])
    cell = REPORT_CELLS[-1]
    short = replace(cell, row=replace(cell.row, steps=4, batch_size=8))
    first, again = (train_cell("report-causes", short, problem, 1) for _ in range(2))
    assert first.problem.handling == cell.changes["handling"] and first.losses == again.losses
    assert [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("dann.safetensors")] == [
        "dann-report-causes/usps/all-together-batch-norm-frozen/seed-1/dann.safetensors"
    ]
    names = {r["row"] for r in dann_trials.measured(first.problem, cell.name, [first])}
    assert names == {cell.name}


def test_gains_are_differences_of_the_same_seed():
    (cell,) = REVERSAL_CELLS
    dann = one(results.load("dann-uci", RESULTS)["records"], "dann", "accuracy")
    counts = [round(value * dann["n"]) - k for k, value in enumerate(dann["values"][:3], 1)]
    entry = accuracy_metric(counts, dann["n"])
    found = gains([record(cell.name, "accuracy", entry, target="uci", **cell.setting)])
    assert {r["unit"] for r in found} == {"points"}
    own = one(found, cell.name, "gain", target="uci", adversarial=0.3)
    assert own["values"] == pytest.approx([100 * k / dann["n"] for k in (1, 2, 3)])
    assert own["mean"] - own["low"] == pytest.approx(100 / dann["n"] * 4.3027 / 3**0.5, rel=1e-3)
    assert {r["setting"]["target"] for r in found if r["row"] == "plain, own statistics"} == {
        "svhn", "usps", "mnistm",
    }  # fmt: skip
    strong = one(found, cell.name, "gain", target="svhn", adversarial=1)
    causes = results.load("dann-ablation", RESULTS)["records"]
    strong_row, none = (
        one(causes, "adversarial loss alone", "accuracy", target="svhn", adversarial=lam)
        for lam in (1, 0)
    )
    assert strong["mean"] == pytest.approx(100 * (strong_row["mean"] - none["mean"]))
