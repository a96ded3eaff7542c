"""DANN: gradients' signs, the averaged teacher, exact resume, rows that are picked up again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.domains import made_up
from helpers.names import names
from torch.nn import functional as F

from hw2lib import adaptation
from hw2lib.adaptation import LOSSES, Step, domain_loss, entropy_and_balance
from hw2lib.datasets import augment, digits
from hw2lib.datasets.augment import PLAIN
from hw2lib.datasets.digits import DigitDomain, DigitSet
from hw2lib.datasets.pairs import make_problem
from hw2lib.errors import UserError
from hw2lib.experiments import dann, dann_rows
from hw2lib.experiments.dann import Learner, train
from hw2lib.experiments.dann_rows import ROWS, Row
from hw2lib.io.results import one
from hw2lib.models import dann_net
from hw2lib.models.dann_net import SOURCE, TARGET, Network
from hw2lib.studies import dann as study


def test_number_of_parameters():
    assert sum(p.numel() for p in Network().parameters()) == 424_779


@pytest.mark.parametrize("lam", [0.31, 1.0])
def test_signs_of_the_gradients_of_all_three_parts(lam):
    torch.manual_seed(0)
    net = Network().eval()
    source, target = torch.randn(2, 8, 1, 28, 28)
    labels = torch.arange(8)
    f_source, f_target = net.both(source, target)
    label_loss = F.cross_entropy(net.label_head(f_source), labels)
    total = label_loss + domain_loss(net.domain_head, f_source, f_target, lam)
    d_source, d_target = net.domain_head(f_source), net.domain_head(f_target)
    plain = -(d_source.sigmoid().log().mean() + (1 - d_target.sigmoid()).log().mean())

    def gradients(loss, part):
        weights = list(part.parameters())
        got = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        pairs = zip(got, weights, strict=True)
        return torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs])

    for part, of_label, of_domain in [
        (net.label_head, 1, 0),
        (net.domain_head, 0, 1),
        (net.extractor, 1, -lam),
    ]:
        want = of_label * gradients(label_loss, part) + of_domain * gradients(plain, part)
        torch.testing.assert_close(gradients(total, part), want, atol=1e-6, rtol=1e-4)
        assert want.abs().max() > 1e-3


def test_each_domain_has_its_own_batch_statistics():
    net = Network().train()
    norm = net.extractor.norms[0]
    net(torch.randn(8, 1, 28, 28), SOURCE)
    assert norm.mean[SOURCE].abs().sum() > 0 and norm.mean[TARGET].abs().sum() == 0
    before = norm.mean.clone()
    net.eval()(torch.randn(8, 1, 28, 28), TARGET)
    assert torch.equal(before, norm.mean)


def test_shared_statistics_are_those_of_both_domains_together():
    net = Network(separate=False).train()
    source, target = torch.randn(8, 1, 28, 28), torch.randn(8, 1, 28, 28) + 3
    apart = net.features(source)
    together, _ = net.both(source, target)
    assert not torch.allclose(apart, together)
    net.eval()
    torch.testing.assert_close(net(source, SOURCE), net(source, TARGET))


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


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("readings", [2, 10])
def test_a_network_trained_on_inverted_images_reads_an_image_and_its_inverse_alike(
    standardise, readings
):
    net = Network(standardise=standardise, readings=readings)
    x = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(dann_net.features(net, x), dann_net.features(net, 255 - x))
    net.readings = 1
    assert not torch.allclose(dann_net.features(net, x), dann_net.features(net, 255 - x))


def test_views_are_the_image_moved_by_a_pixel_each_way_and_inverted():
    x = torch.rand(3, 1, 28, 28)
    assert [v.tolist() for v in dann_net.views(x, 1)] == [x.tolist()]
    assert all(torch.equal(a, b) for a, b in zip(dann_net.views(x, 2), (x, -x), strict=True))
    ten = dann_net.views(x, 10)
    inside = [view[..., 1:-1, 1:-1] for view in ten]
    moved = [x.roll((i, j), (2, 3)) for i, j in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    for view, expected in zip(inside, [*moved, *(-m for m in moved)], strict=True):
        assert torch.equal(view, expected[..., 1:-1, 1:-1])
    with pytest.raises(ValueError, match="3 readings"):
        dann_net.views(x, 3)


def test_features_are_the_mean_over_the_views():
    net = Network(readings=10).eval()
    x = torch.randint(0, 256, (5, 3, 28, 28), dtype=torch.uint8)
    prepared = augment.prepare(x, net.still, channels=1)
    each = [net.features(view) for view in dann_net.views(prepared, 10)]
    torch.testing.assert_close(dann_net.features(net, x), torch.stack(each).mean(0))


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


# --- losses ------------------------------------------------------------------------------------


def step_with(logits, teacher_logits=None):
    """A Step whose target logits, and whose teacher's, are given."""
    net = Network()
    fixed = None if teacher_logits is None else (lambda *_: teacher_logits)
    x = torch.zeros(len(logits), 1, 28, 28)
    f = torch.randn(len(logits), 256)
    return Step(net, fixed, torch.zeros(len(logits)).long(), f, f, logits, x)


def test_the_teacher_teaches_only_what_it_is_sure_of():
    sure = torch.full((4, 10), -20.0)
    sure[:, 3] = 20
    sure[2:] = 0  # undecided about the last two
    logits = torch.randn(4, 10, requires_grad=True)
    loss = LOSSES["teacher"](step_with(logits, sure), 0.5)
    want = 0.5 * F.cross_entropy(logits[:2], torch.tensor([3, 3]), reduction="sum") / 4
    torch.testing.assert_close(loss, want)
    loss.backward()
    assert logits.grad[2:].abs().max() == 0


def test_entropy_and_balance_at_their_ends():
    decided = 50 * torch.eye(10)
    entropy, balance = entropy_and_balance(decided)
    assert entropy == pytest.approx(0, abs=1e-6) and balance == pytest.approx(-np.log(10), abs=1e-3)
    entropy, balance = entropy_and_balance(torch.zeros(7, 10))
    assert entropy == pytest.approx(np.log(10)) and -(entropy + balance) == pytest.approx(
        0, abs=1e-3
    )
    same = decided[:1].expand(5, 10)
    assert entropy_and_balance(same)[1] == pytest.approx(0, abs=1e-3)


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
    assert list(study.table(records).index) == [ROWS[name].title for name in rows]
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


def test_the_curve_is_looked_at_to_the_end(small, tmp_path):
    trained = train(shorter("dann", 26), make_problem(*small), out=tmp_path)
    assert [look["step"] for look in trained.curve] == [*range(2, 27, 2)]
    last = trained.curve[-1]
    assert last["oracle"] == trained.accuracy and 0 <= last["domain_accuracy"] <= 1
    assert last["lambda"] == pytest.approx(0.3, abs=1e-3)
    assert 0 <= last["information"] <= np.log(10) + 1e-6
    best = max(trained.curve, key=lambda look: look["information"])
    assert trained.chosen_by("information") == best["oracle"]


def test_looking_changes_nothing(small, tmp_path, monkeypatch):
    problem = make_problem(*small)
    a = train(shorter("best_adaptation"), problem, out=tmp_path / "a")
    monkeypatch.setattr(dann, "WATCHED", 1)
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


# --- weights -----------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    return dann_net.save(Network(), tmp_path / "w.safetensors", target="usps")


def test_weights_survive_the_file(weights):
    torch.manual_seed(0)
    net = Network()
    loaded, config = dann_net.load(weights)
    x = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    a, b = dann_net.features(net, x), dann_net.features(loaded, x)
    torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)
    assert config["kind"] == "dann" and config["target"] == "usps"
