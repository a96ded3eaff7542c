"""What the faces' chapter says in words about the recorded numbers; see `test_claims_cfdg`."""

from itertools import pairwise

import pytest
from helpers.recorded import claims_of, mean, means, record

ETAS = (0.25, 0.5, 0.75, 1)


def walk(score, way, **more):
    return mean("faces", "walk", score, way=way, **more)


def test_the_line_loses_norm_detail_and_some_contrast_and_the_arc_keeps_its_norm():
    assert walk("norm", "slerp") == pytest.approx(1, abs=0.02)
    assert walk("norm", "lerp") == pytest.approx(0.5**0.5, abs=0.02)
    assert walk("detail", "lerp") < 0.55 and walk("detail", "slerp") > 0.9
    assert 0.7 < walk("contrast", "lerp") < 0.9 and walk("contrast", "slerp") > 1


def test_a_face_moves_the_further_the_larger_eta_is():
    moved = [mean("faces", "drawn", "change", eta=eta) for eta in (0, *ETAS)]
    assert moved[0] == 0 and moved == sorted(moved)


def test_drawn_faces_lie_between_sharp_and_blurred_ones_and_are_no_copies():
    for score in ("frechet", "kernel"):
        drawn = mean("faces", "drawn", score, steps=50, eta=0)
        assert mean("faces", "real", score) < drawn < mean("faces", "blurred", score)
    assert mean("faces", "drawn", "near") < 0.05
    assert mean("faces", "drawn", "nearest_ratio") > 0.95


def worse(steps, eta):
    return record("faces", "drawn", "worse", steps=steps, eta=eta)


def test_quality_falls_with_eta_in_few_steps_and_at_its_end_alone_in_fifty():
    for steps in (10, 20):
        rises = [b - a for a, b in pairwise([0, *(worse(steps, eta)["mean"] for eta in ETAS)])]
        assert rises[0] > 0 and rises == sorted(rises)  # faster the higher eta is
        assert min(worse(steps, eta)["low"] for eta in ETAS[2:]) > 0
    assert worse(50, 1)["low"] > 0
    for steps, etas in ((50, ETAS[:3]), (100, ETAS)):
        for entry in (worse(steps, eta) for eta in etas):
            assert entry["low"] < 0 < entry["high"]


def test_the_norm_is_what_the_line_lacks():
    for score in ("norm", "detail", "contrast"):
        assert walk(score, "rescaled") == pytest.approx(walk(score, "slerp"), abs=0.02)
    assert walk("relative_length", "rescaled") == pytest.approx(1, abs=0.02)
    assert record("faces", "walk", "relative_length", way="lerp")["high"] < 1
    assert record("faces", "walk", "relative_unevenness", way="lerp")["low"] > 1
    detail, contrast = (
        mean("faces", "first estimate", s, scale=0.7) for s in ("detail", "contrast")
    )
    assert detail < contrast < 1


def test_faces_come_back_from_their_noises_and_noises_do_not():
    def error(of, steps):
        return mean("faces", "inversion", f"{of}_error", steps=steps)

    for n in (10, 50, 100):
        assert error("face", 2 * n) / error("face", n) == pytest.approx(0.55, abs=0.12)
    assert 0.15 < error("noise", 200) < 0.3 and error("noise", 200) < error("noise", 50)
    assert mean("faces", "noise", "left", eta=0.5) < 0.05


def test_the_face_samplers_time_is_the_networks_and_its_pictures_the_recipes():
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


def test_every_claim_of_the_faces_page_names_a_test_that_exists():
    named = claims_of("ddim")
    assert named and all(name in globals() for name in named)
