"""What the adaptation's pages say in words about the recorded numbers; see `test_claims_cfdg`.

A difference is named where it shows: the 95 % interval of the paired differences over seeds leaves
out zero (`ahead`). An amount that a sentence names ("three points") is held to the rounding of
that word.
"""

import json
import re
from dataclasses import fields

import pytest
from helpers.recorded import claims_of, mean, record, recorded

from hw2lib.adaptation import THRESHOLD
from hw2lib.datasets.augment import Handling
from hw2lib.experiments.dann_rows import ANNEALED, ROWS, ramp
from hw2lib.io.paths import ROOT
from hw2lib.metrics import metric

TARGETS = ("svhn", "usps", "mnistm")
CROPS = ("svhn", "usps")
ADAPTED = pytest.mark.parametrize("target", TARGETS)
OF_MNISTM = pytest.mark.parametrize("target", CROPS)
PLAIN = "source only, plain"
ALONE, LAMBDAS = "adversarial loss alone", (0, 0.1, 0.3, 1)
REPORTED = json.loads((ROOT / "data" / "report.json").read_text())["values"]


def table(target, row, score="accuracy", **more):
    """A record of the table of methods."""
    return record(f"dann-{target}", row, score, target=target, **more)


def of(target, row, score="accuracy", **more):
    """Its mean."""
    return table(target, row, score, **more)["mean"]


def cause(target, row, score="accuracy", **more):
    """A record of the study of causes."""
    return record("dann-ablation", row, score, target=target, **more)


def alone(target, lam, score="accuracy", **more):
    """Of the adversarial loss alone, its weight growing to `lam`."""
    return cause(target, ALONE, score, adversarial=lam, **more)


def gap(above, below):
    """Difference of two records seed by seed, with its 95 % interval."""
    differences = [a - b for a, b in zip(above["values"], below["values"], strict=True)]
    return metric(differences, above["n"], "number")


def ahead(above, below):
    """Whether the difference shows."""
    return gap(above, below)["low"] > 0


def open_between(a, b):
    """Whether it shows in neither direction."""
    return not ahead(a, b) and not ahead(b, a)


def points(above, below):
    """A difference that shows, in points of accuracy."""
    assert ahead(above, below)
    return 100 * gap(above, below)["mean"]


# --- data ----------------------------------------------------------------------------------------


def test_the_subsets_are_those_that_the_pages_name():
    domains = {t: recorded(f"dann-{t}")["data"]["domains"][1] for t in TARGETS}
    assert "6,400 train and 1,600 test" in domains["svhn"]
    assert "7,291 train and 2,007 test" in domains["usps"]
    assert "10,000 test" in domains["mnistm"]
    assert any("first8000" in file for file in recorded("dann-svhn")["data"]["sha256"])
    for study in ("ablation", "no-masks", "reading", "report-form"):
        found = recorded(f"dann-{study}")["records"]
        assert {r["n"] for r in found if r["setting"]["target"] == "svhn"
                if r["score"] == "accuracy"} == {1600}  # fmt: skip


@pytest.mark.parametrize("page", ["dann", "dann-appendix", "dann-summary", "dann-theory"])
def test_every_page_says_that_svhn_is_a_subset(page):
    text = (ROOT / "book" / f"{page}.md").read_text()
    assert "subset" in text and re.search(r"1,600\s+test", text)


def test_the_settings_that_the_chapter_names():
    assert (THRESHOLD, ANNEALED, ROWS["best_adaptation"].label_end) == (0.9, (0.3, 0.7), 0.05)
    assert ROWS["dann"].losses == {"adversarial": 0.3}
    assert (ROWS["report_form"].losses, ROWS["report_form"].lr) == ({"adversarial": 0.31}, 1e-4)


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
    chosen = cause(target, row, score)
    for factor in (0.5, 2):
        assert cause(target, row, score, lr_factor=factor)["mean"] < chosen["high"]


@ADAPTED
def test_the_last_step_is_as_good_as_a_label_free_choice(target):
    for row in ("dann", "best_adaptation"):
        for choice in ("source_validation", "information"):
            assert of(target, row) > of(target, row, chosen_by=choice) - 0.0033
    if target == "svhn":
        last = table(target, "best_adaptation")
        early = table(target, "best_adaptation", chosen_by="source_validation")
        assert 2.5 < points(last, early) < 3.5  # three


@ADAPTED
def test_the_oracle_flatters_the_plain_source_most(target):
    def flattery(row):
        return gap(table(target, row, chosen_by="oracle"), table(target, row))

    plain = flattery("source_only")
    assert plain["low"] > 0.01
    for row in ("dann", "best_adaptation"):
        assert ahead(plain, flattery(row))


# --- views ---------------------------------------------------------------------------------------

VIEWED = pytest.mark.parametrize(
    ("target", "row"),
    [(t, r) for t in CROPS for r in ("dann", "best_adaptation")] + [("mnistm", "best_adaptation")],
)


def viewed(target, row, score, views, recalibrated=False):
    return record("dann-reading", row, score, target=target, views=views, settled=recalibrated)


@VIEWED
def test_held_out_source_images_speak_for_two_views(target, row):
    assert ahead(viewed(target, row, "validation", 2), viewed(target, row, "validation", 1))


@VIEWED
def test_trainings_that_were_done_again_read_the_same_images(target, row):
    again = viewed(target, row, "accuracy", 2)
    assert again["values"] == table(target, row)["values"] and len(again["values"]) == 5


@VIEWED
def test_ten_views_and_recalibration(target, row):
    held, test = (
        {"two": viewed(target, row, score, 2), "ten": viewed(target, row, score, 10),
         "recalibrated": viewed(target, row, score, 10, True)}
        for score in ("validation", "accuracy")
    )  # fmt: skip
    assert ahead(held["ten"], held["two"]) or target == "mnistm"
    if target == "usps":
        assert open_between(test["ten"], test["two"])
    else:
        assert points(test["ten"], test["two"]) < (0.67 if target == "svhn" else 0.25)
    if target == "svhn":
        assert points(held["recalibrated"], held["ten"]) > 1
        if row == "dann":
            assert 0.25 < points(test["ten"], test["recalibrated"]) < 0.75  # half a point
        else:
            assert open_between(test["ten"], test["recalibrated"])
    elif target == "mnistm":
        assert open_between(held["ten"], held["recalibrated"])
        assert 0.15 < points(test["recalibrated"], test["ten"]) < 0.25  # two tenths


# --- methods -------------------------------------------------------------------------------------


@ADAPTED
def test_augmentation_explains_most_of_the_gain(target):
    plain, augmented, best = (
        table(target, row) for row in ("source_only", "source_augmented", "best_adaptation")
    )
    assert points(augmented, plain) > 100 * gap(best, plain)["mean"] / 2


@ADAPTED
def test_what_dann_adds_to_the_augmented_source(target):
    dann, augmented = table(target, "dann"), table(target, "source_augmented")
    if target == "mnistm":
        assert 0.35 < points(dann, augmented) < 0.45  # four tenths
    else:
        assert open_between(dann, augmented)


@ADAPTED
def test_what_the_adversarial_loss_adds_to_self_training(target):
    with_it, without = table(target, "dann_self_training"), table(target, "self_training")
    if target == "svhn":
        assert open_between(with_it, without)
    elif target == "usps":
        assert 0.2 < points(without, with_it) < 0.3  # a quarter
    else:
        assert 0.05 < points(with_it, without) < 0.15  # a tenth


@ADAPTED
def test_what_self_training_adds(target):
    own, dann, augmented = (
        table(target, row) for row in ("self_training", "dann", "source_augmented")
    )
    assert ahead(own, dann) and ahead(own, augmented)
    if target == "svhn":
        assert points(own, dann) > 8.5 and points(own, augmented) < 10  # some nine points


@ADAPTED
def test_annealing_the_source_loss(target):
    annealed, kept = table(target, "best_adaptation"), table(target, "self_training")
    if target == "svhn":
        assert 0.75 < points(annealed, kept) < 1  # almost a point
    elif target == "usps":
        assert open_between(annealed, kept)
    else:
        assert 0.2 < points(kept, annealed) < 0.3  # a quarter


@ADAPTED
def test_the_best_adaptation_and_the_targets_labels(target):
    best, labels = table(target, "best_adaptation"), table(target, "target_only")
    if target == "usps":
        assert 0.7 < points(best, labels) < 0.8  # three quarters
    else:
        assert ahead(labels, best)


@ADAPTED
def test_the_test_digits_of_usps_are_harder_than_its_training_digits(target):
    held, test = (cause(target, "target's labels", score) for score in ("validation", "accuracy"))
    if target == "usps":
        assert held["low"] > test["high"]
    else:
        assert held["mean"] < test["mean"]


@OF_MNISTM
def test_how_far_the_source_loss_is_annealed(target):
    kept, at_05, at_0 = (
        cause(target, "no adversarial loss"),
        cause(target, "self-training", label_end=0.05),
        cause(target, "self-training", label_end=0),
    )
    assert open_between(at_05, at_0)
    if target == "svhn":
        assert 0.75 < points(at_05, kept) < 1.25  # a point
    else:
        assert open_between(at_05, kept) and open_between(at_0, kept)
    score = cause(target, "no adversarial loss", "information")
    for end in (0.05, 0):
        assert ahead(cause(target, "self-training", "information", label_end=end), score)


def test_what_masks_are_worth():
    for target in CROPS:
        row = "dann_self_training"
        assert open_between(table(target, row), table(target, f"{row}_no_masks"))
    assert open_between(table("svhn", "dann"), table("svhn", "dann_no_masks"))
    assert 0.35 < points(table("usps", "dann_no_masks"), table("usps", "dann")) < 0.45
    without = record("dann-no-masks", "best_no_masks", target="svhn")
    assert 2 < points(table("svhn", "best_adaptation"), without) < 3
    assert ahead(table("svhn", "dann_self_training_no_masks"), without)


def test_the_frozen_statistics_are_not_what_held_the_report_back():
    form, frozen = (
        record("dann-report-form", row, target="svhn")
        for row in ("report_form", "report_form_frozen")
    )
    cost, values = points(form, frozen), frozen["values"]
    assert 5.5 < cost < min(6.5, 100 * (max(values) - min(values)))  # six, and they scatter
    assert 35.5 < points(table("svhn", "dann"), form) < 36.5
    assert form["low"] < REPORTED["svhn dann"] < form["high"]


def test_usps_is_not_reproduced():
    for row in ("report_form", "report_form_frozen"):
        assert record("dann-report-form", row, target="usps")["low"] > REPORTED["usps dann"]
    off = ROWS["report_form"].off
    assert "geometry" not in off and "standardise" in off


def test_mixing_the_domains_is_not_the_aim():
    for target in CROPS:
        augmented, dann, best = (
            {s: table(target, row, s) for s in ("agreement", "a_distance")}
            for row in ("source_augmented", "dann", "best_adaptation")
        )
        assert ahead(augmented["a_distance"], dann["a_distance"])
        assert ahead(best["agreement"], dann["agreement"])
        assert ahead(best["agreement"], augmented["agreement"])
        if target == "svhn":
            assert open_between(augmented["agreement"], dann["agreement"])
        else:
            assert 0.5 < points(augmented["agreement"], dann["agreement"]) < 1.5  # about a point


# --- causes --------------------------------------------------------------------------------------


@OF_MNISTM
def test_which_parts_show_when_left_out(target):
    everything = cause(target, "everything")

    def without(row):
        return cause(target, f"no {row}")

    amounts = {"svhn": ((4.5, 5.5), (2.5, 3.5)), "usps": ((0.75, 1), (1.25, 1.75))}[target]
    for row, (least, most) in zip(("teacher", "geometry"), amounts, strict=True):
        assert least < points(everything, without(row)) < most
    plain = cause(target, "not standardised")
    assert ahead(everything, plain) if target == "svhn" else open_between(everything, plain)
    if target == "svhn":
        assert 1.5 < points(without("blur"), everything) < 2  # almost two
        assert open_between(everything, without("distractors"))
        assert open_between(everything, without("repainting"))
    else:
        assert open_between(everything, without("blur"))
    for row in ("thickness", "intensity changes", "adversarial loss", "entropy and balance"):
        assert open_between(everything, without(row))
    assert open_between(everything, cause(target, "shared batch statistics"))


@OF_MNISTM
def test_the_score_rises_beyond_the_teachers_best_weight(target):
    weak, one, strong = (cause(target, "everything", **more)
                         for more in ({"teacher": 0.3}, {}, {"teacher": 3}))  # fmt: skip
    assert ahead(one, weak) and open_between(one, strong)
    weak, one, strong = (cause(target, "everything", "information", **more)
                         for more in ({"teacher": 0.3}, {}, {"teacher": 3}))  # fmt: skip
    assert ahead(one, weak) and ahead(strong, one)
    if target == "svhn":
        low, middle, _ = sorted(cause(target, "everything", teacher=3)["values"])
        assert 0.03 < middle - low < 0.045  # four points


@OF_MNISTM
def test_no_strength_is_shown_to_beat_none(target):
    for lam in LAMBDAS[1:]:
        assert open_between(alone(target, lam), alone(target, 0))
        score, without = alone(target, lam, "information"), alone(target, 0, "information")
        assert ahead(without, score) if target == "usps" else open_between(without, score)
    assert not ahead(alone(target, 0.3, ramp=False), alone(target, 0))


@ADAPTED
def test_plain_dann_gains_from_batch_statistics(target):
    source, dann, own = (cause(target, row) for row in
                         (PLAIN, "plain DANN", "plain, own batch statistics"))  # fmt: skip
    assert ahead(dann, source) and ahead(own, source)
    assert ahead(cause(target, "source only, plain, standardised"), source)
    if target == "usps":
        assert open_between(dann, own)
    else:
        least, most = (2.5, 3.5) if target == "svhn" else (15, 25)  # three; some twenty
        assert least < points(own, dann) < most


# --- the bound -----------------------------------------------------------------------------------


@OF_MNISTM
def test_the_bound_says_nothing_here(target):
    for row in ("source_only", "source_augmented", "dann", "best_adaptation"):
        half = of(target, row, "a_distance") / 2
        assert half > (0.7 if (target, row) == ("svhn", "dann") else 0.5)
        assert 1 - of(target, row, "source_accuracy") + half + of(target, row, "joint_error") > 1


@OF_MNISTM
def test_dann_raises_the_joint_error(target):
    for score, raised in (("joint_error", "dann"), ("a_distance", "source_augmented")):
        other = ({"dann", "source_augmented"} - {raised}).pop()
        assert ahead(table(target, raised, score), table(target, other, score))


@OF_MNISTM
@pytest.mark.parametrize("score", ["a_distance", "joint_error"])
def test_dann_and_the_plain_source(target, score):
    assert ahead(table(target, "source_only", score), table(target, "dann", score))


# --- label shift ---------------------------------------------------------------------------------

EQUAL, FEW = "as the target's", "few 5 to 9 in the target"


@ADAPTED
def test_natural_label_shift_is_harmless(target):
    assert of(target, "label_shift", "least_joint_error") < 0.013


@OF_MNISTM
def test_equal_shares_show_no_difference(target):
    for lam in (0, 0.3, 1):
        assert open_between(alone(target, lam, shares=EQUAL), alone(target, lam))
    assert open_between(cause(target, "everything", shares=EQUAL), cause(target, "everything"))


@OF_MNISTM
def test_made_label_shift_hurts_through_the_reversal(target):
    kept, few = ({lam: alone(target, lam, **more) for lam in (0, 0.3, 1)}
                 for more in ({}, {"shares": FEW}))  # fmt: skip
    everything = cause(target, "everything"), cause(target, "everything", shares=FEW)
    least, most = (7.5, 9.5) if target == "svhn" else (5.5, 8.5)  # eight or nine; six to eight
    for lam in (0.3, 1):
        assert least < points(kept[lam], few[lam]) < most
    assert ahead(gap(kept[0.3], few[0.3]), gap(kept[0], few[0]))
    if target == "svhn":
        assert 2.5 < points(kept[0], few[0]) < 3.5 < points(*everything) < 4.5  # three; four
    else:
        assert open_between(kept[0], few[0]) and open_between(*everything)


# --- exercises -----------------------------------------------------------------------------------


def test_the_exercise_on_the_ramp_is_computed_rightly():
    text = (ROOT / "book" / "dann.md").read_text()
    for progress in (0.1, 0.5):
        assert f"= {0.3 * ramp(progress):.3f}$" in text


@ADAPTED
def test_the_exercise_on_label_shift_is_computed_rightly(target):
    distance = of(target, "label_shift", "distance")
    assert of(target, "label_shift", "least_joint_error") == pytest.approx(distance**2 / 2)


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
    assert few == 960 == recorded("dann-svhn")["settings"]["rows"]["dann"]["steps"] / 5


def test_the_reports_form_has_four_times_the_images_of_the_other_rows():
    form, dann = ROWS["report_form"], ROWS["dann"]
    assert 3.8 < form.steps * form.batch_size / (dann.steps * dann.batch_size) < 4.2


PAGES = ("dann", "dann-appendix", "dann-summary", "dann-theory")


@pytest.mark.parametrize("page", PAGES)
def test_every_claim_of_the_adaptation_pages_names_a_test_that_exists(page):
    named = claims_of(page)
    assert named and all(name in globals() for name in named)


@pytest.mark.parametrize("page", PAGES)
def test_no_accuracy_is_typed_by_hand(page):
    assert not re.findall(r"\d+\.\d+ ?%", (ROOT / "book" / f"{page}.md").read_text())


HANDLED = {
    "zoom": "zoom", "aspect": "stretch", "rotation": "rotation", "shear": "shear",
    "shift": "shift", "blur": "blur", "flip": "inverted|sign", "scale": "contrast",
    "offset": "offset", "noise": "noise", "thickness": "thicker or thinner",
    "neighbours": "neighbouring digits", "repaint": "repainted", "standardise": "standardised",
    "plates": "plate", "glyphs": "white on black",
}  # fmt: skip


@pytest.mark.parametrize("file", ["book/dann-appendix.md", "notebooks/dann.ipynb"])
def test_all_augmentation_is_named(file):
    assert set(HANDLED) == {field.name for field in fields(Handling)}
    text = (ROOT / file).read_text().replace("\\n", " ")
    text = re.sub(r'[\s",]+', " ", text)
    for name, word in HANDLED.items():
        assert re.search(word, text), name
