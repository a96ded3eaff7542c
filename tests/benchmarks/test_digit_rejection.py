"""digit_rejection: what is chosen, what is compared, and which trainings are taken."""

import digit_rejection as rejection
import pytest
from helpers.recorded import mean, means, recorded

from hw2lib.experiments import cfdg
from hw2lib.io import results
from hw2lib.studies import cfdg as study


class Table:
    """Scores that follow from model, cell and noise seed."""

    scorer = None

    def scores(self, file, cell, seed):
        w, confidence = cell
        accuracy = min(1.0, 0.97 + 0.02 * w + 0.02 * confidence + (0.002 if file == "b" else 0))
        more = {"recall": 0.8 - seed / 100, "drawn": 1 + confidence / 10}
        return {"accuracy": accuracy, "frechet": 1 + 10 * w + seed, **more}


MODELS = {"default": "a", "longer": "b", "student": "e", "half": "c"}
MODELS |= {"student-1": "e", "student-2": "e"}


def test_the_nearest_of_those_legible_beyond_chance_is_chosen():
    found = {
        (0.0, 0.5): {"accuracy": 0.996, "frechet": 1.0},  # its interval begins below .99
        (0.5, 0.5): {"accuracy": 0.998, "frechet": 4.0},
        (0.25, 0.9): {"accuracy": 0.997, "frechet": 3.0},
    }
    assert rejection.chosen(found) == (0.25, 0.9)
    del found[0.25, 0.9], found[0.5, 0.5]
    assert rejection.chosen(found | {(0.5, 0.9): {"accuracy": 0.99, "frechet": 0.1}}) == (0.0, 0.5)


def test_other_trainings_take_the_cell_of_the_first():
    cells, records = rejection.tried_records(Table(), MODELS)
    assert cells["student-1"] == cells["student"]
    assert cells["half"] == cells["default"] == (0.5, 0.9)  # .998; then .993
    assert len(results.select(records, "tried", "accuracy")) == 3 * 6
    assert results.one(records, "tried", "chosen_confidence", model="longer")["mean"] == 0.9


def test_models_are_compared_as_chosen_and_without_rejection(monkeypatch):
    real = [{"accuracy": 1.0, "frechet": 1.0, "recall": 0.8}] * 5
    monkeypatch.setattr(study, "real_images", lambda *_: study.scored("real", real, rejection.N))
    monkeypatch.setattr(rejection, "passes", lambda file, w: 4 if file == "e" else 20)
    cells = dict.fromkeys(MODELS, (0.25, 0.9)) | {"default": (0.5, 0.5), "half": (0.5, 0.5)}
    found = rejection.compared_records(Table(), MODELS, cells, None)
    assert len(results.select(found, "samples", "accuracy")) == 9
    at = {"model": "longer", "w": 0.25, "confidence": 0.9}
    assert results.one(found, "samples", "evaluations", **at)["mean"] == pytest.approx(20 * 1.09)
    assert results.one(found, "samples", "recall_of_real", **at)["values"][0] == 1
    plain = results.one(found, "gained", "accuracy", model="longer", beyond="plain")
    assert plain["values"] == pytest.approx([0.018] * 5)
    trainings = results.one(found, "trainings", "frechet")
    assert trainings["values"] == pytest.approx([1 + 2.5 + 2] * 3)


def test_the_half_long_model_is_the_guidance_studys():
    assert rejection.STUDY is cfdg.DIGIT_PRESETS[study.TRAININGS["full"]]
    assert rejection.HALF.p_drop == 0.1 and rejection.HALF.train.seed == 1


def test_a_student_passes_once_a_step():
    assert rejection.passes(rejection.STUDENT, 1.25) == 4
    assert [rejection.passes(rejection.SHIPPED, w) for w in (0.0, 0.5)] == [10, 20]


def test_the_figure_shows_both_models_with_and_without_rejection():
    records, plain = (recorded(f"digits-{name}")["records"] for name in ("rejection", "longer"))
    found = rejection.figure(records, plain)
    assert len(found.axes) == 2
    assert len(found.axes[0].lines) == 1 + len(rejection.CONFIDENCES) + 1  # and the star


@pytest.mark.parametrize("model", rejection.STRENGTHS)
def test_the_recorded_choice_is_the_programs(model):
    found: dict = {}
    for score in ("accuracy", "frechet"):
        for setting, value in means("digits-rejection", "tried", score, model=model):
            cell = setting["w"], setting["confidence"]
            found.setdefault(cell, {})[score] = value
    assert len(found) == len(rejection.STRENGTHS[model]) * len(rejection.CONFIDENCES)
    w, confidence = rejection.chosen(found)
    assert mean("digits-rejection", "tried", "chosen_w", model=model) == w
    assert mean("digits-rejection", "tried", "chosen_confidence", model=model) == confidence
    assert recorded("digits-rejection")["settings"]["tries"] == cfdg.TRIES
