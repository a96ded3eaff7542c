"""What the chapters say in words about the recorded numbers: each sentence held by its numbers.

A new recording that contradicts a sentence fails here, and the sentence is what must change.
"""

import json
import re
from dataclasses import fields

import pytest

from hw2lib.dann_inputs import Handling
from hw2lib.paths import RESULTS, ROOT


def recorded(name):
    """metric -> mean of a recorded result file."""
    metrics = json.loads((RESULTS / f"{name}.json").read_text())["metrics"]
    return {key: entry["mean"] for key, entry in metrics.items()}


def test_guidance_raises_accuracy_and_precision_and_recall_pays():
    of = recorded("digits")
    assert of["guided"] > of["unguided"]
    assert of["precision_guided"] > of["precision_unguided"]
    assert of["recall_guided"] < of["recall_unguided"]


def test_guidance_does_not_make_backgrounds_alike():
    of = recorded("digits")
    assert of["spread_guided"] >= 0.95 * of["spread_unguided"]


def test_real_digits_are_the_closest_to_real_digits():
    of = recorded("digits")
    assert of["frechet_real"] < min(of["frechet_guided"], of["frechet_unguided"])


def test_the_line_loses_norm_and_detail_but_no_contrast_and_the_arc_keeps_its_norm():
    of = recorded("faces")
    assert of["norm_slerp_mid"] == pytest.approx(1, abs=0.02)
    assert of["norm_lerp_mid"] == pytest.approx(0.5**0.5, abs=0.02)
    assert of["detail_lerp_mid"] < 0.9 * of["detail_slerp_mid"]
    assert of["contrast_lerp_mid"] > 0.9


def test_a_face_moves_the_further_the_larger_eta_is():
    of = recorded("faces")
    moved = [of[f"change_eta_{eta}"] for eta in ("000", "025", "050", "075", "100")]
    assert moved[0] == 0
    assert moved == sorted(moved)


@pytest.mark.parametrize("target", ["svhn", "usps"])
def test_adaptation_lies_between_source_and_target(target):
    of = recorded(f"dann-{target}")
    assert of["source_only"] < of["dann"] < of["target_only"]


HANDLED = {
    "zoom": "zoom", "aspect": "stretch", "rotation": "rotation", "shear": "shear",
    "shift": "shift", "blur": "blur", "flip": "inverted|sign", "scale": "contrast",
    "offset": "offset", "noise": "noise", "thickness": "thicker or thinner",
    "neighbours": "neighbouring digits", "repaint": "repainted",
}  # fmt: skip


@pytest.mark.parametrize("file", ["book/dann.md", "notebooks/dann.ipynb"])
def test_all_input_handling_is_named(file):
    assert set(HANDLED) == {field.name for field in fields(Handling)}
    text = (ROOT / file).read_text().replace("\\n", " ")
    text = re.sub(r'[\s",]+', " ", text)
    for name, word in HANDLED.items():
        assert re.search(word, text), name


def test_the_chapter_says_how_the_judge_reads_and_when_that_was_decided():
    text = re.sub(r"\s+", " ", (ROOT / "book" / "cfdg.md").read_text())
    assert "each picture and its negative" in text
    assert "decided after its accuracy on test digits had been seen" in text


@pytest.mark.parametrize("page", ["dann", "ddim", "index"])
def test_no_accuracy_is_typed_by_hand(page):
    """They come from data/results and data/report.json."""
    assert not re.findall(r"\d+\.\d+ ?%", (ROOT / "book" / f"{page}.md").read_text())
