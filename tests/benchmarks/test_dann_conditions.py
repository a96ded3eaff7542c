"""DANN under other conditions: what its cells change, and the gains that are paired by seed."""

from dataclasses import replace

import dann_conditions
import dann_trials
import pytest
from dann_conditions import REPORT_CELLS, REVERSAL_CELLS, STUDIES, gains, train_cell
from helpers.domains import made_up

from hw2lib.datasets.augment import HANDLING, PLAIN
from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.results import one, record
from hw2lib.metrics import accuracy_metric


def changed(row, base):
    return {key for key, value in vars(row).items() if value != vars(base)[key]}


def test_the_report_is_changed_one_part_at_a_time_and_all_together():
    base, fault, target, source, rate, every, frozen, alone = REPORT_CELLS
    assert changed(base.row, ROWS["report_form"]) == {"steps", "batch_size", "lr"}
    assert base.row.lr == pytest.approx(10 * ROWS["report_form"].lr)
    assert base.changes == {} == rate.changes == fault.changes
    usual = HANDLING["usps"]
    assert (target.changes["handling"], target.row) == ((usual[0], PLAIN), base.row)
    rotated = source.changes["handling"][0]
    assert (source.changes["handling"], source.row) == ((rotated, usual[1]), base.row)
    assert changed(rotated, PLAIN) == {"rotation", "shift"}
    assert changed(rate.row, base.row) == {"schedule"}
    for cell in (every, frozen, alone):
        assert cell.changes["handling"] == (rotated, PLAIN)
    assert every.row == rate.row
    for this, mended in ((fault, base), (frozen, every)):
        assert changed(this.row, mended.row) == {"frozen_after"}
        assert this.row.frozen_after == ROWS["report_form_frozen"].frozen_after
    assert changed(alone.row, every.row) == {"losses"} and not alone.row.adapts


def test_every_strength_of_the_reversal_stands_beside_none():
    for cell in REVERSAL_CELLS:
        same = [c for c in REVERSAL_CELLS if (c.target, c.name) == (cell.target, cell.name)]
        assert [c.setting["adversarial"] for c in same].count(0) == 1
        assert all(changed(c.row, cell.row) <= {"losses"} for c in same)
        assert cell.row.losses == cell.setting and cell.row.adapts


def test_a_cell_is_trained_on_the_changed_problem_and_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dann_conditions, "runs_dir", lambda: tmp_path)
    problem = make_problem(made_up("mnistm"), made_up("usps"), HANDLING["usps"])
    cell = REPORT_CELLS[-2]
    short = replace(cell, row=replace(cell.row, steps=4, batch_size=8))
    first, again = (train_cell("report-causes", short, problem, 1) for _ in range(2))
    assert first.problem.handling == cell.changes["handling"] and first.losses == again.losses
    assert [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("dann.safetensors")] == [
        "dann-report-causes/usps/all-together-batch-norm-frozen/seed-1/dann.safetensors"
    ]
    names = {r["row"] for r in dann_trials.measured(first.problem, cell.name, [first])}
    assert names == {cell.name}


def test_gains_are_differences_of_the_same_seed():
    records = []
    for cell in STUDIES["reversal"]:
        counts = (50, 60, 70) if cell.setting["adversarial"] == 0 else (51, 62, 73)
        entry = accuracy_metric(counts, 100)
        records.append(record(cell.name, "accuracy", entry, target=cell.target, **cell.setting))
    found = gains(records)
    assert {r["unit"] for r in found} == {"points"}
    own = one(found, "plain, shared statistics", "gain", target="usps", adversarial=0.1)
    assert own["values"] == pytest.approx([1, 2, 3])
    assert own["low"] == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3)
    assert {r["setting"]["target"] for r in found if r["row"] == "plain, own statistics"} == {
        "svhn", "usps", "mnistm",
    }  # fmt: skip
    uci = one(found, "augmented, own statistics", "gain", target="uci", adversarial=0.3)
    assert len(uci["values"]) == 3
