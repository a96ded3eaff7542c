"""What the adaptation pages claim, held by the recorded results; see `test_claims`."""

import json
import re
from dataclasses import fields

import pytest
from test_claims import recorded, scores

from hw2lib.dann_inputs import Handling
from hw2lib.dann_rows import ROWS
from hw2lib.paths import RESULTS, ROOT

TARGETS = ("svhn", "usps", "mnistm")
ADAPTED = pytest.mark.parametrize("target", TARGETS)


def ablation(target):
    """variant -> accuracy, of the study of causes."""
    found = scores("dann-ablation", "accuracy").items()
    return {k.removeprefix(f"{target}, "): v for k, v in found if k.startswith(f"{target}, ")}


@pytest.mark.parametrize("target", ["svhn", "usps"])
@pytest.mark.parametrize(
    "name, score, little",
    [
        ("everything", "information", 0.05),
        ("source only, plain", "validation", 0.01),
        ("target's labels", "validation", 0.01),
    ],
)
def test_no_other_rate_scores_higher(target, name, score, little):
    of = scores("dann-ablation", score)
    chosen = of[f"{target}, {name}"]
    for other in ("halved", "doubled"):
        assert of[f"{target}, {name}, learning rate {other}"] < chosen + little


@ADAPTED
@pytest.mark.parametrize("row", ["dann", "best_adaptation"])
def test_held_out_source_images_speak_for_reading_twice(target, row):
    of = recorded(f"dann-{target}")
    assert of[f"{row}: validation"] > of[f"{row}: validation read once"] - 0.002


@ADAPTED
def test_augmentation_explains_most_of_the_gain(target):
    of = recorded(f"dann-{target}")
    gain = of["best_adaptation"] - of["source_only"]
    assert of["source_augmented"] - of["source_only"] > gain / 2


def test_what_dann_adds_and_where_it_costs():
    for target in TARGETS:
        of = recorded(f"dann-{target}")
        assert of["best_adaptation"] > max(of["dann"], of["source_augmented"])
        if target == "usps":
            assert 0.003 < of["source_augmented"] - of["dann"] < 0.007
            assert 0 < of["best_adaptation"] - of["target_only"] < 0.01
        else:
            assert 0 < of["dann"] - of["source_augmented"] < 0.015
            assert of["best_adaptation"] < of["target_only"]


def test_masks_matter_more_to_svhn_than_to_usps():
    def worth(target, row):
        of = recorded(f"dann-{target}")
        return of[row] - of[f"{row.split('_')[0]}_no_masks"]

    for row in ("dann", "best_adaptation"):
        assert worth("svhn", row) > 0.02 > worth("usps", row)


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_the_frozen_statistics_are_not_what_held_the_report_back(target):
    of = recorded(f"dann-{target}")
    assert of["report_form"] < of["dann"] - 0.05
    assert abs(of["report_form"] - of["report_form_frozen"]) < of["dann"] - of["report_form"]


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_the_teacher_is_worth_more_than_the_adversarial_loss(target):
    of = ablation(target)
    assert of["no teacher"] < of["no adversarial loss"]
    assert of["everything"] - of["no adversarial loss"] < 0.02


def test_too_heavy_a_teacher_confirms_its_errors():
    of = ablation("svhn")
    assert of["teacher 3"] < of["everything"] - 0.02
    information = scores("dann-ablation", "information")
    assert information["svhn, teacher 3"] < information["svhn, everything"]


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_geometry_is_worth_most_of_the_input_handling(target):
    of = ablation(target)
    handling = ("not standardised", "no intensity changes", "no geometry", "no distractors",
                "no repainting")  # fmt: skip
    assert min((v for v in handling if v in of), key=of.get) == "no geometry"


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_a_moderate_lambda_is_best(target):
    of = ablation(target)
    at = {lam: of[f"adversarial loss alone, lambda {lam}"] for lam in ("0", "0.1", "0.3", "1")}
    assert max(at, key=at.get) in ("0.1", "0.3")


@ADAPTED
def test_the_last_step_is_as_good_as_a_label_free_choice(target):
    of = recorded(f"dann-{target}")
    for row in ("dann", "best_adaptation"):
        for choice in ("source validation", "information"):
            assert of[row] > of[f"{row}: by {choice}"] - 0.01


@ADAPTED
def test_the_oracle_flatters_the_plain_source_most(target):
    of = recorded(f"dann-{target}")
    flattery = {row: of[f"{row}: by oracle"] - of[row]
                for row in ("source_only", "dann", "best_adaptation")}  # fmt: skip
    assert max(flattery, key=flattery.get) == "source_only"
    assert flattery["source_only"] > 0.02


def test_features_mix_as_adaptation_grows():
    for target in ("svhn", "usps"):
        of = recorded(f"dann-{target}")
        assert of["best_adaptation: agreement"] > of["source_only: agreement"]
        assert of["best_adaptation: a_distance"] < of["source_only: a_distance"]
    assert of["dann: a_distance"] < of["source_augmented: a_distance"]  # of USPS
    assert of["dann: agreement"] < of["source_augmented: agreement"]


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_the_bound_is_loose(target):
    of = recorded(f"dann-{target}")
    for row in ("source_augmented", "dann", "best_adaptation"):
        terms = 1 - of[f"{row}: on the source"]
        terms += of[f"{row}: a_distance"] / 2 + of[f"{row}: joint error"]
        assert terms > 2 * (1 - of[row])


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_dann_lowers_divergence_and_joint_error(target):
    of = recorded(f"dann-{target}")
    for score in ("a_distance", "joint error"):
        assert of[f"dann: {score}"] < of[f"source_only: {score}"]


@ADAPTED
def test_natural_label_shift_is_harmless(target):
    assert recorded(f"dann-{target}")["label shift: least joint error"] < 0.013


REVERSALS = [f"adversarial loss alone, lambda {lam}" for lam in ("0.3", "1")]


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_equal_shares_gain_little(target):
    of = ablation(target)
    for name in ("everything", *REVERSALS):
        assert abs(of[f"source with the target's shares, {name}"] - of[name]) < 0.02


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_made_label_shift_hurts_and_a_strong_reversal_suffers_most(target):
    of = ablation(target)
    names = ("everything", *REVERSALS)
    loss = {name: of[name] - of[f"few 5 to 9 in the target, {name}"] for name in names}
    assert all(lost > 0 for lost in loss.values())
    assert max(loss, key=loss.get) == REVERSALS[1]


def test_ours_trains_a_hundred_times_as_many_images_a_second():
    speed = scores("dann-speed", "training images/s")
    assert speed["ratio, float32"] > 99
    assert speed["ratio, ours as shipped to the reference as written"] > 100
    assert 10 < speed["ratio, bfloat16"] < speed["ratio, float32"]
    share = scores("dann-speed", "share of the peak")
    assert share["ours, bfloat16"] < share["reference, bfloat16"]
    assert recorded("dann-speed")["classify: images/s"] > 500


def test_the_ablation_has_fewer_steps_than_the_tables():
    recorded("dann-ablation")
    data = {name: json.loads((RESULTS / f"{name}.json").read_text())["data"]
            for name in ("dann-ablation", "dann-svhn")}  # fmt: skip
    steps = data["dann-svhn"]["settings"]["dann"]["steps"]
    assert data["dann-ablation"]["settings"]["steps of each"] < steps


def test_the_reports_form_has_four_times_the_images_of_the_other_rows():
    form, dann = ROWS["report_form"], ROWS["dann"]
    assert 3.8 < form.steps * form.batch_size / (dann.steps * dann.batch_size) < 4.2


def test_every_claim_of_the_adaptation_pages_names_a_test_that_exists():
    for page in ("dann", "dann-theory"):
        named = re.findall(r"^% CLAIM (\w+)$", (ROOT / "book" / f"{page}.md").read_text(), re.M)
        assert named and all(name in globals() for name in named), page


HANDLED = {
    "zoom": "zoom", "aspect": "stretch", "rotation": "rotation", "shear": "shear",
    "shift": "shift", "blur": "blur", "flip": "inverted|sign", "scale": "contrast",
    "offset": "offset", "noise": "noise", "thickness": "thicker or thinner",
    "neighbours": "neighbouring digits", "repaint": "repainted", "standardise": "standardised",
    "plates": "plate", "glyphs": "white on black",
}  # fmt: skip


@pytest.mark.parametrize("file", ["book/dann.md", "notebooks/dann.ipynb"])
def test_all_input_handling_is_named(file):
    assert set(HANDLED) == {field.name for field in fields(Handling)}
    text = (ROOT / file).read_text().replace("\\n", " ")
    text = re.sub(r'[\s",]+', " ", text)
    for name, word in HANDLED.items():
        assert re.search(word, text), name
