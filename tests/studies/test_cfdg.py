"""The digits' studies: every p_drop meets every w, finished cells are kept, evaluations are counted
as they are made, copies are found, and the records are those of the recorded files."""

import dataclasses

import pytest
import torch
from helpers.names import names

from hw2lib.datasets import digits
from hw2lib.errors import UserError
from hw2lib.evaluators.digit_features import DigitFeatures, Reference
from hw2lib.evaluators.judge import Judge
from hw2lib.experiments import cfdg
from hw2lib.experiments.recipe import Preset
from hw2lib.io.results import one, record, select
from hw2lib.io.weights import load_weights
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.samplers import time_steps
from hw2lib.studies import cfdg as study
from hw2lib.studies.cfdg import Scorer, copies, evaluations, solver_study
from hw2lib.training import TrainConfig

HEADER = {
    "schedule": "cosine", "n_train_steps": 1000, "prediction": "v", "train": {}, "images_seen": 0,
}  # fmt: skip
TINY = Preset(TrainConfig(steps=2, batch_size=4), DigitConfig((16, 16), (1, 1), 16), "cosine")
SHORT = {"steps": 2, "solver": "ddim"}
TWO = ({"w": 0.0, **SHORT}, {"w": 1.0, **SHORT, "interval": (100, 900)})
SCORES = {"accuracy", "frechet", "kernel", "precision", "recall", "spread"}


class Counted(DigitUNet):
    """Counts the images that pass."""

    passed = 0

    def forward(self, x, t, label):
        self.passed += len(x)
        return super().forward(x, t, label)


@pytest.fixture(scope="module")
def domain():
    return digits.load("mnistm", "embedded")


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(0)
    return DigitFeatures().eval()


@pytest.fixture(autouse=True)
def shipped_features(features, monkeypatch):
    monkeypatch.setattr(study.digit_features, "load", lambda: features)


@pytest.fixture(scope="module")
def scorer(domain, features):
    return Scorer(Judge().eval(), features, Reference.of(features.embed(domain.test.images), 20))


@pytest.fixture
def free(monkeypatch):
    """Studies that train, draw and embed nothing: every score is a half."""
    monkeypatch.setattr(study.Scorer, "__call__", lambda *_: dict.fromkeys(sorted(SCORES), 0.5))
    monkeypatch.setattr(cfdg, "train_digits", lambda *_, **__: None)
    monkeypatch.setattr(cfdg, "load_digit_unet", lambda *_: (None, HEADER))
    asked = []
    monkeypatch.setattr(cfdg, "sample_digits", lambda *given, **_: asked.append(given[4]))
    return asked


# --- guidance ------------------------------------------------------------------------------------


def tiny_study(out, seeds=(0, 1), strengths=TWO):
    its_seeds = dict.fromkeys((0.0, 0.1), seeds)
    return study.study(TINY, its_seeds, data="embedded", n=20, strengths=strengths, out=out)


def test_every_cell_has_one_value_a_seed(tmp_path):
    records = tiny_study(tmp_path)
    assert len(records) == 2 * 2 * 7
    for p_drop in (0, 0.1):
        for w in (0, 1):
            cell = select(records, "samples", p_drop=p_drop, w=w)
            assert {r["score"] for r in cell} == SCORES | {"images_seen"}
            assert all(len(r["values"]) == 2 and r["n"] == 20 for r in cell)
            assert one(cell, "samples", "images_seen")["values"] == [8, 8]
        for seed in (0, 1):
            file = tmp_path / f"p{100 * p_drop:g}-s{seed}" / "weights.safetensors"
            _, header = load_weights(file, "digit_unet")
            assert (header["p_drop"], header["train"]["seed"]) == (p_drop, seed)


def test_what_is_finished_is_taken_up_and_other_settings_are_not_mixed_in(tmp_path, monkeypatch):
    first = tiny_study(tmp_path, seeds=[0])

    def no_sampling(*_, **__):
        raise AssertionError("sampled again")

    with monkeypatch.context() as m:
        m.setattr(cfdg, "sample_digits", no_sampling)
        assert tiny_study(tmp_path, seeds=[0]) == first
        with pytest.raises(AssertionError, match="sampled again"):
            tiny_study(tmp_path, [0], [{**strength, "steps": 3} for strength in TWO])
    more = one(tiny_study(tmp_path), "samples", "recall", p_drop=0.1, w=1)["values"]
    assert more[:1] == one(first, "samples", "recall", p_drop=0.1, w=1)["values"]


def test_a_strength_names_its_own_solver(tmp_path, free):
    strengths = [{"w": 1.0, **SHORT}, {"w": 1.0, "steps": 3, "solver": "dpmpp"}]
    study.study(TINY, {0.1: [4]}, data="embedded", n=20, strengths=strengths, out=tmp_path)
    plain = cfdg.Sampling(1.0, 2, "ddim", seed=4)
    assert free == [plain, dataclasses.replace(plain, steps=3, solver="dpmpp")]


def test_the_default_of_the_samples_is_a_row_of_the_study():
    last = study.STRENGTHS[-1]
    assert last == {"w": cfdg.DEFAULT.w, "steps": cfdg.DEFAULT.steps, "solver": cfdg.SOLVER}
    assert cfdg.Sampling() == cfdg.DEFAULT


def test_unknown_names_are_one_line(tmp_path):
    with pytest.raises(UserError, match="preset 'slow' is unknown"):
        study.study("slow", {0.1: [0]}, out=tmp_path)


def test_the_records_of_guidance_are_those_of_the_recorded_file(domain, tmp_path, free):
    seeds = [0, 1, 2]
    records = study.study("full", {0.0: seeds, 0.1: seeds}, data="embedded", n=20, out=tmp_path)
    records += study.real_images(domain, study.Scorer.load(domain.test.images, 20), 20, seeds)
    assert names(records) == names("digits-guidance")
    share = study.recall_of_real(records, p_drop=0.1, w=cfdg.DEFAULT.w, steps=cfdg.DEFAULT.steps)
    assert names([share]) <= names("digits") and share["values"] == [1, 1, 1]


def test_curves_are_the_ways_to_guide():
    half = accuracy_metric([5], 10)
    ways = [{"p_drop": 0.1, **strength} for strength in study.STRENGTHS]
    records = [record("samples", s, half, **way) for way in ways for s in ("accuracy", "recall")]
    (panel,) = study.guidance_curves(records, "recall").values()
    assert {name: list(points) for name, points in panel.items()} == {
        "all the way": ["0", "0.5", "1", "1.5", "2", "4"],
        "only t = 300 to 900": ["1"],
        f"default, w = {cfdg.DEFAULT.w:g}": [""],
    }
    x, y = panel["only t = 300 to 900"]["1"]
    assert (x["score"], y["score"]) == ("recall", "accuracy")
    assert x["setting"] == y["setting"] and x["setting"]["interval"] == [300, 900]


# --- scores --------------------------------------------------------------------------------------


def test_accuracy_counts_what_the_judge_reads(domain):
    scorer = Scorer.load(domain.test.images, 50)
    images, labels = domain.test.images[:60], domain.test.labels[:60]
    right = scorer(images, labels)["accuracy"]
    wrong = scorer(images, (labels + 1) % 10)["accuracy"]
    assert right == (scorer.judge.predict(images) == labels).double().mean()
    assert wrong < 0.2 < right


def test_real_images_against_themselves_are_a_perfect_model(domain, features):
    real = Reference.of(features.embed(domain.test.images), len(domain.test))
    scores = Scorer(Judge().eval(), features, real)(domain.test.images, domain.test.labels)
    assert (scores["precision"], scores["recall"]) == (1, 1)
    assert scores["frechet"] < 1e-6


def test_real_images_are_drawn_from_training_images(domain, scorer):
    a, b = (study.real_images(domain, scorer, 50, [seed]) for seed in (0, 0))
    assert a == b and {r["score"] for r in a} == SCORES and {r["row"] for r in a} == {"real"}
    both = study.real_images(domain, scorer, 50, [0, 1])
    assert all(r["values"][:1] == first["values"] for r, first in zip(both, a, strict=True))
    assert any(r["values"][0] != r["values"][1] for r in both)


def test_scores_become_records():
    scores = [{"accuracy": 0.5, "recall": 0.5, "kernel": 1.0}, {"accuracy": 0.75, "recall": 0.75,
              "kernel": 1.0}]  # fmt: skip
    assert study.scored("samples", scores, 20, w=1.0) == [
        record("samples", "accuracy", accuracy_metric([10, 15], 20), w=1),
        record("samples", "recall", metric([0.5, 0.75], 20, "share"), w=1),
        record("samples", "kernel", metric([1.0, 1.0], 20, "distance"), w=1),
    ]


# --- solvers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("guidance", [
    {"w": 0.0}, {"w": 2.0}, {"w": 2.0, "interval": (300, 800)}, {"w": 0.0, "interval": (300, 800)},
])  # fmt: skip
@pytest.mark.parametrize("solver", ["ddim", "dpmpp"])
def test_evaluations_are_those_that_sampling_makes(guidance, solver):
    model = Counted(DigitConfig((8, 16), c_condition=8))
    how = cfdg.Sampling(steps=7, solver=solver, **guidance)
    cfdg.sample_digits(model, HEADER, torch.arange(10), range(10), how)
    # 50 images a chunk, whatever the number asked for
    assert model.passed == 50 * evaluations(1000, 7, **guidance)


def test_time_steps_of_the_evaluations_are_the_samplers():
    inside = sum(300 <= t <= 800 for t in time_steps(1000, 20))
    assert evaluations(1000, 20, 1.0, (300, 800)) == 20 + inside


def test_every_solver_is_scored_on_the_same_noises(domain, scorer, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = DigitUNet(DigitConfig((8, 16), c_condition=8))
    cases = [("ddim", 2, 20), ("dpmpp", 1, 20), ("ddim", 1, 20), ("ddim", 1, 30)]
    options = {"cases": cases, "w": 1.0, "out": tmp_path}
    records = solver_study(model, HEADER, domain, scorer, **options)
    samples = [select(records, "samples", solver=s, steps=k, samples=n) for s, k, n in cases]
    assert all({r["score"] for r in some} == SCORES | {"evaluations"} for some in samples)
    same, again = ([r["values"] for r in some] for some in samples[1:3])
    assert same == again  # a single step is the same step for both
    assert [some[0]["n"] for some in samples] == [20, 20, 20, 30]
    assert {r["n"] for r in select(records, "real")} == {20, 30}
    families, real = study.solver_curves(records)
    assert families.keys() == {"DDIM"} and list(families["DDIM"]) == [2]
    assert real == one(records, "real", "frechet", samples=30)["mean"]
    monkeypatch.setattr(cfdg, "sample_digits", None)  # would fail: all is kept
    assert solver_study(model, HEADER, domain, scorer, **options) == records
    monkeypatch.setattr(study, "precision", lambda: "another")
    with pytest.raises(TypeError):  # a machine of the other precision
        solver_study(model, HEADER, domain, scorer, **options)


def test_the_records_of_solvers_are_those_of_the_recorded_file(domain, tmp_path, free, monkeypatch):
    scorer = study.Scorer.load(domain.test.images, 20)
    found = study.solver_study(
        None, HEADER, domain, scorer, study.CASES["full"], w=1.25, out=tmp_path
    )
    assert names(found) == names("digits-steps")


# --- copies --------------------------------------------------------------------------------------


def test_copies_are_found(scorer, domain):
    train, test = domain.train.images, domain.test.images
    small = dataclasses.replace(
        domain,
        train=digits.DigitSet(train[:150], domain.train.labels[:150]),
        test=digits.DigitSet(test[:150], domain.test.labels[:150]),
    )

    def found(images):
        records, far = copies("guided", images, small, scorer.features, w=1.25, steps=10)
        assert names(records) <= names("digits")
        return [r["mean"] for r in records], far["samples"], far["test images"]

    nearer, stolen, held_out = found(small.train.images[:40])
    assert nearer == [1, 1] and stolen.max() < 1e-3 < held_out.median()
    nearer, real, held_out = found(test[150:230])  # in neither set
    assert nearer[0] < 0.8 and real.min() > 1e-3
    assert real.shape == (80,) == held_out.shape
