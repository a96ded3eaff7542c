"""hw2 verify: what is inside and outside, what is missing, and each check at a tiny size."""

from dataclasses import replace

import pytest
import torch
from helpers.domains import made_up
from helpers.lines import fails, run

from hw2lib import device
from hw2lib.commands import verify
from hw2lib.datasets import digits
from hw2lib.experiments import ddim
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import record
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models import dann_net
from hw2lib.models.face_unet import TINY, FaceUNet

HEADER = {"schedule": "linear", "n_train_steps": 1000, "prediction": "v", "size": 16}
READ = record("read", "accuracy", accuracy_metric([90], 100))
EXACT = record("noise", "left", metric([0.25], 1, "share"))


@pytest.mark.parametrize(
    ("recorded", "here", "verdict"),
    [
        (READ, READ["low"], "inside"),
        (READ, READ["high"] + 1e-4, "outside"),
        (READ, READ["low"] - 1e-4, "outside"),
        (EXACT, 0.25 + 1e-8, "inside"),
        (EXACT, 0.2501, "outside"),
        (record("course", "squared_error", metric([2e-5], 1, "number")), 9e-5, "inside"),
        (record("course", "squared_error", metric([2e-5], 1, "number")), 2e-4, "outside"),
        (record("ratio", "samples_per_s", metric([284], 1, "number")), 2.0, "not judged"),
        (record("inversion", "noise_error", metric([0.4, 0.41], 1, "ratio")), 0.3, "outside"),
    ],
)
def test_a_number_is_judged_by_its_interval_its_limit_or_as_arithmetic(recorded, here, verdict):
    assert verify.judged(recorded, here) == verdict


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Two result files: one with two checks, one of which lacks its data, one without a check."""
    for name in ("a", "b"):
        results.write(name, preset="full", data={"source": "none", "sha256": {}}, seeds=[0],
                      seconds=120, records=[READ, EXACT], directory=tmp_path)  # fmt: skip

    def of_both(result):
        """Reads."""
        yield READ, READ["mean"]
        yield EXACT, 0.5

    def of_none(result):
        """Looks."""
        raise verify.NotHere("a telescope")
        yield

    monkeypatch.setattr(verify, "RESULTS", tmp_path)
    monkeypatch.setattr(verify, "CHECKS", {"a": (of_both, of_none)})


def test_every_number_has_a_line_and_one_outside_makes_status_1(recorded, capsys):
    status, out, _ = run(capsys, "verify")
    assert status == 1
    lines = out.splitlines()
    assert lines[0] == "a: Reads." and lines[3] == "a: Looks."
    assert lines[1].split()[:2] == ["read,", "accuracy"]
    assert f"recorded 0.9 [{READ['low']:.4g}, {READ['high']:.4g}]" in lines[1]
    assert "here 0.9" in lines[1] and " inside " in lines[1] and lines[1].endswith(" s")
    assert "recorded 0.25 " in lines[2] and "here 0.5 " in lines[2] and " outside " in lines[2]
    assert lines[4] == "  not verified: needs a telescope"
    assert "  a: 0 of 2 numbers, recorded in 2 min" in lines
    assert "  b: 2 of 2 numbers, recorded in 2 min" in lines
    assert lines[-1] == "1 inside, 1 outside, 0 not judged"


def test_one_name_alone_and_an_unknown_one(recorded, capsys, tmp_path, monkeypatch):
    status, out, _ = run(capsys, "verify", "b")
    assert status == 0 and "  a:" not in out and "2 of 2 numbers" in out
    assert "result 'c' is unknown; choose one of a, b" in fails(capsys, "verify", "c")
    monkeypatch.setattr(verify, "RESULTS", tmp_path / "none")
    assert "run this in a clone of the repository" in fails(capsys, "verify")


def test_every_check_has_its_result_file():
    assert set(verify.CHECKS) <= {file.stem for file in RESULTS.glob("*.json")}


# --- the checks --------------------------------------------------------------------------------


def values(check, name, **options) -> list[tuple[dict, float]]:
    return list(check(results.load(name, RESULTS), **options))


def test_arithmetic_of_noises_is_the_recorded_one():
    found = values(verify.walk_norms, "faces") + values(verify.noise_shares, "faces")
    assert len(found) == 3 + 12
    assert {verify.judged(*pair) for pair in found} == {"inside"}


def test_digits_are_drawn_as_recorded_and_read():
    (guided, of_guided), (unguided, of_unguided) = values(verify.digit_accuracy, "digits", n=20)
    assert guided["row"] == "guided" and of_guided >= 0.9
    assert unguided["setting"]["w"] == 0 and of_unguided <= of_guided


def test_the_students_digits_by_rejection_are_read():
    result = {**results.load("digits-rejection", RESULTS), "seeds": [0]}
    ((recorded, here),) = verify.rejection_accuracy(result, n=10)
    assert recorded["setting"]["model"] == "student" and recorded["setting"]["confidence"] == 0.9
    assert here >= 0.9


def test_real_images_are_those_that_were_recorded_or_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HW2_DATA", str(tmp_path))
    result = results.load("dann-usps", RESULTS)
    with pytest.raises(verify.NotHere, match="images of usps .* here are embedded data"):
        list(verify.target_accuracy(result))
    bars = made_up("usps")
    monkeypatch.setattr(digits, "load", lambda name: replace(bars, sha256={"file": "digest"}))
    with pytest.raises(verify.NotHere):
        list(verify.target_accuracy(result))
    result["data"]["sha256"]["file"] = "digest"
    ((recorded, here),) = verify.target_accuracy(result)
    network, _ = dann_net.load(WEIGHTS / "dann-usps.safetensors")
    right = dann_net.classify_tensor(network, bars.test.images) == bars.test.labels
    assert here == right.double().mean().item()
    assert recorded["row"] == "best_adaptation" and recorded["setting"] == {"target": "usps"}


def test_the_judge_reads_the_recorded_test_images(monkeypatch):
    bars = replace(made_up("mnistm"), sha256={"file": "digest"})
    monkeypatch.setattr(digits, "load", lambda name: bars)
    result = results.load("digits", RESULTS)
    result["data"]["sha256"]["file"] = "digest"
    ((recorded, here),) = verify.real_accuracy(result)
    assert recorded["row"] == "real" and 0 <= here < 0.6  # bars are no digits


def test_the_ratio_counts_every_pass(monkeypatch):
    seconds = {"DigitUNet": 1.0, "ReportUNet": 3.0}
    monkeypatch.setattr(verify, "pass_seconds", lambda model: seconds[type(model).__name__])
    ((recorded, here),) = values(verify.sampling_ratio, "digits-speed")
    assert here == 3 * 800 / 20  # ten guided steps, two passes each
    assert recorded["setting"] == {"precision": "float32"}


def test_a_pass_takes_time():
    assert verify.pass_seconds(verify.DigitUNet(), n=2) > 0


def test_the_sampler_draws_the_recipes_face_and_no_other():
    torch.manual_seed(0)
    model = FaceUNet(TINY).eval()
    ((recorded, here),) = values(verify.sampler_error, "faces-speed", model=model, side=16)
    assert recorded["row"] == "course" and here < 1e-4
    noise = torch.randn(3, 16, 16).numpy()
    three, four = (verify.recipe(model, noise, steps).astype(float) for steps in (3, 4))
    assert ((three - four) ** 2).mean() > 1


def test_estimates_and_inversion_are_those_of_the_study(monkeypatch):
    model = FaceUNet(TINY).eval()
    monkeypatch.setattr(ddim, "load_face_unet", lambda: (model, HEADER))
    one_each = [1.0]
    result = {"records": [
        *(record("first estimate", score, metric(one_each, 1, "ratio"), scale=scale)
          for score in ("contrast", "detail") for scale in (0.5, 1)),
        *(record("inversion", score, metric(one_each, 1, "ratio"), steps=steps)
          for score in ("face_error", "noise_error") for steps in (4, 8)),
    ]}  # fmt: skip
    found = {(r["score"], *r["setting"].values()): here
             for r, here in verify.first_estimates(result)}  # fmt: skip
    assert found["contrast", 1] == found["detail", 1] == 1 and len(found) == 4
    assert found["contrast", 0.5] != 1
    found = list(verify.inversion(result))
    assert [r["setting"]["steps"] for r, _ in found] == [4, 4]
    monkeypatch.setattr(device, "fast_bfloat16", lambda where: True)
    assert list(verify.inversion(result)) == found  # float32 on every machine
    assert all(here > 0 for _, here in found)
