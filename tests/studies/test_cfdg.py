"""digit_study: evaluations are counted as they are made, copies are found."""

import dataclasses

import pytest
import torch

from hw2lib.datasets import digits
from hw2lib.evaluators.digit_features import Reference, Yardstick
from hw2lib.evaluators.judge import Judge
from hw2lib.experiments import cfdg
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.samplers import time_steps
from hw2lib.studies import cfdg as study
from hw2lib.studies.cfdg import Scorer, as_metrics, copies, evaluations, solver_study

HEADER = {
    "schedule": "cosine", "n_train_steps": 1000, "prediction": "v", "train": {}, "images_seen": 0,
}  # fmt: skip


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
def scorer(domain):
    torch.manual_seed(0)
    ruler = Yardstick().eval()
    return Scorer(Judge().eval(), ruler, Reference.of(ruler.embed(domain.test.images), 20))


@pytest.mark.parametrize("guidance", [
    {"w": 0.0}, {"w": 2.0}, {"w": 2.0, "interval": (300, 800)}, {"w": 0.0, "interval": (300, 800)},
])  # fmt: skip
@pytest.mark.parametrize("solver", ["ddim", "dpmpp"])
def test_evaluations_are_those_that_sampling_makes(guidance, solver):
    model = Counted(DigitConfig((8, 16), c_condition=8))
    cfdg.sample_digits(
        model, HEADER, torch.arange(10), range(10), n_steps=7, solver=solver, **guidance
    )
    # 50 images a chunk, whatever the number asked for
    assert model.passed == 50 * evaluations(1000, 7, **guidance)


def test_time_steps_of_the_evaluations_are_the_samplers():
    inside = sum(300 <= t <= 800 for t in time_steps(1000, 20))
    assert evaluations(1000, 20, 1.0, (300, 800)) == 20 + inside


def test_every_solver_is_scored_on_the_same_noises(scorer, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = DigitUNet(DigitConfig((8, 16), c_condition=8))
    cases = {"one": ("ddim", 2, 20), "same": ("dpmpp", 1, 20), "again": ("ddim", 1, 20)}
    cases["more"] = ("ddim", 1, 30)
    options = {"guidance": {"w": 1.0}, "cases": cases, "out": tmp_path}
    rows = solver_study(model, HEADER, scorer, **options)
    assert list(rows) == list(cases)
    assert rows["same"] == rows["again"]  # a single step is the same step for both
    assert {"evaluations", "accuracy", "frechet", "recall"} <= rows["one"].keys()
    assert [rows[name]["samples"] for name in cases] == [[20], [20], [20], [30]]
    assert as_metrics(rows, 99)["more: recall"]["n"] == 30
    monkeypatch.setattr(study, "sampled_scores", dict)  # would score nothing: all is kept
    assert solver_study(model, HEADER, scorer, **options) == rows


def test_copies_are_found(scorer, domain):
    train, test = domain.train.images, domain.test.images
    small = dataclasses.replace(
        domain,
        train=digits.DigitSet(train[:150], domain.train.labels[:150]),
        test=digits.DigitSet(test[:150], domain.test.labels[:150]),
    )
    stolen = copies(small.train.images[:40], small, scorer.yardstick)
    assert stolen.samples.max() < 1e-3 < stolen.held_out.median()
    assert stolen.nearer_in_pixels == stolen.nearer_in_features == 1
    real = copies(test[150:230], small, scorer.yardstick)  # real, and in neither set
    assert real.nearer_in_pixels < 0.8 and real.samples.min() > 1e-3
    assert real.samples.shape == (80,) == study.copies(
        test[150:230], small, scorer.yardstick
    ).held_out.shape  # fmt: skip
