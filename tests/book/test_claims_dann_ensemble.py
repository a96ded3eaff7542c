"""What the adaptation's appendix says of an ensemble and of the students of its labels."""

from dann_ensemble import ROUNDS
from helpers.adapted import open_between, table
from helpers.recorded import record, recorded


def of(row, score="accuracy"):
    return record("dann-ensemble-svhn", row, score, target="svhn")


def test_students_are_trained_as_target_only_is():
    ours, chapter = (recorded(name)["settings"] for name in ("dann-ensemble-svhn", "dann-svhn"))
    assert ours["student"] == chapter["rows"]["target_only"]
    assert ours["teachers"] == chapter["rows"]["best_adaptation"]
    assert ours["handling"] == chapter["handling"][1]
    assert len(of("teachers")["values"]) == 5 and len(of("student")["values"]) == 3
    assert of("student")["n"] == 1600 and of("student", "agreement")["n"] == 6400


def test_the_teachers_were_trained_anew():
    again, chapter = of("teachers"), table("svhn", "best_adaptation")
    assert again["values"] != chapter["values"] and open_between(again, chapter)


def spread(found):
    return max(found["values"]) - min(found["values"])


def test_no_gain_by_an_ensembles_labels_shows():
    for row in ("ensemble", *ROUNDS, *(f"{name}_ensemble" for name in ROUNDS)):
        gain = of(row, "gain")
        assert gain["low"] < 0 < gain["high"]
    teachers, ensemble, students = map(of, ("teachers", "ensemble", "student"))
    assert 0.02 < spread(teachers) < 0.025 and spread(students) < 0.01
    assert min(students["values"]) < ensemble["mean"] < max(students["values"])
    assert all(round(share, 2) == 0.98 for share in of("student", "agreement")["values"])
    labels = table("svhn", "target_only")
    assert labels["low"] > students["high"]
    assert 0.03 < labels["mean"] - students["mean"] < 0.04
