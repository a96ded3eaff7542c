"""What the faces' chapter says in words about the recorded numbers; see `test_claims_cfdg`."""

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from helpers.recorded import claims_of, mean, means, record, recorded
from PIL import Image

from hw2lib.io.paths import ROOT, WEIGHTS
from hw2lib.io.weights import weights_header

ETAS = (0.25, 0.5, 0.75, 1)
CHAPTER, APPENDIX, MODELS = (
    (ROOT / "book" / f"{page}.md").read_text("utf-8")
    for page in ("ddim", "ddim-appendix", "models")
)
# FID on CelebA, table 1 of the DDIM paper: {eta: at 10, 20, 50 and 100 steps}
PAPER = {
    0: (17.33, 13.73, 9.17, 6.53),
    0.5: (19.86, 16.06, 11.01, 8.09),
    1: (33.12, 26.03, 18.48, 13.93),
}


def walk(score, way, **more):
    return mean("faces", "walk", score, way=way, **more)


def interval(row, score, **setting):
    found = record("faces", row, score, **setting)
    return found["low"], found["high"]


def test_the_model_saw_each_training_image_some_670_times():
    """The number of images is what the recorded run printed."""
    run = json.loads((ROOT / "book" / "executed" / "ddim.ipynb").read_text(encoding="utf-8"))
    printed = "".join(
        "".join(o.get("text", "")) for c in run["cells"] for o in c.get("outputs", [])
    )
    header = weights_header(WEIGHTS / "faces.safetensors")
    images = int(re.search(r"faces: ([\d,]+) images", printed)[1].replace(",", ""))
    trained_on = images - header["held_out"]
    epochs = header["images_seen"] / trained_on
    assert f"{trained_on:,} images to train on" in CHAPTER
    assert f"some {round(epochs, -1):.0f} times ({round(epochs, -1):.0f} epochs)" in CHAPTER
    assert f"{trained_on:,} images" in MODELS and f"some {round(epochs, -1):.0f} epochs" in MODELS


def test_the_line_loses_norm_detail_and_contrast():
    assert walk("norm", "slerp") == pytest.approx(1, abs=0.02)
    assert walk("norm", "lerp") == pytest.approx(0.5**0.5, abs=0.02)
    assert interval("walk", "detail", way="lerp")[1] < 0.5
    assert interval("walk", "contrast", way="lerp")[1] < 1
    for score in ("norm", "detail", "contrast"):  # with the norm restored it is the arc's face
        assert walk(score, "rescaled") == pytest.approx(walk(score, "slerp"), abs=1e-3)
    assert walk("apart", "rescaled") < 0.01


def test_the_line_changes_less_and_less_evenly():
    assert interval("walk", "relative_length", way="lerp")[1] < 1
    assert interval("walk", "relative_unevenness", way="lerp")[0] > 1
    for score in ("relative_length", "relative_unevenness"):
        low, high = interval("walk", score, way="rescaled")
        assert low < 1 < high


def test_a_weak_noise_makes_a_smooth_first_estimate():
    detail = [mean("faces", "first estimate", "detail", scale=s) for s in (0.5, 0.7, 0.85, 1, 1.15)]
    assert detail == sorted(detail)
    for score in ("detail", "contrast"):
        assert interval("first estimate", score, scale=0.7)[1] < 1


def test_a_face_moves_the_further_the_larger_eta_is():
    moved = [interval("drawn", "change", eta=eta) for eta in (0, *ETAS)]
    assert moved[0] == (0, 0)
    assert all(below[1] < above[0] for below, above in pairwise(moved))
    assert mean("faces", "noise", "left", eta=0.5) < 0.05
    assert mean("faces", "noise", "left", eta=1) < 1e-7


def test_generated_faces_lie_between_sharp_and_blurred_ones():
    for score in ("frechet", "kernel"):
        real, generated, blurred = (
            interval(row, score, **setting)
            for row, setting in (
                ("real", {}), ("drawn", {"steps": 50, "eta": 0}), ("blurred", {}),
            )
        )  # fmt: skip
        assert real[1] < generated[0] < generated[1] < blurred[0]
    near = record("faces", "drawn", "near")  # no further from chance than two standard errors
    assert near["mean"] == pytest.approx(0.05, abs=2 * (0.05 * 0.95 / near["n"]) ** 0.5)
    assert mean("faces", "drawn", "nearest_ratio") > 0.95


def test_where_quality_falls_with_eta():
    """Worse than at eta 0 beyond the interval of the difference, of the same noises."""
    worse = {
        steps: [eta for eta in ETAS if interval("drawn", "worse", steps=steps, eta=eta)[0] > 0]
        for steps in (10, 20, 50, 100)
    }
    assert worse == {10: [0.5, 0.75, 1], 20: [0.75, 1], 50: [1], 100: []}
    for steps, etas in worse.items():
        for eta in set(ETAS) - set(etas):
            low, high = interval("drawn", "worse", steps=steps, eta=eta)
            assert low < 0 < high


def test_the_papers_table_falls_at_100_steps_too():
    def times(steps, bound):
        """eta 1 over eta 0, at the lower (0) or upper (1) end of their difference."""
        added = interval("drawn", "worse", steps=steps, eta=1)[bound]
        return 1 + added / mean("faces", "drawn", "frechet", steps=steps, eta=0)

    for still, fresh in zip(PAPER[0], PAPER[1], strict=True):
        assert fresh / still == pytest.approx(2, abs=0.15)
    assert all(times(steps, 0) < 2.15 and times(steps, 1) > 1.85 for steps in (10, 20))
    assert all(times(steps, 1) < 1.85 for steps in (50, 100))
    half, full = (interval("drawn", "kernel", steps=100, eta=eta) for eta in (0.5, 1))
    assert half[1] < full[0]
    for eta, row in PAPER.items():
        assert f"| {f'{eta:g}'.removeprefix('0') or 0} | {row[3]:.2f} |" in APPENDIX


def test_faces_come_back_from_their_noises_and_noises_do_not():
    def error(of, steps):
        return mean("faces", "inversion", f"{of}_error", steps=steps)

    for n in (10, 50, 100):
        assert error("face", 2 * n) / error("face", n) == pytest.approx(0.55, abs=0.07)
    assert interval("inversion", "noise_error", steps=200)[0] > 0.2


def test_rounding_is_a_part_of_the_noises_error_and_none_of_the_faces():
    """Face by face: every noise is missed by less in float32, every face by as much."""
    for steps in (10, 20, 50):
        for score, least, most in (("noise_error", 0.01, 0.04), ("face_error", -0.005, 0.005)):
            coarse, fine = (
                record(name, "inversion", score, steps=steps)["values"]
                for name in ("faces", "faces-inversion")
            )
            more = [a - b for a, b in zip(coarse, fine, strict=True)]
            assert all(least < x < most for x in more)
            assert score == "noise_error" or abs(sum(more) / len(more)) < 1e-3


def test_the_second_order_solver_needs_less_than_half_the_steps_for_faces():
    def of(row, score, steps, **more):
        return record("faces-solvers", row, score, steps=steps, **more)

    for n in (5, 10, 20, 50):
        for other in ("ddim", "ddim, other times"):
            assert of("dpmpp", "error_share", n, of=other)["high"] < 0.65
    for few, many in ((10, 20), (20, 50)):
        assert of("dpmpp", "error", few)["high"] < of("ddim", "error", many)["low"]
    for row in ("ddim", "dpmpp"):
        for n in (5, 10):
            left = of(row, "error", 2 * n)["mean"] / of(row, "error", n)["mean"]
            assert left == pytest.approx(0.5, abs=0.08)


def test_faces_in_few_steps_are_better_by_the_second_order_solver():
    for n in (5, 10):
        assert record("faces-solvers", "dpmpp", "worse", steps=n)["high"] < 0
    ten = record("faces-solvers", "dpmpp", "kernel", steps=10)
    twenty, fifty = (record("faces", "drawn", "kernel", steps=n, eta=0) for n in (20, 50))
    assert fifty["mean"] < ten["mean"] < twenty["mean"]
    assert ten["low"] < fifty["high"] and twenty["low"] < ten["high"]


GUIDES = "faces-guides"
LATE = {"guide": "early", "interval": [0, 500]}


def test_a_guide_at_all_times_spoils_faces():
    none = record(GUIDES, "tried", "frechet", steps=10)
    for guide in ("early", "half"):
        rising = [record(GUIDES, "tried", "frechet", guide=guide, w=w) for w in (0.25, 0.5, 1)]
        assert none["mean"] < rising[0]["mean"] < rising[1]["mean"] < rising[2]["mean"]
        assert none["high"] < rising[2]["low"]
    for w in (0.25, 0.5, 1):
        late = record(GUIDES, "tried", "frechet", steps=10, w=w, **LATE)
        assert late["low"] < none["mean"] < late["high"]


def test_no_gain_by_a_guide_shows_at_equal_evaluations():
    for steps in (10, 20):
        worse = record(GUIDES, "drawn", "worse", steps=steps, **LATE)
        assert worse["low"] < 0 < worse["high"] and worse["n"] == 512
        with_it = mean(GUIDES, "drawn", "evaluations", steps=steps, **LATE)
        assert with_it == mean(GUIDES, "drawn", "evaluations", steps=with_it)
    assert all(share < 0.05 for _, share in means(GUIDES, "drawn", "near"))
    of_guide = mean(GUIDES, "guide", "images_seen", guide="early")
    assert 0.004 < of_guide / recorded("faces")["settings"]["training images"] < 0.006


def test_at_eta_1_the_starting_noise_has_little_left_to_say():
    """The sheet behind the sliders: the first way's rows are eta, its columns alpha."""
    sheet = np.asarray(Image.open(ROOT / "book" / "_static" / "faces-walk.jpg")) / 127.5 - 1
    tiles = sheet.reshape(15, 64, 11, 64, 3).swapaxes(1, 2)[:5]  # (eta, alpha, H, W, 3)
    apart = np.sqrt(((tiles[:, 0] - tiles[:, -1]) ** 2).mean((1, 2, 3)))
    assert apart[4] < 0.15 * apart[0] and apart[1] > 0.9 * apart[0]


def test_the_face_samplers_time_is_the_networks_and_its_images_the_recipes():
    for row in ("shipped", "course"):
        assert all(0 < share < 0.02 for _, share in means("faces-speed", row, "sampler_share"))
    assert mean("faces-speed", "course", "squared_error") < 1e-4


def test_what_eight_minutes_of_faces_tell():
    def of(row, score="frechet", **more):
        return mean("faces-trials", row, score, **more)

    assert of("training", "seconds") == 480
    first, narrow, wide = "4x4 pixels, 128-128-128 channels", "64 channels", "192 channels"
    fine, finer = (f"2x2 pixels, {w} channels" for w in ("64-128-128-128", "64-128-160-160"))
    attention, seeds = "attention at 16x16 as well", (of(first), of(first, seed=1))
    seen = {row: of(row, "images_seen") / of(first, "images_seen") for row in (fine, attention)}
    assert seen[fine] == pytest.approx(0.6, abs=0.05) and 0.6 < seen[attention] < 0.8
    assert of(fine) < of(finer) < 0.75 * min(seeds)
    assert min(seeds) < of(narrow) < max(seeds) < of(wide) and of(narrow, "drawing_speed") > 1.7
    assert of(attention) > max(seeds)
    assert of("v, min-SNR 5, all times alike") < min(seeds)
    assert 0.4 < of(fine, "drawing_speed") < 0.7


def test_the_mean_path_takes_the_dots_away():
    def dots(row, **more):
        return mean("faces-dots", row, "dots", **more)

    assert dots("start") == pytest.approx(1, abs=0.1)
    assert dots("drawn", mean_path=False) > 0.5
    assert max(dots("drawn", mean_path=True), dots("real")) < 0.01
    without, path = (record("faces-dots", "drawn", "frechet", mean_path=p) for p in (False, True))
    assert path["low"] < without["mean"] < path["high"]


def test_the_command_for_another_model_names_parameters_of_the_notebook():
    """papermill only warns of others."""
    source = (ROOT / "notebooks" / "ddim.ipynb").read_text(encoding="utf-8")
    cells = json.loads(source)["cells"]
    (cell,) = (c for c in cells if "parameters" in c["metadata"].get("tags", []))
    (command,) = re.findall(r"^papermill notebooks/ddim\.ipynb .+$", CHAPTER, re.M)
    named = set(re.findall(r"-p (\w+) ", command))
    assert named == {"weights", "noise"}
    assert named <= set(re.findall(r"^(\w+): ", "".join(cell["source"]), re.M))


def test_every_claim_of_the_faces_page_names_a_test_that_exists():
    named = claims_of("ddim", "ddim-appendix")
    assert named and all(name in globals() for name in named)
