"""guidance: every p_drop meets every w, finished cells are kept, scores say what they should."""

import inspect

import pytest
import torch

from hw2lib.commands import cli
from hw2lib.datasets import digits
from hw2lib.errors import UserError
from hw2lib.evaluators.digit_features import Reference, Yardstick
from hw2lib.experiments.cfdg import sample_digits
from hw2lib.experiments.recipe import Preset
from hw2lib.io.weights import load_weights
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models.digit_unet import DigitConfig
from hw2lib.studies import cfdg
from hw2lib.training import TrainConfig

TINY = Preset(TrainConfig(steps=2, batch_size=4), DigitConfig((16, 16), (1, 1), 16), "cosine")
P_DROPS = (0.0, 0.1)
TWO = {"w = 0": {"w": 0.0}, "w = 1": {"w": 1.0, "interval": (100, 900)}}
SCORES = {"accuracy", "frechet", "kernel", "precision", "recall", "spread"}


@pytest.fixture(autouse=True)
def yardstick(monkeypatch):
    torch.manual_seed(0)
    net = Yardstick().eval()
    monkeypatch.setattr(cfdg, "load_yardstick", lambda: net)
    return net


@pytest.fixture(scope="module")
def domain():
    return digits.load("mnistm", "embedded")


def study(out, seeds=(0, 1), **more):
    options = {"data": "embedded", "n": 20, "strengths": TWO, "solver": {"n_steps": 2}}
    return cfdg.study(TINY, dict.fromkeys(P_DROPS, seeds), out=out, **{**options, **more})


def test_every_cell_has_one_value_a_seed(tmp_path):
    cells = study(tmp_path)
    assert cells.keys() == {(p, w) for p in P_DROPS for w in TWO}
    for cell in cells.values():
        assert cell.keys() == SCORES | {"images"} and cell["images"] == [8, 8]
        assert all(len(values) == 2 for values in cell.values())
    for p_drop in P_DROPS:
        for seed in (0, 1):
            _, header = load_weights(
                tmp_path / f"p{100 * p_drop:g}-s{seed}" / "weights.safetensors", "digit_unet"
            )
            assert (header["p_drop"], header["train"]["seed"]) == (p_drop, seed)


def test_what_is_finished_is_taken_up_and_other_settings_are_not_mixed_in(tmp_path, monkeypatch):
    first = study(tmp_path, seeds=[0])

    def no_sampling(*_, **__):
        raise AssertionError("sampled again")

    with monkeypatch.context() as m:
        m.setattr(cfdg, "sample_digits", no_sampling)
        assert study(tmp_path, seeds=[0]) == first
        with pytest.raises(AssertionError, match="sampled again"):
            study(tmp_path, seeds=[0], solver={"n_steps": 3})
    assert (
        study(tmp_path, seeds=[0, 1])[0.1, "w = 1"]["recall"][0] == first[0.1, "w = 1"]["recall"][0]
    )


def test_a_strength_may_name_its_own_solver(tmp_path, monkeypatch):
    asked = []

    def noted(*_, **options):
        asked.append(options)
        return dict.fromkeys(SCORES, 0.5)

    monkeypatch.setattr(cfdg, "sampled_scores", noted)
    strengths = {"plain": {"w": 1.0}, "other": {"w": 1.0, "n_steps": 3, "solver": "dpmpp"}}
    cfdg.study(TINY, {0.1: [4]}, data="embedded", n=20, strengths=strengths, out=tmp_path)
    plain = {"w": 1.0, "n_steps": 20, "solver": "ddim", "seed": 4}
    assert asked == [plain, {**plain, "n_steps": 3, "solver": "dpmpp"}]


def test_the_default_of_the_samples_is_a_row_of_the_study():
    row = cfdg.STRENGTHS["by default"]
    defaults = inspect.signature(sample_digits).parameters
    assert row["w"] == defaults["w"].default and row["n_steps"] == defaults["n_steps"].default
    parser = cli.build_parser().parse_args(["sample-digits", "out"])
    assert (parser.guidance, parser.steps) == (row["w"], row["n_steps"])


def test_accuracy_counts_what_the_judge_reads(domain):
    scorer = cfdg.Scorer.load(domain.test.images, 50)
    images, labels = domain.test.images[:60], domain.test.labels[:60]
    right = scorer(images, labels)["accuracy"]
    wrong = scorer(images, (labels + 1) % 10)["accuracy"]
    assert right == (scorer.judge.predict(images) == labels).double().mean()
    assert wrong < 0.2 < right


def test_real_images_against_themselves_are_a_perfect_model(domain, yardstick):
    real = Reference.of(yardstick.embed(domain.test.images), len(domain.test))
    scores = cfdg.Scorer(cfdg.load_judge(), yardstick, real)(domain.test.images, domain.test.labels)
    assert (scores["precision"], scores["recall"]) == (1, 1)
    assert scores["frechet"] < 1e-6


def test_the_ceiling_draws_from_training_images(domain):
    scorer = cfdg.Scorer.load(domain.test.images, 50)
    a, b = (cfdg.ceiling(domain, scorer, 50, [seed]) for seed in (0, 0))
    assert a == b
    assert a.keys() == SCORES
    both = cfdg.ceiling(domain, scorer, 50, [0, 1])
    assert all(values[0] == a[score][0] and len(values) == 2 for score, values in both.items())
    assert any(values[0] != values[1] for values in both.values())


def test_scores_become_entries_of_a_result_file():
    rows = {"w = 1, all": {"accuracy": [0.5, 0.75], "recall": [0.5, 0.75], "kernel": [1.0, 1.0]}}
    entries = cfdg.as_metrics(rows, 20)
    assert list(entries) == [f"w = 1, all: {key}" for key in ("accuracy", "recall", "kernel")]
    assert entries["w = 1, all: accuracy"] == accuracy_metric([10, 15], 20)
    assert entries["w = 1, all: recall"] == metric([0.5, 0.75], 20, "share")
    assert entries["w = 1, all: kernel"]["unit"] == "distance"


def test_unknown_names_are_one_line(tmp_path):
    with pytest.raises(UserError, match="preset 'slow' is unknown"):
        cfdg.study("slow", {0.1: [0]}, out=tmp_path)
