"""What the adaptation's pages say in words about the recorded numbers; see `test_claims_cfdg`.

An amount that a sentence names ("three points") is held to the rounding of that word.
"""

import json
import re
from dataclasses import fields

import pytest
from helpers.recorded import claims_of, mean, means, record, recorded

from hw2lib.datasets.augment import Handling
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.paths import ROOT

TARGETS = ("svhn", "usps", "mnistm")
CROPS = ("svhn", "usps")
ADAPTED = pytest.mark.parametrize("target", TARGETS)
OF_MNISTM = pytest.mark.parametrize("target", CROPS)
PLAIN = "source only, plain"
ALONE, LAMBDAS = "adversarial loss alone", (0, 0.1, 0.3, 1)


def of(target, row, score="accuracy", **more):
    """Of the table's rows."""
    return mean(f"dann-{target}", row, score, **more)


def cause(target, row, score="accuracy", **more):
    """Of the study of causes."""
    return mean("dann-ablation", row, score, target=target, **more)


def alone(target, lam, score="accuracy", **more):
    """Of the adversarial loss alone, its weight growing to `lam`."""
    return cause(target, ALONE, score, adversarial=lam, **more)


# --- choices -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "row", "score"),
    [
        *((target, PLAIN, "validation") for target in TARGETS),
        *((target, "target's labels", "validation") for target in TARGETS),
        *((target, "everything", "information") for target in CROPS),
    ],
)
def test_no_other_rate_scores_higher(target, row, score):
    chosen = record("dann-ablation", row, score, target=target)
    for factor in (0.5, 2):
        assert cause(target, row, score, lr_factor=factor) < chosen["high"]


@ADAPTED
def test_the_last_step_is_as_good_as_a_label_free_choice(target):
    for row in ("dann", "best_adaptation"):
        for choice in ("source_validation", "information"):
            assert of(target, row) > of(target, row, chosen_by=choice) - 0.01
    if target == "svhn":
        early = of(target, "best_adaptation", chosen_by="source_validation")
        assert 0.025 < of(target, "best_adaptation") - early < 0.035  # three points


@ADAPTED
def test_the_oracle_flatters_the_plain_source_most(target):
    rows = ("source_only", "dann", "best_adaptation")
    flattery = {row: of(target, row, chosen_by="oracle") - of(target, row) for row in rows}
    assert max(flattery, key=flattery.get) == "source_only"
    assert flattery["source_only"] > 0.02


# --- reading -------------------------------------------------------------------------------------

READ_AGAIN = pytest.mark.parametrize(
    ("target", "row"),
    [(t, r) for t in CROPS for r in ("dann", "best_adaptation")] + [("mnistm", "best_adaptation")],
)


def reading(target, row, score, views, settled=False):
    return mean("dann-reading", row, score, target=target, views=views, settled=settled)


@ADAPTED
@pytest.mark.parametrize("row", ["dann", "best_adaptation"])
def test_held_out_source_images_speak_for_reading_twice(target, row):
    assert of(target, row, "validation") > of(target, row, "validation", views=1) - 0.002
    if means("dann-reading", row, "validation", target=target):
        read = [reading(target, row, "validation", views) for views in (1, 2)]
        assert read[1] > read[0] - 0.002


@READ_AGAIN
def test_trainings_that_were_done_again_read_the_same_images(target, row):
    again = record("dann-reading", row, target=target, views=2)
    assert again["values"] == record(f"dann-{target}", row)["values"] and len(again["values"]) == 5


@READ_AGAIN
def test_ten_views_help_and_promises_of_settled_statistics_do_not_carry_over(target, row):
    held, test = (
        {"twice": reading(target, row, score, 2), "ten": reading(target, row, score, 10),
         "settled": reading(target, row, score, 10, True)}
        for score in ("validation", "accuracy")
    )  # fmt: skip
    assert held["ten"] > held["twice"]
    assert 0 <= test["ten"] - test["twice"] < 0.007  # up to two thirds of a point
    promise, gain = held["settled"] - held["ten"], test["settled"] - test["ten"]
    if target == "svhn":
        assert promise > 0.01
        assert -0.0075 < gain < -0.0025 if row == "dann" else 0.0005 < gain < 0.0015
    elif target == "usps":
        assert promise < 0 and gain < 0
    else:
        assert promise < 0.0005 and 0.0015 < gain < 0.0025


# --- rows ----------------------------------------------------------------------------------------


@ADAPTED
def test_augmentation_explains_most_of_the_gain(target):
    gain = of(target, "best_adaptation") - of(target, "source_only")
    assert of(target, "source_augmented") - of(target, "source_only") > gain / 2


@ADAPTED
def test_what_dann_adds_and_where_it_costs(target):
    dann, augmented, best = (of(target, r) for r in ("dann", "source_augmented", "best_adaptation"))
    assert of(target, "self_training") > max(dann, augmented)
    if target == "usps":
        assert 0.0025 < augmented - dann < 0.0075  # half a point
        assert 0 < best - of(target, "target_only") < 0.01
    else:
        assert 0 < dann - augmented < 0.015  # about a point or less
        assert best < of(target, "target_only")


@ADAPTED
def test_the_test_digits_of_usps_are_harder_than_its_training_digits(target):
    held, test = (record("dann-ablation", "target's labels", score, target=target)
                  for score in ("validation", "accuracy"))  # fmt: skip
    if target == "usps":
        assert held["mean"] > 0.99 and held["low"] > test["high"]
    else:
        assert held["mean"] < test["mean"]
    assert recorded("dann-usps")["settings"]["source_images_held_out"] == 2000  # of 60,000


@ADAPTED
def test_the_adversarial_loss_adds_nothing_to_self_training(target):
    assert -0.0025 < of(target, "self_training") - of(target, "dann_self_training") < 0.01


def test_letting_the_source_go():
    gain = {t: of(t, "best_adaptation") - of(t, "self_training") for t in TARGETS}
    assert 0.005 < gain["svhn"] < 0.015  # another point
    assert 0 <= gain["usps"] < 0.0025
    assert -0.004 < gain["mnistm"] < -0.001  # a quarter of a point
    assert of("mnistm", "self_training", "source_accuracy") > 0.99


@OF_MNISTM
def test_how_far_the_source_should_be_let_go(target):
    kept, ends = "no adversarial loss", (0.05, 0)
    for end in ends:
        assert cause(target, "self-training", label_end=end) > cause(target, kept)
        information = cause(target, "self-training", "information", label_end=end)
        assert information > cause(target, kept, "information")
    a, b = (cause(target, "self-training", label_end=end) for end in ends)
    assert abs(a - b) < 0.01


def test_what_masks_are_worth():
    def worth(target, row):
        return of(target, row) - of(target, f"{row}_no_masks")

    assert 0 < worth("svhn", "dann") < 0.01
    assert worth("usps", "dann") < 0
    assert all(abs(worth(target, "dann_self_training")) < 0.01 for target in CROPS)
    without = {t: mean("dann-no-masks", "best_no_masks", target=t) for t in CROPS}
    assert of("svhn", "best_adaptation") - without["svhn"] > 0.02
    assert without["svhn"] < of("svhn", "dann_self_training_no_masks")
    assert abs(of("usps", "best_adaptation") - without["usps"]) < 0.005


def test_the_frozen_statistics_are_not_what_held_the_report_back():
    form = {t: record("dann-report-form", "report_form", target=t) for t in CROPS}
    frozen = {t: record("dann-report-form", "report_form_frozen", target=t) for t in CROPS}
    for target, least, most in (("svhn", 0.055, 0.065), ("usps", 0.005, 0.015)):
        cost = form[target]["mean"] - frozen[target]["mean"]
        values = frozen[target]["values"]
        assert least < cost < min(most, max(values) - min(values))  # six points, and one
        assert of(target, "dann") > form[target]["high"]
    assert of("svhn", "dann") - form["svhn"]["mean"] == pytest.approx(0.36, abs=0.005)
    reported = json.loads((ROOT / "data" / "report.json").read_text())["values"]["svhn dann"]
    assert form["svhn"]["low"] < reported < form["svhn"]["high"]


def test_features_mix_as_adaptation_grows():
    for target in CROPS:
        best, plain = (
            {s: of(target, row, s) for s in ("agreement", "a_distance")}
            for row in ("best_adaptation", "source_only")
        )
        assert best["agreement"] > plain["agreement"] and best["a_distance"] < plain["a_distance"]
    for score in ("a_distance", "agreement"):
        assert of("usps", "dann", score) < of("usps", "source_augmented", score)


# --- causes --------------------------------------------------------------------------------------


@OF_MNISTM
def test_the_teacher_is_worth_more_than_the_adversarial_loss(target):
    teacher = cause(target, "everything") - cause(target, "no teacher")
    least, most = (0.045, 0.055) if target == "svhn" else (0.005, 0.01)  # five; almost one
    assert least < teacher < most
    for row in ("no adversarial loss", "no entropy and balance"):
        assert abs(cause(target, "everything") - cause(target, row)) < max(0.01, teacher / 2)


@OF_MNISTM
def test_geometry_is_worth_most_of_the_input_handling(target):
    rows = ["not standardised", "no intensity changes", "no geometry", "no blur", "no thickness"]
    rows += ["no distractors", "no repainting"] * (target == "svhn")
    order = sorted(rows, key=lambda row: cause(target, row))
    assert order[0] == "no geometry"
    if target == "svhn":
        assert order[1] == "not standardised"
        assert cause(target, "everything") - cause(target, "no geometry") > 0.03
    else:
        assert abs(cause(target, "everything") - cause(target, "not standardised")) < 0.005


def test_a_short_training_has_no_use_for_blur_thickness_and_distractors():
    for row in ("no blur", "no thickness", "no distractors"):
        cost = cause("svhn", row) - cause("svhn", "everything")
        assert 0.005 < cost < 0.025  # one or two points
    for row in ("dann", "dann_self_training"):
        assert of("svhn", row) > of("svhn", f"{row}_no_masks")


@OF_MNISTM
def test_the_score_rises_beyond_the_teachers_best_weight(target):
    weights = [("no teacher", {}), ("everything", {"teacher": 0.3}), ("everything", {}),
               ("everything", {"teacher": 3})]  # fmt: skip
    claimed = [cause(target, row, "information", **more) for row, more in weights]
    assert claimed == sorted(claimed)
    read = [cause(target, row, **more) for row, more in weights]
    assert read[:3] == sorted(read[:3]) and read[3] < read[2] + 0.005
    if target == "svhn":
        low, middle, _ = sorted(
            record("dann-ablation", "everything", target=target, teacher=3)["values"]
        )
        assert 0.03 < middle - low < 0.045  # four points


@OF_MNISTM
def test_no_lambda_beats_the_batch_statistics_alone(target):
    for score in ("accuracy", "information"):
        found = [alone(target, lam, score) for lam in LAMBDAS]
        assert found == sorted(found, reverse=True)
    assert 0.005 < alone(target, 0) - alone(target, 1) < 0.015  # about a point
    least, most = (0.005, 0.025) if target == "svhn" else (0, 0.01)  # one or two; a fraction
    assert least < alone(target, 0) - cause(target, "source only, augmented") < most


def test_plain_dann_gains_from_batch_statistics():
    gains = {}
    for target in TARGETS:
        source, own = cause(target, PLAIN), cause(target, "plain, own batch statistics")
        assert cause(target, "plain DANN") > source
        gains[target] = cause(target, "plain DANN") - own
        if target != "usps":
            assert cause(target, "source only, plain, standardised") > own
        else:
            assert own - source > 3 * gains[target]
    assert 0.015 < gains["usps"] < 0.025  # two points
    assert -0.035 < gains["svhn"] < -0.025
    assert -0.25 < gains["mnistm"] < -0.15  # twenty, a round number
    assert 2.5 < own / source < 3.5  # three times as many digits of MNIST-M


@OF_MNISTM
def test_the_bound_is_loose(target):
    for row in ("source_augmented", "dann", "best_adaptation"):
        terms = 1 - of(target, row, "source_accuracy") + of(target, row, "a_distance") / 2
        assert terms + of(target, row, "joint_error") > 2 * (1 - of(target, row))


@OF_MNISTM
@pytest.mark.parametrize("score", ["a_distance", "joint_error"])
def test_dann_lowers_divergence_and_joint_error(target, score):
    assert of(target, "dann", score) < of(target, "source_only", score)


# --- label shift ---------------------------------------------------------------------------------

EQUAL, FEW = "as the target's", "few 5 to 9 in the target"


@ADAPTED
def test_natural_label_shift_is_harmless(target):
    assert of(target, "label_shift", "least_joint_error") < 0.013


@OF_MNISTM
def test_equal_shares_change_little(target):
    least, most = (0.005, 0.015) if target == "svhn" else (-0.0075, -0.0025)  # a point; half
    for lam in (0.3, 1):
        assert least < alone(target, lam, shares=EQUAL) - alone(target, lam) < most
    assert abs(cause(target, "everything", shares=EQUAL) - cause(target, "everything")) < 0.01


@OF_MNISTM
def test_made_label_shift_hurts_through_the_reversal(target):
    lost = {lam: alone(target, lam) - alone(target, lam, shares=FEW) for lam in (0, 0.3, 1)}
    everything = cause(target, "everything") - cause(target, "everything", shares=FEW)
    if target == "svhn":
        assert 0.025 < lost[0] < 0.035 < everything < 0.045  # three points, and four
        assert all(0.075 < lost[lam] < 0.095 for lam in (0.3, 1))
    else:
        assert 0.0025 < lost[0] < 0.0075 and 0.0025 < everything < 0.004  # half, and a third
        assert all(0.055 < lost[lam] < 0.085 for lam in (0.3, 1))


# --- speed and sizes -----------------------------------------------------------------------------


def test_ours_trains_a_hundred_times_as_many_images_a_second():
    def ratio(precision):
        return mean("dann-speed", "ratio", "training_images_per_s", precision=precision)

    assert ratio("float32") > 99 and ratio("each as shipped") > 100
    assert 10 < ratio("bfloat16") < ratio("float32")
    ours, theirs = (mean("dann-speed", row, "peak_share", precision="bfloat16")
                    for row in ("ours", "reference"))  # fmt: skip
    assert ours < theirs
    assert mean("dann-speed", "classify", "images_per_s") > 500


def test_the_ablation_has_fewer_steps_than_the_tables():
    few = recorded("dann-ablation")["settings"]["steps of each"]
    assert few < recorded("dann-svhn")["settings"]["rows"]["dann"]["steps"]


def test_the_reports_form_has_four_times_the_images_of_the_other_rows():
    form, dann = ROWS["report_form"], ROWS["dann"]
    assert 3.8 < form.steps * form.batch_size / (dann.steps * dann.batch_size) < 4.2


def test_every_claim_of_the_adaptation_pages_names_a_test_that_exists():
    for page in ("dann", "dann-theory"):
        named = claims_of(page)
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
