"""What the adaptation pages claim, held by the recorded results; see `test_claims`."""

import json
import re
from dataclasses import fields

import pytest
from dann_reading import WAYS
from helpers.recorded import recorded, scores

from hw2lib.datasets.augment import Handling
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.paths import RESULTS, ROOT

TARGETS = ("svhn", "usps", "mnistm")
ADAPTED = pytest.mark.parametrize("target", TARGETS)


def ablation(target):
    """variant -> accuracy, of the study of causes."""
    found = scores("dann-ablation", "accuracy").items()
    return {k.removeprefix(f"{target}, "): v for k, v in found if k.startswith(f"{target}, ")}


@pytest.mark.parametrize(
    "target, name, score",
    [
        *((target, "source only, plain", "validation") for target in TARGETS),
        *((target, "target's labels", "validation") for target in TARGETS),
        *((target, "everything", "information") for target in ("svhn", "usps")),
    ],
)
def test_no_other_rate_scores_higher(target, name, score):
    recorded("dann-ablation")
    metrics = json.loads((RESULTS / "dann-ablation.json").read_text())["metrics"]
    chosen = metrics[f"{target}, {name}: {score}"]
    for other in ("halved", "doubled"):
        entry = metrics[f"{target}, {name}, learning rate {other}: {score}"]
        assert entry["mean"] < chosen["high"]


@ADAPTED
@pytest.mark.parametrize("row", ["dann", "best_adaptation"])
def test_held_out_source_images_speak_for_reading_twice(target, row):
    of = recorded(f"dann-{target}")
    assert of[f"{row}: validation"] > of[f"{row}: validation read once"] - 0.002
    read = scores("dann-reading", "validation")
    if f"{target}, {row} once" in read:
        assert read[f"{target}, {row} twice"] > read[f"{target}, {row} once"] - 0.002


READ_AGAIN = pytest.mark.parametrize(
    "target, row",
    [(t, r) for t in ("svhn", "usps") for r in ("dann", "best_adaptation")]
    + [("mnistm", "best_adaptation")],
)


@READ_AGAIN
def test_trainings_that_were_done_again_read_the_same_images(target, row):
    again, before = (
        json.loads((RESULTS / f"{name}.json").read_text())["metrics"][key]
        for name, key in (
            ("dann-reading", f"{target}, {row} twice: accuracy"), (f"dann-{target}", row),
        )
    )  # fmt: skip
    assert again["values"] == before["values"] and len(again["values"]) == 5


@READ_AGAIN
def test_ten_views_help_and_promises_of_settled_statistics_do_not_carry_over(target, row):
    held, test = (
        {way: scores("dann-reading", score)[f"{target}, {row} {way}"] for way in WAYS}
        for score in ("validation", "accuracy")
    )
    twice, ten, settled = list(WAYS)[1:]
    assert held[ten] > held[twice]
    assert 0 <= test[ten] - test[twice] < 0.0067
    promise, gain = held[settled] - held[ten], test[settled] - test[ten]
    if target == "svhn":
        assert 0.01 < promise < 0.02
        assert -0.007 < gain < -0.004 if row == "dann" else 0.0005 < gain < 0.0015
    elif target == "usps":
        assert promise < 0 and gain < 0
    else:
        assert promise < 0.0005 and 0.0015 < gain < 0.0025


@ADAPTED
def test_augmentation_explains_most_of_the_gain(target):
    of = recorded(f"dann-{target}")
    gain = of["best_adaptation"] - of["source_only"]
    assert of["source_augmented"] - of["source_only"] > gain / 2


def test_what_dann_adds_and_where_it_costs():
    for target in TARGETS:
        of = recorded(f"dann-{target}")
        assert of["self_training"] > max(of["dann"], of["source_augmented"])
        if target == "usps":
            assert 0.003 < of["source_augmented"] - of["dann"] < 0.007
            assert 0 < of["best_adaptation"] - of["target_only"] < 0.01
        else:
            assert 0 < of["dann"] - of["source_augmented"] < 0.015
            assert of["best_adaptation"] < of["target_only"]


def test_the_test_digits_of_usps_are_harder_than_its_training_digits():
    metrics = json.loads((RESULTS / "dann-ablation.json").read_text())["metrics"]
    for target in TARGETS:
        held, test = (metrics[f"{target}, target's labels: {score}"]
                      for score in ("validation", "accuracy"))  # fmt: skip
        if target == "usps":
            assert held["mean"] > 0.99 and held["low"] > test["high"]
        else:
            assert held["mean"] < test["mean"]
    data = json.loads((RESULTS / "dann-usps.json").read_text())["data"]
    assert data["source images held out"] == 2000  # of 60,000


@ADAPTED
def test_the_adversarial_loss_adds_nothing_to_self_training(target):
    of = recorded(f"dann-{target}")
    assert -0.0025 < of["self_training"] - of["dann_self_training"] < 0.01


def test_letting_the_source_go():
    gain = {}
    for target in TARGETS:
        of = recorded(f"dann-{target}")
        gain[target] = of["best_adaptation"] - of["self_training"]
    assert 0.005 < gain["svhn"] < 0.015
    assert 0 <= gain["usps"] < 0.0025
    assert -0.004 < gain["mnistm"] < -0.001
    assert recorded("dann-mnistm")["self_training: on the source"] > 0.99


def test_how_far_the_source_should_be_let_go():
    ends = ("no adversarial loss", "self-training, source let go to 0.05",
            "self-training, source let go to 0")  # fmt: skip
    information = scores("dann-ablation", "information")
    for target, least in (("svhn", 0.005), ("usps", 0)):
        of = ablation(target)
        for end in ends[1:]:
            assert of[end] > of[ends[0]] + least
            assert information[f"{target}, {end}"] > information[f"{target}, {ends[0]}"]
        assert abs(of[ends[1]] - of[ends[2]]) < 0.005


def test_what_masks_are_worth():
    of = {target: recorded(f"dann-{target}") for target in ("svhn", "usps")}
    best = scores("dann-no-masks", "accuracy")

    def worth(target, row):
        return of[target][row] - of[target][f"{row}_no_masks"]

    assert 0.005 < worth("svhn", "dann") < 0.01
    assert -0.005 < worth("usps", "dann") < -0.002
    assert all(abs(worth(target, "dann_self_training")) < 0.0025 for target in of)
    without = best["svhn, best_no_masks"]
    assert 0.02 < of["svhn"]["best_adaptation"] - without < 0.03
    assert without < of["svhn"]["dann_self_training_no_masks"]
    assert abs(of["usps"]["best_adaptation"] - best["usps, best_no_masks"]) < 0.0025


def test_the_frozen_statistics_are_not_what_held_the_report_back():
    of = scores("dann-report-form", "accuracy")
    metrics = json.loads((RESULTS / "dann-report-form.json").read_text())["metrics"]
    cost, left = {}, {}
    for target in ("svhn", "usps"):
        mended = of[f"{target}, report_form"]
        cost[target] = mended - of[f"{target}, report_form_frozen"]
        left[target] = recorded(f"dann-{target}")["dann"] - mended
        frozen = metrics[f"{target}, report_form_frozen: accuracy"]["values"]
        assert max(frozen) - min(frozen) > cost[target]
    assert 0.055 < cost["svhn"] < 0.065 and 0.005 < cost["usps"] < 0.015
    assert left["svhn"] == pytest.approx(0.36, abs=0.005)
    mended = metrics["svhn, report_form: accuracy"]
    reported = json.loads((ROOT / "data" / "report.json").read_text())["values"]["svhn dann"]
    assert mended["low"] < reported < mended["high"]
    assert metrics["usps, report_form: accuracy"]["high"] < recorded("dann-usps")["dann"]


def test_the_teacher_is_worth_more_than_the_adversarial_loss():
    for target, least, most in (("svhn", 0.045, 0.055), ("usps", 0.006, 0.01)):
        of = ablation(target)
        assert least < of["everything"] - of["no teacher"] < most
        for name in ("no adversarial loss", "no entropy and balance"):
            assert abs(of["everything"] - of[name]) < 0.01


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_geometry_is_worth_most_of_the_input_handling(target):
    of = ablation(target)
    handling = ("not standardised", "no intensity changes", "no geometry", "no blur",
                "no thickness", "no distractors", "no repainting")  # fmt: skip
    order = sorted((name for name in handling if name in of), key=of.get)
    assert order[0] == "no geometry"
    if target == "svhn":
        assert order[1] == "not standardised"
        assert of["everything"] - of["no geometry"] > 0.03
    else:
        assert abs(of["everything"] - of["not standardised"]) < 0.001


def test_a_short_training_has_no_use_for_blur_thickness_and_distractors():
    of = ablation("svhn")
    for name in ("no blur", "no thickness", "no distractors"):
        assert 0.01 < of[name] - of["everything"] < 0.02
    full = recorded("dann-svhn")
    assert full["dann"] > full["dann_no_masks"]
    assert full["dann_self_training"] > full["dann_self_training_no_masks"]


def test_the_score_rises_beyond_the_teachers_best_weight():
    weights = ("no teacher", "teacher 0.3", "everything", "teacher 3")
    information = scores("dann-ablation", "information")
    for target in ("svhn", "usps"):
        of = ablation(target)
        claimed = [information[f"{target}, {name}"] for name in weights]
        assert claimed == sorted(claimed)
        read = [of[name] for name in weights]
        assert read[:3] == sorted(read[:3]) and read[3] < read[2] + 0.003
    metrics = json.loads((RESULTS / "dann-ablation.json").read_text())["metrics"]
    low, middle, _ = sorted(metrics["svhn, teacher 3: accuracy"]["values"])
    assert 0.03 < middle - low < 0.045


LAMBDAS = [f"adversarial loss alone, lambda {lam}" for lam in ("0", "0.1", "0.3", "1")]


def test_no_lambda_beats_the_batch_statistics_alone():
    information = scores("dann-ablation", "information")
    for target, least, most in (("svhn", 0.01, 0.02), ("usps", 0.001, 0.005)):
        of = ablation(target)
        read = [of[name] for name in LAMBDAS]
        assert read == sorted(read, reverse=True)
        assert 0.007 < read[0] - read[-1] < 0.013
        assert least < read[0] - of["source only, augmented"] < most
        claimed = [information[f"{target}, {name}"] for name in LAMBDAS]
        assert claimed == sorted(claimed, reverse=True)


def test_plain_dann_gains_from_batch_statistics():
    gains = {}
    for target in TARGETS:
        of = ablation(target)
        source, own = of["source only, plain"], of["plain, own batch statistics"]
        assert of["plain DANN"] > source
        gains[target] = of["plain DANN"] - own
        if target != "usps":
            assert of["source only, plain, standardised"] > own
        else:
            assert own - source > 4 * gains[target]
    assert 0.015 < gains["usps"] < 0.025
    assert -0.035 < gains["svhn"] < -0.025
    assert -0.22 < gains["mnistm"] < -0.17
    of = ablation("mnistm")
    ratio = of["plain, own batch statistics"] / of["source only, plain"]
    assert 2.7 < ratio < 3.3


@ADAPTED
def test_the_last_step_is_as_good_as_a_label_free_choice(target):
    of = recorded(f"dann-{target}")
    for row in ("dann", "best_adaptation"):
        for choice in ("source validation", "information"):
            assert of[row] > of[f"{row}: by {choice}"] - 0.01
    if target == "svhn":
        early = of["best_adaptation: by source validation"]
        assert 0.025 < of["best_adaptation"] - early < 0.035


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


def test_equal_shares_change_little():
    for target, least, most in (("svhn", 0.005, 0.015), ("usps", -0.01, 0)):
        of = ablation(target)
        for name in LAMBDAS[2:]:
            assert least < of[f"source with the target's shares, {name}"] - of[name] < most
        name = "everything"
        assert abs(of[f"source with the target's shares, {name}"] - of[name]) < 0.005


def loss_by_label_shift(target, name):
    of = ablation(target)
    return of[name] - of[f"few 5 to 9 in the target, {name}"]


def test_made_label_shift_hurts_through_the_reversal():
    for target, alone, least, most, everything in (
        ("svhn", 0.03, 0.075, 0.095, 0.043),
        ("usps", 0.0045, 0.055, 0.085, 0.0033),
    ):
        for name in LAMBDAS[2:]:
            assert least < loss_by_label_shift(target, name) < most
        for name, lost in ((LAMBDAS[0], alone), ("everything", everything)):
            assert loss_by_label_shift(target, name) == pytest.approx(lost, abs=0.002)


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
