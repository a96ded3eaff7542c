"""What the adaptation's appendix says of an ensemble and of the students of its labels."""

import pytest
from dann_ensemble import ROUNDS, TARGETS
from helpers.adapted import open_between, table
from helpers.recorded import record, recorded

EACH = pytest.mark.parametrize("target", TARGETS)


def of(target, row, score="accuracy"):
    return record(f"dann-ensemble-{target}", row, score, target=target)


@EACH
def test_students_are_trained_as_target_only_is(target):
    ours, chapter = (recorded(f"{name}-{target}")["settings"] for name in ("dann-ensemble", "dann"))
    assert ours["student"] == chapter["rows"]["target_only"]
    assert ours["teachers"] == chapter["rows"]["best_adaptation"]
    assert ours["handling"] == chapter["handling"][1]
    sizes = {"svhn": (1600, 6400), "usps": (2007, 7291), "mnistm": (10_000, 60_000)}
    assert (of(target, "student")["n"], of(target, "student", "agreement")["n"]) == sizes[target]
    assert len(of(target, "teachers")["values"]) == 5 and len(of(target, "student")["values"]) == 3


@EACH
def test_the_teachers_were_trained_anew(target):
    again, chapter = of(target, "teachers"), table(target, "best_adaptation")
    assert again["values"] != chapter["values"] and open_between(again, chapter)


def test_what_an_ensemble_gains():
    gain = {target: of(target, "ensemble", "gain") for target in TARGETS}
    assert gain["mnistm"]["low"] > 0 and 0.004 < gain["mnistm"]["mean"] < 0.006
    assert all(gain[target]["low"] < 0 < gain[target]["high"] for target in ("svhn", "usps"))


@EACH
def test_no_gain_by_an_ensembles_labels_shows(target):
    assert all(of(target, row, "gain")["low"] < 0 for row in ROUNDS)
    if target == "mnistm":
        second = of(target, "second_round", "gain")
        assert second["high"] < 0 and 0.003 < -second["mean"] < 0.0037


def test_students_on_usps_lack_images_and_not_labels():
    gain, students = of("usps", "student", "gain"), of("usps", "student")
    assert gain["high"] < 0 and 0.0055 < -gain["mean"] < 0.0065
    labels = table("usps", "target_only")
    assert labels["low"] < students["mean"] < labels["high"]
    assert students["low"] < labels["mean"] < students["high"]
    assert of("usps", "student", "agreement")["mean"] > 0.999


def spread(found):
    return max(found["values"]) - min(found["values"])


def test_students_on_svhn_come_to_the_ensemble():
    rows = ("teachers", "ensemble", "student")
    teachers, ensemble, students = (of("svhn", row) for row in rows)
    assert 0.02 < spread(teachers) < 0.025 and spread(students) < 0.01
    assert min(students["values"]) < ensemble["mean"] < max(students["values"])
    labels = table("svhn", "target_only")
    assert labels["low"] > students["high"]
    assert 0.03 < labels["mean"] - students["mean"] < 0.04


# --- evaluated as the source speaks for ----------------------------------------------------------


def in_its_way(target, row, score="accuracy", **more):
    return record("dann-ensemble-views", row, score, target=target, **more)


def test_the_source_chooses_how_an_ensemble_is_evaluated():
    ways = recorded("dann-ensemble-views")["settings"]["ways"]
    assert {target: tuple(way) for target, way in ways.items()} == {
        "svhn": (10, True), "usps": (10, False), "mnistm": (10, False)
    }  # fmt: skip
    for target in TARGETS:
        for row in ("teachers", "ensemble"):  # the same networks
            assert in_its_way(target, row, views=2)["mean"] == of(target, row)["mean"]


def test_what_an_ensemble_gains_in_the_chosen_way():
    gain = {target: in_its_way(target, "ensemble", "gain") for target in TARGETS}
    assert gain["mnistm"]["low"] > 0 and 0.0055 < gain["mnistm"]["mean"] < 0.0065
    assert gain["usps"]["low"] > 0 and gain["usps"]["mean"] < 0.001
    assert gain["svhn"]["low"] < 0 < gain["svhn"]["high"]
