"""What the digits' pages say in words about rejection and about the small model."""

import numpy as np
from helpers.recorded import mean, record

from hw2lib.metrics import metric

SCORES = ("accuracy", "recall_of_real", "frechet")
LONGER = {"model": "longer", "w": 0.25, "confidence": 0.9}
STUDENT = {"model": "student", "w": 0.5, "confidence": 0.9}
GUIDED = {"model": "default", "w": 1.25, "confidence": 0}


def of(setting, score="accuracy"):
    return record("digits-rejection", "samples", score, **setting)


def gained(score, model, beyond):
    return record("digits-rejection", "gained", score, model=model, beyond=beyond)


def all_three(found):
    """accuracy .99, .9 of real recall, half of the default's Frechet distance: which are met."""
    half = of(GUIDED, "frechet")["mean"] / 2
    return found["accuracy"] >= 0.99, found["recall_of_real"] >= 0.9, found["frechet"] <= half


def means(setting):
    return {
        score: of(setting, score)["mean"] for score in ("accuracy", "recall_of_real", "frechet")
    }


def test_rejection_meets_all_three():
    assert all_three(means(LONGER)) == (True, True, True)
    students = {score: mean("digits-rejection", "trainings", score) for score in SCORES}
    assert all_three(students) == (True, True, True)
    assert len(record("digits-rejection", "trainings")["values"]) == 3


def test_shorter_trainings_come_within_two_points_of_all_three():
    default, half = (means({"model": m, "w": 0.5, "confidence": 0.9}) for m in ("default", "half"))
    assert all_three(default) == (True, False, True) and default["recall_of_real"] > 0.88
    assert all_three(half) == (False, True, True) and half["accuracy"] > 0.988


def test_rejection_raises_accuracy_at_a_small_cost_of_recall():
    assert gained("accuracy", "longer", "plain")["low"] > 0.02
    assert gained("recall", "longer", "plain")["high"] < 0
    assert gained("recall", "longer", "plain")["mean"] > -0.02


def test_guidance_alone_is_read_less_well_at_the_same_recall():
    beyond = {}
    for score in ("accuracy", "recall"):
        guided = record("digits-longer", "samples", score, model="longer", w=0.5)["values"]
        beyond[score] = metric(np.subtract(of(LONGER, score)["values"], guided), 1, "number")
    assert beyond["accuracy"]["low"] > 0
    assert beyond["recall"]["low"] < 0 < beyond["recall"]["high"]


def test_beside_the_default_recall_and_distance_gain():
    for model in ("longer", "student"):
        assert gained("recall", model, "default")["low"] > 0
        assert gained("frechet", model, "default")["high"] < 0
        assert gained("accuracy", model, "default")["high"] < 0.005


def test_the_student_with_rejection_takes_four_to_five_evaluations():
    assert 4 < of(STUDENT, "evaluations")["mean"] < 4.5
    assert of(GUIDED, "evaluations")["mean"] == 20


def test_a_part_of_the_accuracy_is_agreement():
    every, accepted = (record("digits-rejection", "judge", "accuracy", accepted=k) for k in (0, 1))
    assert accepted["low"] > every["high"]


def small(row, score, **setting):
    return record("digits-small", row, score, **setting)


def test_the_small_model_is_read_less_well_and_otherwise_as_the_default():
    assert small("gained", "accuracy")["high"] < 0
    for score in ("recall", "frechet"):
        assert small("gained", score)["low"] < 0 < small("gained", score)["high"]
    assert small("tried", "chosen_w")["mean"] == 1.25
    assert small("model", "parameters")["mean"] <= 1.5e6
    assert small("speed", "ratio")["low"] > 1


def test_rejection_mends_the_small_model_too():
    found = {s: small("samples", s, w=0.5, confidence=0.9)["mean"] for s in SCORES}
    assert all_three(found) == (True, False, True) and found["recall_of_real"] > 0.89
