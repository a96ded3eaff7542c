"""What the adaptation's pages say in words about the recorded methods; see `test_claims_cfdg`."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from helpers.adapted import (
    ADAPTED,
    CROPS,
    OF_MNISTM,
    REPORTED,
    TARGETS,
    ahead,
    cause,
    gap,
    open_between,
    points,
    table,
)
from helpers.recorded import claims_of, mean, record, recorded

from hw2lib.adaptation import THRESHOLD
from hw2lib.datasets.augment import Handling
from hw2lib.experiments.dann_rows import ANNEALED, ROWS
from hw2lib.io.paths import ROOT

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


def test_what_the_usps_number_of_the_report_rests_on():
    reported = REPORTED["usps dann"]
    for row in ("report_form", "report_form_frozen"):
        assert record("dann-report-form", row, target="usps")["low"] > reported
    first, every, *parts = (
        record("dann-report-causes", row)
        for row in ("as recorded, shorter", "all together", "target as it is",
                    "source rotated and cropped", "falling learning rate")
    )  # fmt: skip
    assert every["low"] < reported < every["high"]
    assert all(6 < points(part, every) < 10 for part in parts)  # six to ten
    assert all(open_between(first, other) for other in (every, *parts))
    low, middle, _ = sorted(first["values"])
    assert 0.075 < middle - low < 0.09  # eight points


def test_the_frozen_line_does_not_stand_for_the_reports_code():
    frozen = record("dann-report-causes", "all together, batch norm frozen")
    assert max(frozen["values"]) - min(frozen["values"]) > 0.1
    settings = recorded("dann-report-causes")["settings"]["all together, batch norm frozen"]
    assert settings["frozen_after"] * settings["steps"] == 48
    form = ROWS["report_form_frozen"]
    assert round(form.frozen_after * form.steps) == 469
    full = (
        record("dann-report-form", r, target="usps") for r in ("report_form", "report_form_frozen")
    )
    assert open_between(*full)


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
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_claims_dann*.py"))
    assert named and all(f"def {name}(" in tests for name in named)


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
