"""The report's form to USPS: what its cells change, and that they are taken up again."""

from dataclasses import replace

import dann_report
import pytest
from dann_report import CELLS, train_cell
from helpers.domains import made_up
from helpers.recorded import recorded

from hw2lib.datasets.augment import HANDLING, PLAIN
from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann_rows import ROWS


def changed(row, base):
    return {key for key, value in vars(row).items() if value != vars(base)[key]}


def test_the_report_is_changed_one_part_at_a_time_and_all_together():
    base, target, source, rate, every, frozen = CELLS
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
    assert every.row == rate.row and changed(frozen.row, every.row) == {"frozen_after"}
    assert frozen.row.frozen_after == ROWS["report_form_frozen"].frozen_after


def test_a_cell_is_trained_on_the_changed_problem_and_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.setattr(dann_report, "runs_dir", lambda: tmp_path)
    problem = make_problem(made_up("mnistm"), made_up("usps"), HANDLING["usps"])
    cell = CELLS[-1]
    short = replace(cell, row=replace(cell.row, steps=4, batch_size=8))
    first, again = (train_cell(short, problem, 1) for _ in range(2))
    assert first.problem.handling == cell.changes["handling"] and first.losses == again.losses
    assert [str(f.relative_to(tmp_path)) for f in tmp_path.rglob("dann.safetensors")] == [
        "dann-report-causes/usps/all-together-batch-norm-frozen/seed-1/dann.safetensors"
    ]


def test_the_recorded_file_has_three_seeds_of_every_cell():
    found = recorded("dann-report-causes")["records"]
    seeds = {r["row"]: len(r["values"]) for r in found if r["score"] == "accuracy"}
    assert seeds == {cell.name: 3 for cell in CELLS}
