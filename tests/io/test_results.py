"""Result files are whole, complete and finite, or they are not written."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch

from hw2lib import device
from hw2lib.errors import UserError
from hw2lib.io import paths, results
from hw2lib.io.weights import save_weights
from hw2lib.metrics import accuracy_metric, metric


def arguments(**changes):
    good = {
        "preset": "quick",
        "data": {"source": "public", "sha256": {"usps.bz2": "00"}},
        "seeds": [0, 1],
        "seconds": 12.345,
        "metrics": {"dann": accuracy_metric([90, 95], n=100)},
    }
    return good | changes


def test_round_trip(tmp_path):
    path = results.record("dann-usps", **arguments(), directory=tmp_path)
    assert path == tmp_path / "dann-usps.json"
    result = results.load("dann-usps", tmp_path)
    assert list(result) == list(results.FIELDS)
    assert result["seconds"] == 12.3
    assert result["seeds"] == [0, 1]
    assert result["metrics"]["dann"] == accuracy_metric([90, 95], n=100)
    assert result["versions"].keys() == {"torch", "torchvision", "numpy", "python", "hw2lib"}
    assert result["versions"]["torch"] == torch.__version__
    assert result["device"]
    assert result["commit"]
    assert [file.name for file in tmp_path.iterdir()] == ["dann-usps.json"]


def test_this_machines_results_lie_in_the_build_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path))
    assert results.record("faces", **arguments()) == tmp_path / "results" / "faces.json"
    assert results.load("faces")["name"] == "faces"


def entry(**changes):
    return {"m": accuracy_metric([9], n=10) | changes}


BAD = {
    "nan in values": (arguments(metrics=entry(values=[float("nan")])), "not a finite number"),
    "infinite mean": (arguments(metrics=entry(mean=float("inf"))), "not a finite number"),
    "nan bound": (arguments(metrics=entry(low=float("nan"))), "low and high"),
    "bounds cross": (arguments(metrics=entry(low=0.95)), "outside low and high"),
    "no values": (arguments(metrics=entry(values=[])), "values is empty"),
    "text as value": (arguments(metrics=entry(values=["0.9"])), "not a finite number"),
    "field missing": (arguments(metrics={"m": {"values": [1.0]}}), "field mean is missing"),
    "no interval of two": (arguments(metrics=entry(values=[1, 2], low=None, high=None)), "low"),
    "no metrics": (arguments(metrics={}), "no entry"),
    "no seeds": (arguments(seeds=[]), "seeds"),
    "nan seconds": (arguments(seconds=float("nan")), "seconds"),
    "no digests": (arguments(data={"source": "public"}), "data must be"),
    "empty preset": (arguments(preset=""), "preset"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_results_are_refused_and_a_good_file_stays(case, tmp_path):
    path = results.record("digits", **arguments(), directory=tmp_path)
    before = path.read_bytes()
    bad, message = BAD[case]
    with pytest.raises(UserError, match=message) as error:
        results.record("digits", **bad, directory=tmp_path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failing_write_leaves_the_good_file(tmp_path, monkeypatch):
    path = results.record("digits", **arguments(), directory=tmp_path)
    before = path.read_bytes()

    def broken(self, text, **_):
        self.write_bytes(text.encode()[:20])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        results.record("digits", **arguments(), directory=tmp_path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["", "Digits", "a b", "../x", "dann_svhn", "-x"])
def test_bad_names(name, tmp_path):
    with pytest.raises(UserError, match="name"):
        results.record(name, **arguments(), directory=tmp_path)


def test_one_seed_of_a_distance_has_no_interval(tmp_path):
    metrics = {"frechet": metric([2.5], 1000, "distance")}
    results.record("digits", **arguments(metrics=metrics, seeds=[0]), directory=tmp_path)
    assert results.load("digits", tmp_path)["metrics"]["frechet"]["low"] is None


EMBEDDED = {"source": "embedded", "sha256": {}}
UNFIT = {
    "quick preset": ({"preset": "quick"}, {}),
    "another preset": ({"preset": "full, changed"}, {}),
    "embedded data": ({"preset": "full", "data": EMBEDDED}, {}),
    "quick weights": ({"preset": "full"}, {"preset": "quick", "data": {"source": "public"}}),
    "changed weights": ({"preset": "full"}, {"preset": "custom"}),
    "embedded weights": ({"preset": "full"}, {"preset": "full", "data": EMBEDDED}),
    "embedded judge": ({"preset": "full"}, {"source": "embedded"}),
}


@pytest.mark.parametrize("case", UNFIT)
def test_only_the_full_preset_on_real_data_enters_the_report(case, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "report")
    changes, header = UNFIT[case]
    file = save_weights(tmp_path / "w.safetensors", {}, {"kind": "digit_unet", **header})
    unfit = arguments(**changes, weights=[file])
    with pytest.raises(UserError, match="takes preset full on course or public data") as error:
        results.record("digits", **unfit, directory=results.RESULTS)
    assert "\n" not in str(error.value)
    assert not results.RESULTS.exists()
    assert results.record("digits", **unfit, directory=tmp_path / "own").is_file()


def test_a_result_names_the_weights_it_was_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "report")
    monkeypatch.setattr(results, "WEIGHTS", tmp_path / "weights")
    header = {"kind": "digit_unet", "preset": "full", "data": {"source": "public"}}
    ours = save_weights(tmp_path / "weights" / "digits.safetensors", {}, header)
    theirs = tmp_path / "UNet.pt"
    theirs.write_bytes(b"not ours, so without a header")
    good = arguments(preset="full", weights=[ours, theirs])
    results.record("digits", **good, directory=results.RESULTS)
    digests = results.load("digits", results.RESULTS)["data"]["sha256"]
    assert digests == {
        "usps.bz2": "00",
        "weights/digits.safetensors": hashlib.sha256(ours.read_bytes()).hexdigest(),
        "UNet.pt": hashlib.sha256(theirs.read_bytes()).hexdigest(),
    }


def test_load_missing_truncated_and_incomplete(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        results.load("digits", tmp_path)
    path = results.record("digits", **arguments(), directory=tmp_path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match="no readable JSON"):
        results.load("digits", tmp_path)
    path.write_text(json.dumps({"name": "digits"}))
    with pytest.raises(UserError, match="field preset is missing"):
        results.load("digits", tmp_path)


@pytest.mark.parametrize("path", sorted(paths.RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_recorded_files_are_complete(path):
    assert results.load(path.stem, paths.RESULTS)["name"] == path.stem


def git(folder, *words):
    words = ["-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def test_commit_says_dirty_but_not_for_results(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "ROOT", tmp_path)
    # Even where the temporary folder lies in some repository, this is none.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert results.commit() == "unknown"
    git(tmp_path, "init", "-q")
    (tmp_path / "data/results").mkdir(parents=True)
    (tmp_path / "code.py").write_text("1")
    (tmp_path / "data/results/digits.json").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    head = results.commit()
    assert len(head) == 40
    (tmp_path / "data/results/digits.json").write_text("2")
    assert results.commit() == head
    (tmp_path / "code.py").write_text("2")
    assert results.commit() == head + "-dirty"


def test_device_name_is_one_line():
    assert device.device_name()
    assert "\n" not in device.device_name()
