"""What the digits' pages say in words about the recorded numbers, each sentence held by them.

A new recording that contradicts a sentence fails here, and the sentence is what must change. One
rule: a difference is named where an interval, or the differences of paired seeds, show it.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.recorded import claims_of, mean, means, record

from hw2lib.experiments.cfdg import DEFAULT, SOLVER
from hw2lib.io.paths import ROOT
from hw2lib.metrics import metric, wilson

PAGES = ("cfdg", "cfdg-appendix")
SHIPPED = {"w": DEFAULT.w, "steps": DEFAULT.steps, "solver": SOLVER}
MIDDLE = {"w": 1, "interval": [300, 900]}


def of_models(p, w, score, **more):
    """Of the three models trained with a share p of labels dropped."""
    return record("digits-guidance", "samples", score, p_drop=p, w=w, **more)


def dropped(score, w, **more):
    """Mean of the models trained with dropped labels."""
    return of_models(0.1, w, score, **more)["mean"]


def shown(more, less):
    """The sign of the difference of two records' paired seeds, 0 where its interval holds 0."""
    found = metric(np.subtract(more["values"], less["values"]), 1, "number")
    return (found["low"] > 0) - (found["high"] < 0)


def by_strength(score, more, less, p=0.1):
    """`shown` of two strengths of the same models."""
    return shown(of_models(p, more, score), of_models(p, less, score))


def apart(more, less):
    """Whether the intervals of two records lie apart, `more` above."""
    return more["low"] > less["high"]


def real(score):
    return mean("digits-guidance", "real", score)


def steps(solver, n, score="accuracy", **more):
    return record("digits-steps", "samples", score, solver=solver, steps=n, **more)


def frechet(solver, n):
    return steps(solver, n, "frechet", samples=1000)["mean"]


def trial(row, score="frechet", **more):
    return mean("digits-trials", row, score, **more)


def noises(score, w):
    return record("digits-noises", "samples", score, w=w)


# --- the noises ----------------------------------------------------------------------------------


def test_guidance_makes_the_shipped_model_more_accurate():
    assert apart(record("digits", "guided"), record("digits", "unguided"))
    assert apart(noises("accuracy", DEFAULT.w), noises("accuracy", 0))


def test_the_headlines_noises_are_the_unluckiest_of_those_tried():
    values = noises("accuracy", 0)["values"]
    assert len(values) == 10 and values[0] == min(values)
    assert record("digits", "unguided")["high"] < noises("accuracy", 0)["mean"]


def test_noises_of_neighbours_are_independent():
    found = [record("digits-noises", "noises", score) for score in ("correlation", "between_seeds")]
    assert max(abs(entry[end]) for entry in found for end in ("low", "high")) < 0.001
    for entry in (*found, noises("neighbours", 0)):
        assert entry["low"] < 0 < entry["high"]


def test_seeds_vary_as_independent_samples_do():
    assert noises("chance", 0)["mean"] > 0.05


def test_precision_changes_little():
    for row, w in (("guided", DEFAULT.w), ("unguided", 0)):
        assert abs(mean("digits", row) - noises("accuracy", w)["values"][0]) < 0.005


def test_samples_are_read_like_real_digits_and_keep_four_fifths_of_the_recall():
    """The summary."""
    assert noises("accuracy", DEFAULT.w)["low"] > record("digits", "real")["low"]
    assert noises("recall_of_real", DEFAULT.w)["mean"] == pytest.approx(0.8, abs=0.05)


# --- guidance ------------------------------------------------------------------------------------


def test_dropping_labels_alone_makes_no_visible_difference():
    for score in ("accuracy", "recall"):
        assert shown(of_models(0, 0, score), of_models(0.1, 0, score)) == 0


def test_guidance_raises_accuracy_and_recall_pays():
    for more, less in ((0.5, 0), (1, 0.5), (1.5, 1)):
        assert by_strength("accuracy", more, less) == 1
    assert by_strength("accuracy", 2, 1.5) == 0
    for more, less in ((1, 0.5), (2, 1)):
        assert by_strength("recall", more, less) == -1


def test_half_a_unit_comes_closest_to_real_digits():
    assert by_strength("frechet", 0.5, 0) == by_strength("frechet", 0.5, 1) == -1
    assert by_strength("frechet", 1.5, 1) == by_strength("frechet", 2, 1.5) == 1
    typical = record("digits-guidance", "real", "precision")
    for w in (1, 1.5):
        assert apart(of_models(0.1, w, "precision"), typical)


def test_too_much_guidance_breaks_images():
    for score in ("accuracy", "precision"):
        assert by_strength(score, 4, 2) == -1


def test_guidance_without_dropped_labels_works_in_part():
    assert by_strength("accuracy", 1, 0, p=0) == 1
    for w in (0.5, 1):
        assert shown(of_models(0, w, "kernel"), of_models(0.1, w, "kernel")) == 1
    assert shown(of_models(0, 4, "accuracy"), of_models(0.1, 4, "accuracy")) == -1


def test_an_interval_lies_on_the_curve():
    middle = {s: dropped(s, **MIDDLE) for s in ("accuracy", "recall")}
    low, high = ({s: dropped(s, w) for s in middle} for w in (0.5, 1))
    assert low["accuracy"] < middle["accuracy"] < high["accuracy"]
    share = (middle["accuracy"] - low["accuracy"]) / (high["accuracy"] - low["accuracy"])
    line = low["recall"] + share * (high["recall"] - low["recall"])
    assert abs(middle["recall"] - line) < 0.03


def test_the_default_is_the_least_work_that_is_right_and_varied():
    """Of what was tried, by scores against training digits."""
    enough = 0.8 * mean("digits-setting", "real", "recall")
    tried = [setting for setting, _ in means("digits-setting", "samples") if "solver" in setting]
    good = [
        setting for setting in tried
        if mean("digits-setting", "samples", **setting) >= 0.99
        and mean("digits-setting", "samples", "recall", **setting) >= enough
    ]  # fmt: skip
    assert SHIPPED in good
    assert min(setting["steps"] for setting in good) == DEFAULT.steps


def test_accuracy_and_variety_together():
    default = of_models(0.1, **SHIPPED, score="accuracy")
    assert default["mean"] < 0.99 <= default["high"]


# --- a worse model as guide ----------------------------------------------------------------------


def tried(score, away, w, guide=None):
    """Of 200 samples."""
    guide = {"guide": guide} if guide else {}
    return record("digits-guides", "tried", score, away=away, w=w, **guide)


def guides(score, away, w):
    return record("digits-guides", "samples", score, away=away, w=w)


def small(score, w, away="guide"):
    return tried(score, away, w, "quarter-300")


def test_a_small_guide_raises_accuracy_and_the_distance():
    assert apart(small("accuracy", 2), tried("accuracy", "unlabelled", 0))
    assert small("recall", 2)["mean"] == tried("recall", "unlabelled", 0)["mean"]
    distances = [small("frechet", w)["mean"] for w in (0.5, 1, 2)]
    assert distances == sorted(distances)
    assert distances[-1] > 2 * tried("frechet", "unlabelled", 0)["mean"]


def test_a_guide_that_is_too_much_like_the_model_does_not_help():
    for w in (1, 3):
        assert not apart(
            tried("accuracy", "guide", w, "whole-4700"), tried("accuracy", "unlabelled", 0)
        )


def test_both_together_give_no_more_than_the_null_label():
    alone = tried("accuracy", "unlabelled", 0.5), tried("frechet", "unlabelled", 0.5)["mean"]
    for away, w in (("mean", 0.5), ("mean", 1), ("turns", 0.5), ("turns", 1)):
        assert not apart(small("accuracy", w, away), alone[0])
        assert small("frechet", w, away)["mean"] > alone[1]


def test_at_equal_evaluations_a_guide_is_more_varied_and_farther_from_real_digits():
    for score, sign in (("accuracy", -1), ("recall", 1), ("frechet", 1)):
        assert shown(guides(score, "guide", 1), guides(score, "unlabelled", 0.5)) == sign, score


def test_the_colours_of_guided_samples_spread_more_than_real_ones():
    real_ones = record("digits-guides", "real", "spread")
    assert apart(guides("spread", "guide", 1), real_ones)
    assert apart(real_ones, guides("spread", "unlabelled", 0.5))


def test_no_guidance_met_all_three_and_half_a_unit_met_two():
    half = noises("frechet", DEFAULT.w)["mean"] / 2

    def met(away, w):
        found = {s: guides(s, away, w)["mean"] for s in ("accuracy", "recall_of_real", "frechet")}
        return [found["accuracy"] >= 0.99, found["recall_of_real"] >= 0.9, found["frechet"] <= half]

    assert met("unlabelled", 0.5) == [False, True, True]
    assert met("guide", 1) == [False, True, False]
    assert noises("recall_of_real", DEFAULT.w)["mean"] < 0.9


# --- steps ---------------------------------------------------------------------------------------


def test_the_second_order_solver_does_with_half_the_steps():
    for few, many in ((10, 20), (20, 50)):
        assert frechet("dpmpp", few) == pytest.approx(frechet("ddim", many), rel=0.1)
    ten = steps("dpmpp", 10)
    for solver, n in (*(("ddim", n) for n in (5, 10, 20, 50)), ("dpmpp", 5), ("dpmpp", 20)):
        assert not apart(steps(solver, n), ten)


def test_more_steps_give_back_variety():
    few, many = (wilson(1000 * steps("dpmpp", n, "recall")["mean"], 1000) for n in (5, 50))
    assert few[1] < many[0]


def test_a_hundred_steps_of_ddim_are_read_less():
    assert apart(steps("dpmpp", 50), steps("ddim", 100, samples=1000))


def test_the_noise_that_is_kept_beside_a_clipped_estimate_is_the_cause():
    kept, follows = (record("digits-clip", row) for row in ("kept", "follows"))
    assert kept["n"] == 250 and apart(follows, kept)
    recorded = steps("ddim", 100, samples=1000)  # in bfloat16
    assert not apart(recorded, kept) and not apart(kept, recorded)


def test_a_hundred_images_tell_little_of_ddpm():
    ddpm = steps("ddpm", 1000)
    assert ddpm["mean"] == 1 and ddpm["n"] == 100
    assert apart(ddpm, steps("ddim", 100, samples=100))
    for solver, n in [("ddim", n) for n in (5, 10, 20, 50)] + [
        ("dpmpp", n) for n in (5, 10, 20, 50)
    ]:
        assert not apart(ddpm, steps(solver, n))


# --- trainings -----------------------------------------------------------------------------------


def recipe(row, score, w, **more):
    return mean("digits-recipe", row, score, w=w, **more)


def test_our_recipe_comes_several_times_as_close_as_the_reports():
    images = recipe("report", "images_seen", 0), recipe("ours", "images_seen", 0, prediction="v")
    assert 0.2 < images[0] / images[1] < 0.3  # a quarter
    guided = record("digits-recipe", "report", w=2)
    assert apart(guided, record("digits-recipe", "report", w=0))
    ours = max(recipe("ours", "frechet", w, prediction="v") for w in (0, DEFAULT.w))
    assert 3 * ours < min(recipe("report", "frechet", w) for w in (0, 2))  # several times


@pytest.mark.parametrize("w", [0, DEFAULT.w])
def test_rectified_flow_is_level_with_v_in_a_longer_training(w):
    v, flow = (record("digits-recipe", "ours", w=w, prediction=p) for p in ("v", "flow"))
    assert not apart(v, flow) and not apart(flow, v)


def test_the_shipped_model_gained_from_its_second_half():
    def of(training, w):
        return record("digits-setting", "samples", training=training, w=w)

    assert apart(of(1, 0), of(0.5, 0))
    assert not apart(of(1, DEFAULT.w), of(0.5, DEFAULT.w))
    assert not apart(of(0.5, DEFAULT.w), of(1, DEFAULT.w))


def test_what_five_minutes_trials_tell():
    assert mean("digits-trials", "training", "seconds") == 300
    seeds = [trial("ours"), trial("ours", seed=1), trial("ours", seed=2)]
    assert 1.5 < max(seeds) / min(seeds) < 2.5  # a factor of two
    # metric's interval is that of the mean, t s / sqrt(3); another seed adds its own s
    ours = metric(seeds, 300, "distance")
    fourth = ours["mean"] + (ours["high"] - ours["mean"]) * 2
    full, wide = "pixels not unfolded", "widths (96, 192)"
    for row in ("objective: eps, linear schedule, all times alike", full, wide):
        assert trial(row) > fourth, row
    for row in ("times: all alike", "objective: v, min-SNR 5, all times alike", "no EMA",
                "objective: rectified flow", "condition only added",
                "backgrounds exchanged"):  # fmt: skip
        assert 2 * ours["mean"] - fourth < trial(row) < fourth, row
    for row, share in ((full, 1 / 3), (wide, 1 / 2)):
        seen = trial(row, "images_seen") / trial("ours", "images_seen")
        assert seen == pytest.approx(share, abs=0.08)


def test_trials_of_one_network_see_the_same_images():
    same = ("ours", "objective: rectified flow", "times: all alike", "no EMA", "+ our network",
            "backgrounds exchanged", "+ cosine schedule", "+ v in place of eps")  # fmt: skip
    assert len({trial(row, "images_seen") for row in same}) == 1


def test_the_stairs_from_the_reports_recipe_to_ours():
    rows = ("the report's recipe", "+ images in [-1, 1], x_0 clipped, no noise on the way",
            "+ our learning rate, EMA", "+ our network", "+ cosine schedule",
            "+ v in place of eps", "+ more of the middle times: ours")  # fmt: skip
    stairs = [trial(row) for row in rows]
    assert stairs[-1] == trial("ours")
    steps = [before - after for before, after in zip(stairs, stairs[1:], strict=False)]
    ratios = [before / after for before, after in zip(stairs, stairs[1:], strict=False)]
    for sizes in (steps, ratios):
        assert sizes[0] == max(sizes)
    assert sorted(ratios)[-3:] == [ratios[2], ratios[4], ratios[0]]
    assert trial("+ our network", "images_seen") > 3 * trial(rows[0], "images_seen")
    assert stairs[0] / stairs[-1] > 2 * max(ratios)  # no step does it alone


def speed(row, score, precision):
    return mean("digits-speed", row, score, precision=precision)


def test_speed_against_the_reports_network():
    training, sampling = "training_images_per_s", "samples_per_s"
    assert speed("ratio", training, "each as shipped") > 8
    assert speed("ratio", sampling, "each as shipped") > 200
    assert speed("ratio", training, "bfloat16") < speed("ratio", training, "float32") < 8
    assert speed("ratio", sampling, "bfloat16") < 200 < speed("ratio", sampling, "float32")
    assert speed("ours", "peak_share", "bfloat16") < 0.6 < speed("ours", "peak_share", "float32")
    for precision in ("float32", "bfloat16"):
        assert speed("ours", "peak_share", precision) < speed("report", "peak_share", precision)


def test_no_sample_repeats_a_training_image():
    for score in ("nearer_in_pixels", "nearer_in_features"):
        low, high = wilson(1000 * mean("digits", "guided", score), 1000)
        assert low < 0.5 < high


# --- words ---------------------------------------------------------------------------------------


def test_every_claim_of_the_pages_has_its_test():
    named = claims_of(*PAGES)
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_claims_cfdg*.py"))
    assert named and not [name for name in named if f"def {name}(" not in tests]


def test_the_appendix_says_how_the_classifier_reads_and_when_that_was_decided():
    text = re.sub(r"\s+", " ", (ROOT / "book" / "cfdg-appendix.md").read_text())
    assert "each image and its negative" in text
    assert "decided after its accuracy on test digits had been seen" in text


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "book").glob("*.md")))
def test_no_accuracy_is_typed_by_hand(page):
    """They come from data/results and data/report.json."""
    assert not re.findall(r"\d+\.\d+ ?%", (ROOT / "book" / f"{page}.md").read_text())
