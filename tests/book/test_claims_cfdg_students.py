"""What the digits' appendix says in words about students, the networks of few evaluations."""

import pytest
from helpers.recorded import mean, record

from hw2lib.experiments.cfdg import DEFAULT


@pytest.mark.parametrize("evaluations", [8, 4, 2])
def test_students_are_a_little_less_accurate_and_more_varied(evaluations):
    def found(score):
        return record("digits-few-steps", "student", score, evaluations=evaluations)

    assert found("accuracy_lost")["low"] > 0 and found("accuracy_lost")["high"] < 0.02
    assert found("recall_gained")["low"] > 0 > found("frechet_gained")["high"]


def of_trainings(score, w):
    """One value a training."""
    return record("digits-student", "trainings", score, w=w)


def test_the_student_with_w_as_an_input_is_as_those_before():
    lost = of_trainings("accuracy_lost", DEFAULT.w)
    assert lost["low"] > 0 and lost["high"] < 0.02
    assert of_trainings("recall_gained", DEFAULT.w)["low"] > 0
    assert of_trainings("frechet_gained", DEFAULT.w)["high"] < 0


def test_with_a_larger_w_the_student_is_read_as_the_default_is_and_is_farther_from_real_digits():
    w = mean("digits-student", "trainings", "chosen")
    assert w == 2.5 > DEFAULT.w
    lost = of_trainings("accuracy_lost", w)
    assert -0.002 < lost["low"] and lost["high"] < 0.002
    assert of_trainings("recall_gained", w)["low"] > 0
    assert of_trainings("frechet_gained", w)["low"] > 0


def test_w_acts_through_the_input():
    without, most = (record("digits-student", "student", training=0, w=w) for w in (0, 3))
    assert without["high"] < most["low"]


def test_the_student_is_about_five_times_as_fast():
    assert 4.5 < mean("digits-student", "speed", "ratio") < 6
