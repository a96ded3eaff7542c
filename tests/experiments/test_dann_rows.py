"""Rows as configurations: settings, ramp, what is refused."""

import math

import pytest

from hw2lib.datasets import pairs
from hw2lib.errors import UserError
from hw2lib.experiments import dann_rows
from hw2lib.experiments.dann_rows import ROWS, Row, ramp, row_for, with_settings


def test_the_ramp_is_the_papers():
    assert ramp(0) == 0 and ramp(1) == pytest.approx(1, abs=1e-4)
    assert ramp(0.2) == pytest.approx(2 / (1 + math.exp(-2)) - 1)


def test_weights_follow_the_ramp_or_are_constant():
    dann, report = ROWS["dann"], ROWS["report_form"]
    assert dann.weight("adversarial", 0.5) == pytest.approx(dann.losses["adversarial"] * ramp(0.5))
    assert report.weight("adversarial", 0) == report.weight("adversarial", 1) == 0.31


@pytest.mark.parametrize("target", pairs.TARGETS)
@pytest.mark.parametrize("preset", dann_rows.PRESETS)
def test_all_rows_get_the_same_steps_and_batch_but_the_reports_form_the_reports(preset, target):
    rows = {name: row_for(name, preset, target) for name in ROWS}
    work = {name: (row.steps, row.batch_size) for name, row in rows.items()}
    report = {work.pop("report_form"), work.pop("report_form_frozen")}
    assert len(set(work.values())) == 1
    assert report == ({(9375, 128)} if preset == "full" else set(work.values()))


def test_the_frozen_form_keeps_the_statistics_of_the_first_of_20_epochs():
    row = ROWS["report_form_frozen"]
    assert row.frozen_after * row.steps * row.batch_size == pytest.approx(60_000, rel=0.001)


def test_mnistm_has_no_row_that_needs_what_it_lacks():
    of_svhn = set(dann_rows.rows_for("svhn", "full"))
    assert set(ROWS) - of_svhn == {"report_form", "report_form_frozen", "best_no_masks"}
    assert of_svhn - set(dann_rows.rows_for("mnistm", "full")) == {
        "dann_no_masks",
        "dann_self_training_no_masks",
    }


def test_dann_uses_no_pseudo_labels_and_no_masks_rows_no_masks():
    assert set(ROWS["dann"].losses) == {"adversarial"}
    for name, without in (
        ("dann", "dann_no_masks"),
        ("dann_self_training", "dann_self_training_no_masks"),
        ("best_adaptation", "best_no_masks"),
    ):
        masked, free = ROWS[name].settings(), ROWS[without].settings()
        assert {key for key in masked if masked[key] != free[key]} == {"off"}
        assert set(free["off"]) == set(dann_rows.MASKED)


def test_the_label_loss_falls_to_its_end_and_stays_there():
    row = Row("mine", losses={"entropy": 1.0}, label_end=0.2)
    weights = [row.label_weight(p) for p in (0, 0.3, 0.4, 0.5, 0.6, 0.7, 1)]
    assert weights == pytest.approx([1, 1, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert Row("mine").label_weight(0.9) == 1
    with pytest.raises(UserError, match="label_end=0.2 needs other losses"):
        Row("mine", label_end=0.2)
    with pytest.raises(UserError, match="label_end=-1 is not allowed; a number from 0 to 1"):
        Row("mine", losses={"entropy": 1.0}, label_end=-1)


def test_the_best_adaptation_is_self_training_that_lets_the_source_go():
    best, without = ROWS["best_adaptation"].settings(), ROWS["self_training"].settings()
    assert {key for key in best if best[key] != without[key]} == {"label_end"}


def test_only_target_only_learns_from_target_labels():
    assert [name for name, row in ROWS.items() if row.labels == "target"] == ["target_only"]


def test_settings_are_read_as_their_types():
    row = with_settings(
        ROWS["dann"],
        {
            "steps": "7",
            "separate": "false",
            "off": "blur,geometry",
            "adversarial": "0.1",
            "save_every_s": "9",
        },
    )
    assert (row.steps, row.separate, row.off) == (7, False, ("blur", "geometry"))
    assert row.save_every_s == 9
    assert row.losses == {"adversarial": 0.1}
    assert with_settings(ROWS["source_only"], {"adversarial": 0.1}) == ROWS["source_only"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: row_for("both"), "row 'both' is unknown; choose one of source_only"),
        (lambda: row_for("dann", "huge"), "preset 'huge' is unknown; choose one of quick, full"),
        (lambda: row_for("dann", "quick", "mars"), "target 'mars' is unknown; choose one of svhn"),
        (lambda: with_settings(ROWS["dann"], {"stesp": 1}), "setting 'stesp' is unknown"),
        (
            lambda: with_settings(ROWS["dann"], {"steps": "x"}),
            "steps=x is not allowed; a whole number from 1",
        ),
        (
            lambda: with_settings(ROWS["dann"], {"separate": "maybe"}),
            "separate=maybe is not allowed; true or false",
        ),
        (
            lambda: with_settings(ROWS["dann"], {"off": "colour"}),
            "off=colour is not allowed; some of standardise",
        ),
        (lambda: with_settings(ROWS["dann"], {"lr": "-1"}), "lr=-1 is not allowed; a number"),
        (lambda: with_settings(ROWS["dann"], {"teacher": "nan"}), "teacher=nan is not allowed"),
        (lambda: with_settings(ROWS["dann"], {"steps": "0"}), "steps=0 is not allowed"),
        (lambda: with_settings(ROWS["dann"], {"frozen_after": "2"}), "frozen_after=2 is not"),
        (lambda: Row("mine", labels="mine"), "labels=mine is not allowed; source or target"),
        (
            lambda: Row("mine", losses={"teacher": -1}),
            "losses={'teacher': -1} is not allowed; for each name a number from 0 is right",
        ),
        (lambda: Row("mine", losses={"coral": 1}), "loss 'coral' is unknown; choose one of"),
        (lambda: Row("mine", labels="target", losses={"teacher": 1}), "losses are for rows"),
    ],
)
def test_bad_settings(call, words):
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)
