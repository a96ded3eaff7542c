"""DANN: the mean teacher, exact resume, rows that are picked up again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.domains import made_up
from helpers.lines import one_line
from helpers.names import names

from hw2lib import adaptation
from hw2lib.datasets import digits
from hw2lib.datasets.augment import PLAIN
from hw2lib.datasets.digits import DigitDomain, DigitSet
from hw2lib.datasets.pairs import make_problem
from hw2lib.errors import UserError
from hw2lib.experiments import dann, dann_rows
from hw2lib.experiments.dann import Learner, train
from hw2lib.experiments.dann_rows import ROWS, Row
from hw2lib.io.results import one
from hw2lib.models import dann_net
from hw2lib.studies import dann as study


def test_student_trains_and_teacher_does_not():
    model = Learner(ROWS["best_adaptation"]).train()
    assert model.student.training and not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_frozen_statistics_stay_while_weights_learn():
    """The report's fault: the extractor in evaluation mode after the first epoch."""
    row = replace(ROWS["report_form_frozen"], steps=20)
    model = Learner(row).train()
    x, y = torch.randn(8, 1, 28, 28), torch.arange(8)
    norm, conv = model.student.extractor.norms[0], model.student.extractor.convs[0].weight

    def mean_after(step):
        loss = model.train()(step, x, y, x, x)
        loss.backward()
        return norm.mean.clone()

    first = mean_after(0)
    assert not torch.equal(mean_after(0), first)
    late = mean_after(1)
    assert torch.equal(mean_after(19), late) and conv.grad.abs().max() > 0


def test_reads_twice_where_training_inverts(tmp_path):
    flips = replace(PLAIN, flip=0.5)
    problem = make_problem(made_up("mnistm"), made_up("usps"), (flips, flips))
    row = replace(ROWS["dann"], steps=2, batch_size=8)
    one_sided = replace(problem, handling=(flips, PLAIN))
    assert dann.learner(row, one_sided)[0].student.readings == 1
    twice = train(row, problem, out=tmp_path / "twice")
    once = train(replace(row, off=("intensity",)), problem, out=tmp_path / "once")
    assert twice.network.readings == 2 and once.network.readings == 1
    assert dann_net.load(tmp_path / "twice" / "dann.safetensors")[0].readings == 2


def test_a_loss_of_ones_own_joins_in(monkeypatch, tmp_path):
    """A new method is one function."""
    seen = []

    def mine(step, weight):
        seen.append(weight)
        return weight * (step.source.mean(0) - step.target.mean(0)).square().sum()

    monkeypatch.setitem(adaptation.LOSSES, "mine", mine)
    problem = make_problem(made_up("mnistm"), made_up("usps"))
    row = Row("mine", losses={"mine": 0.5}, ramp=False, steps=3, batch_size=8)
    assert 0 <= train(row, problem, out=tmp_path).accuracy <= 1
    assert seen == [0.5] * 3


# --- training ----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    pair = (made_up("mnistm", masks=True), made_up("usps"))
    monkeypatch.setattr(digits, "load", lambda name, data="auto": pair[name == "usps"])
    return pair


def shorter(name: str, steps: int = 4, **changes) -> Row:
    return replace(ROWS[name], steps=steps, batch_size=8, **changes)


def test_rows_are_picked_up_again_and_reported(small, tmp_path, monkeypatch):
    rows = (*dann.TABLE, "best_adaptation")

    def run(**settings):
        return dann.run("usps", "quick", [0, 1], rows, tmp_path, settings=settings)

    short = {"steps": 4, "batch_size": 8}
    result = run(**short)
    assert [len(trained) for trained in result["rows"].values()] == [2] * 4
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("trained again"))
    again = run(**short)
    for name in rows:
        for a, b in zip(result["rows"][name], again["rows"][name], strict=True):
            assert a.losses == b.losses and np.array_equal(a.read, b.read) and a.curve == b.curve
    records = study.records_of(result["rows"])
    assert list(study.table(records)["method"]) == [ROWS[name].title for name in rows]
    assert "no label" in study.describe(result)
    assert "teacher 1" in study.describe(result)
    with pytest.raises(UserError, match="takes preset full on course or public data"):
        study.write(result, records, publish=True)
    recorded = json.loads(study.write(result, records).read_text())
    assert recorded["preset"] == "quick, changed"
    assert recorded["settings"]["handling"][0]["zoom"] == [0.95, 1.5]
    assert len(recorded["weights"]["dann-usps.safetensors"]) == 64
    assert set(recorded["not_run"]) == set(dann_rows.rows_for("usps", "full")) - set(rows)
    ran = [r for r in map(json.loads, names("dann-usps")) if r[0] in (*rows, "label_shift")]
    assert names(recorded["records"]) == {json.dumps(r, sort_keys=True) for r in ran}
    by = {
        choice: one(recorded["records"], "dann", "accuracy", chosen_by=choice)["mean"]
        for choice in study.CHOICES
    }
    assert by["oracle"] >= by["information"]
    for change, words in (({"steps": 5}, "steps=4, not 5"), ({"lr": 0.001}, "lr=0.004, not 0.001")):
        with pytest.raises(UserError, match=f"made with {words}"):
            run(**{**short, **change})


def test_features_come_in_equal_numbers(small, tmp_path):
    trained = train(shorter("dann"), make_problem(*small), out=tmp_path)
    source, labels, target, others = study.embedding_input(trained, each=20)
    assert source.shape == target.shape == (20, 256) and len(labels) == len(others) == 20


def test_the_curve_is_looked_at_to_the_end(small, tmp_path, monkeypatch):
    monkeypatch.setattr(dann, "BETWEEN", 1)
    trained = train(shorter("dann", 26), make_problem(*small), out=tmp_path)
    assert [look["step"] for look in trained.curve] == [*range(2, 27, 2)]
    last = trained.curve[-1]
    assert last["oracle"] == trained.accuracy and 0 <= last["domain_accuracy"] <= 1
    assert last["lambda"] == pytest.approx(0.3, abs=1e-3)
    assert 0 <= last["information"] <= np.log(10) + 1e-6
    best = max(trained.curve, key=lambda look: look["information"])
    assert trained.chosen_by("information") == best["oracle"]


@pytest.mark.parametrize(
    ("steps", "every"), [(3, 1), (150, 25), (300, 50), (400, 50), (960, 80), (4800, 400)]
)
def test_a_training_is_looked_at_six_to_twelve_times(small, steps, every):
    row = replace(ROWS["dann"], steps=steps)
    assert dann.Watch(row, make_problem(*small)).every == every


def test_looking_changes_nothing(small, tmp_path, monkeypatch):
    problem = make_problem(*small)
    a = train(shorter("best_adaptation"), problem, out=tmp_path / "a")
    monkeypatch.setattr(dann, "WATCHED", (1, 1))
    b = train(shorter("best_adaptation"), problem, out=tmp_path / "b")
    assert len(a.curve) > len(b.curve) and a.losses == b.losses


def test_a_row_is_not_resumed_on_other_data(small, tmp_path):
    train(shorter("dann", 2), make_problem(*small), out=tmp_path)
    other = make_problem(small[0], replace(small[1], sha256={"usps.bz2": "0" * 64}))
    with pytest.raises(UserError, match="made with other data") as error:
        train(shorter("dann", 2), other, out=tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_a_run_that_never_began_is_not_in_the_way(small, tmp_path):
    """A loss that runs away does not block the corrected command."""
    with pytest.raises(UserError, match="lower lr"):
        train(shorter("dann", 9, lr=1e30), make_problem(*small), out=tmp_path)
    assert list(tmp_path.iterdir()) == []
    train(shorter("dann", 2), make_problem(*small), out=tmp_path)


@pytest.mark.parametrize("name", ["source_only", "dann", "best_adaptation", "report_form_frozen"])
def test_a_resumed_row_ends_with_the_same_bytes(name, small, tmp_path, monkeypatch):
    problem, row = make_problem(*small), shorter(name, 6)
    whole = train(row, problem, out=tmp_path / "whole")
    calls = []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return real(*arguments)

    from hw2lib import training

    real = training.update_ema
    monkeypatch.setattr(training, "update_ema", stopping)
    monkeypatch.setattr(training.time, "perf_counter", iter(range(0, 10**6, 1000)).__next__)
    with pytest.raises(KeyboardInterrupt):
        train(row, problem, out=tmp_path / "cut")
    monkeypatch.undo()
    cut = train(row, problem, out=tmp_path / "cut", resume=True)
    assert cut.losses == whole.losses and cut.curve == whole.curve
    for a, b in zip(
        cut.network.state_dict().values(), whole.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_target_labels_do_not_reach_any_row_that_adapts(small, tmp_path):
    source, target = small
    lied = DigitSet(target.train.images, target.train.labels.flip(0))
    other = DigitDomain("usps", "embedded", lied, target.test, {})
    for name, row in ROWS.items():
        if row.adapts:
            row = shorter(name, 3)
            a = train(row, make_problem(source, target), out=tmp_path / f"{name}-a")
            b = train(row, make_problem(source, other), out=tmp_path / f"{name}-b")
            assert a.losses == b.losses and a.curve == b.curve


def test_source_row_learns(small, tmp_path):
    row = replace(shorter("source_augmented", 60), batch_size=40, lr=3e-3)
    trained = train(row, make_problem(*small), out=tmp_path)
    assert trained.losses[-1] < 0.8 * trained.losses[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dann.run("mars"), "target 'mars' is unknown"),
        (lambda: dann.run("usps", "huge"), "preset 'huge' is unknown"),
        (lambda: dann.run("usps", seeds=0), "seeds is 0; at least 1"),
        (lambda: dann.run("usps", rows=["both"]), "row 'both' is unknown"),
    ],
)
def test_bad_parameters(call, words):
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


# --- tensors of one's own ------------------------------------------------------------------------


def test_adapt_learns_the_targets_bars_without_their_labels():
    source, target = made_up("mnistm").train, made_up("usps").train
    network = dann.adapt(source.images, source.labels, target.images, steps=60)
    read = dann_net.classify_tensor(network, target.images)
    assert (read == target.labels).float().mean() > 0.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": torch.zeros(4, 3, 28, 28)}, "images is torch.float32 (4, 3, 28, 28); uint8"),
        ({"target": torch.zeros(4, 1, 28, 28).byte()}, "target is torch.uint8 (4, 1, 28, 28)"),
        ({"target": torch.zeros(0, 3, 28, 28).byte()}, "target is torch.uint8 (0, 3, 28, 28)"),
        ({"labels": torch.arange(3)}, "labels are not 4 digits from 0 to 9, one for each image"),
        ({"labels": torch.tensor([1, 2, 3, 10])}, "labels are not 4 digits from 0 to 9"),
    ],
)
def test_adapt_says_what_is_wrong_with_tensors(change, words):
    images = torch.zeros(4, 3, 28, 28, dtype=torch.uint8)
    given = {"images": images, "labels": torch.arange(4), "target": images} | change
    with pytest.raises(UserError) as error:
        dann.adapt(**given, steps=2)
    assert words in one_line(error)
