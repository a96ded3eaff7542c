"""What the digits' appendix says in words about students, the networks of few evaluations."""

import numpy as np
import pytest
from helpers.recorded import mean, record

from hw2lib.experiments.cfdg import DEFAULT
from hw2lib.metrics import metric


@pytest.mark.parametrize("evaluations", [8, 4, 2])
def test_students_are_a_little_less_accurate_and_more_varied(evaluations):
    def found(score):
        return record("digits-few-steps", "student", score, evaluations=evaluations)

    assert found("accuracy_lost")["low"] > 0 and found("accuracy_lost")["high"] < 0.02
    assert found("recall_gained")["low"] > 0 > found("frechet_gained")["high"]


def gained(score, w):
    """Signs of what the student gains beyond the default: over trainings, and over noise seeds."""
    trainings = record("digits-student", "trainings", f"{score}_gained", w=w)
    student = [record("digits-student", "student", score, w=w, training=k) for k in (0, 1, 2)]
    default = record("digits-student", "default", score)["values"]
    by_noise = np.mean([one["values"] for one in student], 0) - default
    return [
        (found["low"] > 0) - (found["high"] < 0)
        for found in (trainings, metric(by_noise, 1, "number"))
    ]


def test_the_student_with_w_as_an_input_is_as_those_before():
    signs = {"accuracy": -1, "recall": 1, "frechet": -1}
    for score, sign in signs.items():
        assert gained(score, DEFAULT.w) == [sign, sign]
    assert record("digits-student", "trainings", "accuracy_lost", w=DEFAULT.w)["high"] < 0.02


def test_with_a_larger_w_the_student_is_read_as_the_default_is_and_is_farther_from_real_digits():
    w = mean("digits-student", "trainings", "chosen")
    assert w == 2.5 > DEFAULT.w
    for score in ("accuracy", "recall"):
        assert gained(score, w)[1] == 0
    assert gained("frechet", w) == [1, 1]


def test_w_acts_through_the_input():
    without, most = (record("digits-student", "student", training=0, w=w) for w in (0, 3))
    assert without["high"] < most["low"]


def test_the_student_is_a_little_less_than_five_times_as_fast():
    ratio = record("digits-student", "speed", "ratio")
    assert ratio["low"] > 4.5 and ratio["high"] < 5
