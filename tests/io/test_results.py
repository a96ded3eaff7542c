"""Result files are whole, complete and finite, or they are not written; records are selected."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hw2lib import device
from hw2lib.errors import UserError
from hw2lib.io import paths, results
from hw2lib.io.results import frame, load, one, record, select, table, write
from hw2lib.io.weights import save_weights
from hw2lib.metrics import accuracy_metric, metric

NINE = accuracy_metric([9], n=10)


def arguments(**changes):
    good = {
        "preset": "quick",
        "data": {"source": "public", "sha256": {"usps.bz2": "00"}},
        "seeds": [0, 1],
        "seconds": 12.345,
        "records": [record("dann", "accuracy", accuracy_metric([90, 95], n=100), target="usps")],
    }
    return good | changes


def entry(**changes):
    return [record("dann", "accuracy", NINE | changes)]


# --- records -------------------------------------------------------------------------------------

SEVERAL = [
    record("real", "accuracy", NINE),
    record("samples", "accuracy", NINE, p_drop=0.1, w=1.0),
    record("samples", "recall", NINE, p_drop=0.1, w=1.0),
    record("samples", "accuracy", NINE, p_drop=0.1, w=1.0, interval=(300, 900)),
    record("samples", "accuracy", NINE, p_drop=0, w=1.5),
]


def test_a_record_holds_its_setting_as_a_file_gives_it_back():
    made = record("samples", "accuracy", NINE, w=1.0, steps=10, part=(300, 900), ramp=False)
    assert made == {
        "row": "samples", "score": "accuracy", **NINE,
        "setting": {"w": 1, "steps": 10, "part": [300, 900], "ramp": False},
    }  # fmt: skip
    assert json.dumps(made["setting"]) == '{"w": 1, "steps": 10, "part": [300, 900], "ramp": false}'


def test_records_are_selected_by_their_fields():
    assert select(SEVERAL, "samples", "accuracy", w=1) == [SEVERAL[1], SEVERAL[3]]
    assert select(SEVERAL, score="recall") == [SEVERAL[2]]
    assert select(SEVERAL, ["real", "x"], ["accuracy", "recall"]) == [SEVERAL[0]]
    assert select(SEVERAL, interval=(300, 900)) == [SEVERAL[3]]
    assert select(SEVERAL) == SEVERAL


def test_the_plainest_is_taken_where_several_match():
    assert one(SEVERAL, "samples", "accuracy", w=1) is SEVERAL[1]
    assert one(SEVERAL, "samples", "accuracy", w=1, interval=(300, 900)) is SEVERAL[3]


@pytest.mark.parametrize(("asked", "words"), [
    (("samples", "accuracy"), "samples, accuracy is not one record but several; there are "
     "samples, accuracy, p_drop=0.1, w=1; samples, accuracy, p_drop=0, w=1.5"),
    (("samples", "spread"), "samples, spread is no record; there are samples, accuracy, p_drop"),
    (("dann", "accuracy"), "dann, accuracy is no record; there are real, accuracy; samples"),
])  # fmt: skip
def test_what_is_not_one_record_names_the_candidates(asked, words):
    with pytest.raises(UserError) as error:
        one(SEVERAL, *asked)
    assert str(error.value).startswith(words)


def test_frames_have_a_column_for_each_setting_and_tables_one_for_each_score():
    long, wide = frame(SEVERAL), table(SEVERAL)
    assert long["mean"].tolist() == 5 * [0.9] and long["w"].tolist() == ["", 1, 1, 1, 1.5]
    assert wide["row"].tolist() == ["real", "samples", "samples", "samples"]
    assert wide["recall"].tolist() == ["", 0.9, "", ""]
    assert wide["interval"].tolist() == ["", "", [300, 900], ""]


def test_results_are_read_without_torch():
    """The book's extension reads them, at each build."""
    code = "import sys; from hw2lib.io import results; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- files ---------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    path = write("dann-usps", **arguments(settings={"steps": 4}), directory=tmp_path)
    assert path == tmp_path / "dann-usps.json"
    result = load("dann-usps", tmp_path)
    assert list(result) == [
        "name", "preset", "data", "weights", "settings", "seeds", "device", "precision",
        "versions", "commit", "seconds", "records",
    ]  # fmt: skip
    assert (result["seconds"], result["seeds"]) == (12.3, [0, 1])
    assert result["settings"] == {"steps": 4} and result["weights"] == {}
    assert result["records"] == arguments()["records"]
    assert result["versions"].keys() == {"torch", "torchvision", "numpy", "python", "hw2lib"}
    assert result["versions"]["torch"] == torch.__version__
    assert result["device"] and result["commit"] and result["precision"] == device.precision()
    assert [file.name for file in tmp_path.iterdir()] == ["dann-usps.json"]


def test_rows_that_were_not_run_are_named(tmp_path):
    write("dann-usps", **arguments(not_run=["source_only"]), directory=tmp_path)
    assert load("dann-usps", tmp_path)["not_run"] == ["source_only"]


def test_each_record_has_a_line_of_its_own(tmp_path):
    lines = (
        write("digits", **arguments(records=SEVERAL), directory=tmp_path).read_text().split("\n")
    )
    assert [json.loads(line.rstrip(",")) for line in lines if line.startswith("  {")] == SEVERAL


def test_this_machines_results_lie_in_the_build_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HW2_BUILD", str(tmp_path))
    assert write("faces", **arguments()) == tmp_path / "results" / "faces.json"
    assert load("faces")["name"] == "faces"


BAD = {
    "nan in values": (arguments(records=entry(values=[float("nan")])), "values.0: .* finite"),
    "infinite mean": (arguments(records=entry(mean=float("inf"))), "mean: .* finite"),
    "nan bound": (arguments(records=entry(low=float("nan"))), "low: .* finite"),
    "bounds cross": (arguments(records=entry(low=0.95)), "the mean between are right"),
    "no values": (arguments(records=entry(values=[])), "values: .* at least 1"),
    "text as value": (arguments(records=entry(values=["0.9"])), "values.0: .* valid number"),
    "field missing": (arguments(records=[{"row": "dann"}]), "records.0.score: Field required"),
    "field unknown": (arguments(records=entry(median=1)), "records.0.median: Extra"),
    "no interval of two": (arguments(records=entry(values=[1, 2], low=None, high=None)), "low"),
    "two alike": (arguments(records=2 * entry()), "two records are .*dann.*accuracy"),
    "no records": (arguments(records=[]), "records: .* at least 1"),
    "no seeds": (arguments(seeds=[]), "seeds: .* at least 1"),
    "nan seconds": (arguments(seconds=float("nan")), "seconds"),
    "no digests": (arguments(data={"source": "public"}), "data.sha256: Field required"),
    "empty preset": (arguments(preset=""), "preset: .* at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_results_are_refused_and_a_good_file_stays(case, tmp_path):
    path = write("digits", **arguments(), directory=tmp_path)
    before = path.read_bytes()
    bad, message = BAD[case]
    with pytest.raises(UserError, match=f"^result digits: .*{message}") as error:
        write("digits", **bad, directory=tmp_path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failing_write_leaves_the_good_file(tmp_path, monkeypatch):
    path = write("digits", **arguments(), directory=tmp_path)
    before = path.read_bytes()

    def broken(self, text, **_):
        self.write_bytes(text.encode()[:20])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        write("digits", **arguments(), directory=tmp_path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["", "Digits", "a b", "../x", "dann_svhn", "-x"])
def test_bad_names(name, tmp_path):
    with pytest.raises(UserError, match="name"):
        write(name, **arguments(), directory=tmp_path)


def test_one_seed_of_a_distance_has_no_interval(tmp_path):
    records = [record("guided", "frechet", metric([2.5], 1000, "distance"))]
    write("digits", **arguments(records=records, seeds=[0]), directory=tmp_path)
    assert load("digits", tmp_path)["records"][0]["low"] is None


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
        write("digits", **unfit, directory=results.RESULTS)
    assert "\n" not in str(error.value)
    assert not results.RESULTS.exists()
    assert write("digits", **unfit, directory=tmp_path / "own").is_file()


def test_a_result_names_the_weights_it_was_made_with(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "report")
    header = {"kind": "digit_unet", "preset": "full", "data": {"source": "public"}}
    ours = save_weights(tmp_path / "digits.safetensors", {}, header)
    theirs = tmp_path / "UNet.pt"
    theirs.write_bytes(b"not ours, so without a header")
    good = arguments(preset="full", weights=[ours, theirs])
    write("digits", **good, directory=results.RESULTS)
    assert load("digits", results.RESULTS)["weights"] == {
        "digits.safetensors": hashlib.sha256(ours.read_bytes()).hexdigest(),
        "UNet.pt": hashlib.sha256(theirs.read_bytes()).hexdigest(),
    }


def test_load_missing_truncated_and_incomplete(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load("digits", tmp_path)
    path = write("digits", **arguments(), directory=tmp_path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(UserError, match="no readable JSON"):
        load("digits", tmp_path)
    path.write_text(json.dumps({"name": "digits"}))
    with pytest.raises(UserError, match="digits.json: preset: Field required"):
        load("digits", tmp_path)


@pytest.mark.parametrize("path", sorted(paths.RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_recorded_files_are_complete_and_as_they_would_be_written(path):
    result = load(path.stem, paths.RESULTS)
    assert result["name"] == path.stem
    assert results.as_text(result) == path.read_text(encoding="utf-8")


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
