"""What the adaptation's appendix says of an ensemble and of the students of its labels."""

from helpers.adapted import open_between, table
from helpers.recorded import record, recorded


def of(row, score="accuracy"):
    return record("dann-ensemble", row, score, target="svhn")


def test_students_are_trained_as_target_only_is():
    ours, chapter = (recorded(name)["settings"] for name in ("dann-ensemble", "dann-svhn"))
    assert ours["student"] == chapter["rows"]["target_only"]
    assert ours["teachers"] == chapter["rows"]["best_adaptation"]
    assert ours["handling"] == chapter["handling"][1]
    assert len(of("teachers")["values"]) == 5 and len(of("student")["values"]) == 3
    assert of("student")["n"] == 1600 and of("student", "agreement")["n"] == 6400


def test_the_teachers_were_trained_anew():
    again, chapter = of("teachers"), table("svhn", "best_adaptation")
    assert again["values"] != chapter["values"] and open_between(again, chapter)
