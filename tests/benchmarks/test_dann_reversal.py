"""dann_reversal: what its cells change, and what a gain is."""

from dataclasses import replace

import dann_reversal
import pytest
import torch
from dann_reversal import CELLS, NO_NORM, OWN, SHARED, gains, train_cell
from helpers.domains import made_up
from helpers.recorded import recorded

from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann_rows import PLAIN_INPUTS, ROWS
from hw2lib.io.results import one, record
from hw2lib.metrics import metric


def changed(row, base):
    return {key for key, value in vars(row).items() if value != vars(base)[key]}


def test_each_method_differs_from_dann_in_what_its_name_says_and_begins_with_no_reversal():
    differences = {SHARED: {"off", "separate"}, NO_NORM: {"off", "separate", "frozen_after", "lr"},
                   OWN: set()}  # fmt: skip
    for cells in CELLS.values():
        first = {}
        for cell in cells:
            base = first.setdefault((cell.name, cell.row.steps), cell)
            assert changed(cell.row, base.row) <= {"losses"}
            assert changed(cell.row, ROWS["dann"]) - {"losses", "steps"} == differences[cell.name]
            assert cell.name == OWN or cell.row.off == PLAIN_INPUTS
        assert {cell.row.losses["adversarial"] for cell in first.values()} == {0}


def test_statistics_that_stay_as_they_are_normalise_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(dann_reversal, "runs_dir", lambda: tmp_path)
    cell = next(cell for cell in CELLS["svhn"] if cell.name == NO_NORM)
    cell = replace(cell, row=replace(cell.row, steps=2, batch_size=8))
    problem = make_problem(made_up("mnistm"), made_up("svhn"))
    trained = train_cell(cell, problem, 0)
    buffers = dict(trained.network.named_buffers())
    means = [value for name, value in buffers.items() if name.endswith("mean")]
    variances = [value for name, value in buffers.items() if name.endswith("var")]
    assert means and all(torch.equal(value, torch.zeros_like(value)) for value in means)
    assert variances and all(torch.equal(value, torch.ones_like(value)) for value in variances)


def test_a_gain_is_that_over_the_same_seed_without_the_reversal():
    def accuracy(row, target, values, lam, steps=960):
        setting = {"target": target, "adversarial": lam, "steps": steps}
        return record(row, "accuracy", metric(values, 100, "accuracy"), **setting)

    records = [
        accuracy(SHARED, "svhn", [0.1, 0.3], 0.0),
        accuracy(SHARED, "svhn", [0.2, 0.5], 0.1),
        accuracy(SHARED, "svhn", [0.0, 0.0], 0.0, 4800),
        accuracy(SHARED, "svhn", [0.3, 0.3], 0.1, 4800),
        accuracy(OWN, "uci", [0.5, 0.6], 0.0),
    ]
    short, long, uci = gains(records)
    assert short["values"] == pytest.approx([10, 20]) and short["setting"]["steps"] == 960
    assert long["values"] == pytest.approx([30, 30]) and long["setting"]["steps"] == 4800
    theirs = one(recorded("dann-uci")["records"], "dann", "accuracy")["values"]
    assert uci["values"] == pytest.approx([100 * (theirs[0] - 0.5), 100 * (theirs[1] - 0.6)])
    assert uci["setting"] == {"target": "uci", "adversarial": 0.3, "steps": 960}


def test_the_recorded_file_has_a_gain_for_every_strength_of_every_cell():
    result = recorded("dann-reversal")
    seeds = len(result["seeds"])
    for target, cells in CELLS.items():
        for cell in cells:
            score = "gain" if cell.setting["adversarial"] else "accuracy"
            found = one(result["records"], cell.name, score, target=target, **cell.setting)
            assert len(found["values"]) == seeds
