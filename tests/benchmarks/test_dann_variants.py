"""The ablation's rows and their records, ways to read an image, and other shares of the digits."""

from dataclasses import replace
from types import SimpleNamespace

import dann_reading
import dann_trials
import dann_variants
import numpy as np
import pytest
import torch
from dann_variants import ablation, matched, shifted
from helpers.domains import made_up
from helpers.names import names

from hw2lib.datasets.augment import HANDLING, prepare
from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann import train
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io import results
from hw2lib.io.paths import RESULTS
from hw2lib.models.dann_net import Network, classify_tensor
from hw2lib.studies import dann


def row_of(name, **setting):
    return next(row for n, s, row in dann_variants.VARIANTS if (n, s) == (name, setting))


def test_each_variant_changes_one_thing_of_everything():
    base = row_of("everything")
    for name, _, row in dann_variants.VARIANTS:
        if name.startswith(("no ", "not ", "shared")):
            changed = [key for key, value in vars(row).items() if value != vars(base)[key]]
            assert len(changed) == 1, name


def test_variants_that_change_nothing_are_left_out_and_finished_ones_taken_up(tmp_path):
    pair = made_up("mnistm", masks=True), made_up("usps")
    problem = make_problem(*pair, HANDLING["usps"])
    some = [(name, {}, replace(row_of(name), batch_size=8))
            for name in ("everything", "no distractors", "no geometry")]  # fmt: skip
    some.append(("everything", {"teacher": 3}, replace(some[0][2], losses={"teacher": 3.0})))
    rows = ablation(problem, [0, 1], 2, tmp_path, some)
    assert [row[:2] for row in rows] == [  # USPS has no distractors to leave out
        ("everything", {}), ("no geometry", {}), ("everything", {"teacher": 3}),
    ]  # fmt: skip
    assert [t.seed for t in rows[0][2]] == [0, 1]
    again = ablation(problem, [0, 1], 2, tmp_path, some)
    for (_, _, before), (_, _, after) in zip(rows, again, strict=True):
        assert before[1].losses == after[1].losses
    assert rows[0][2][1].losses != rows[2][2][1].losses


def test_rows_get_the_same_choice_of_learning_rates():
    rows = dann_variants.RATES + dann_variants.PLAIN_ROWS + dann_variants.CEILING_RATES
    base = {name: row for name, setting, row in rows if not setting}
    for name, setting, row in rows:
        assert row == replace(base[name], lr=base[name].lr * setting.get("lr_factor", 1))
    assert [s["lr_factor"] for _, s, _ in rows if s] == 3 * [0.5, 2]


@pytest.mark.parametrize("target", ["usps", "mnistm"])
def test_the_records_are_those_of_the_recorded_file(target, monkeypatch):
    problem = make_problem(made_up("mnistm", masks=True), made_up(target), HANDLING[target])
    monkeypatch.setattr(dann_trials.digits, "load", lambda *_: made_up(target))
    look = SimpleNamespace(correct=[True], curve=[{"information": 1.0, "source_accuracy": 0.5}])
    monkeypatch.setattr(dann_variants, "train", lambda *_, **__: look)
    found = set()
    for part, variants in dann_trials.variants_of(target).items():
        case = dann_trials.case_of(problem, part)
        assert dann_variants.those_that_change(variants, case.handling) == variants
        for name, setting, trained in ablation(case, [0, 1, 2], 2, "out", variants):
            found |= names(dann_trials.measured(case, name, trained, **setting))
    recorded = results.load("dann-ablation", RESULTS)["records"]
    assert found == names(results.select(recorded, target=target))


def test_settled_statistics_are_those_of_the_images_as_they_are_read():
    net = Network(readings=2)
    x = torch.randint(0, 256, (1000, 3, 28, 28), dtype=torch.uint8)
    first = net.extractor.norms[0]
    kept = first.mean[1].clone()
    dann_reading.settle(net, x, 0)
    prepared = prepare(x, net.still, channels=1)
    maps = net.extractor.convs[0](torch.cat([prepared, -prepared]))
    torch.testing.assert_close(first.mean[0], maps.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(first.var[0], maps.var((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert torch.equal(first.mean[1], kept) and not net.training
    before = {k: v.clone() for k, v in net.state_dict().items()}
    dann_reading.settle(net, x, 0)  # nothing is left of the statistics that were there
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], atol=1e-5, rtol=1e-4)


def test_ten_views_are_the_image_moved_by_a_pixel_each_way_and_inverted():
    x = torch.rand(3, 1, 28, 28)
    inside = [view[..., 1:-1, 1:-1] for view in dann_reading.ten_views(x)]
    moved = [x.roll((i, j), (2, 3)) for i, j in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))]
    for view, expected in zip(inside, [*moved, *(-m for m in moved)], strict=True):
        assert torch.equal(view, expected[..., 1:-1, 1:-1])


def test_an_image_and_its_inverse_are_read_alike_in_ten_views():
    net = Network(readings=2).eval()
    x = torch.randint(0, 256, (50, 3, 28, 28), dtype=torch.uint8)
    read = dann_reading.read_in_ten(net, x, 1)
    assert torch.equal(read, dann_reading.read_in_ten(net, 255 - x, 1))
    assert read.shape == (50,) and (read == classify_tensor(net, x)).double().mean() > 0.5


@pytest.mark.parametrize("name", ["source_augmented", "best_adaptation"])
def test_by_reading_leaves_the_network_as_it_is(name, tmp_path):
    pair = made_up("mnistm", masks=True), made_up("usps")
    problem = make_problem(*pair, HANDLING["usps"])
    trained = train(replace(ROWS[name], steps=2, batch_size=8), problem, out=tmp_path)
    before = {k: v.clone() for k, v in trained.network.state_dict().items()}
    found = dann_reading.by_reading(trained)
    assert tuple(found) == dann_reading.WAYS
    assert {len(held) for held, _ in found.values()} == {len(problem.held)}
    assert (found[2, False][1] == trained.correct).all()
    after = trained.network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert trained.network.readings == 2


def test_validated_holds_a_tenth_of_the_targets_labels_back():
    target = made_up("usps", 100)
    problem = make_problem(made_up("mnistm"), target)
    some = dann_variants.validated(problem, target)
    assert (len(some.source), len(some.held)) == (90, 10)
    assert torch.equal(some.held.labels, target.train.labels[90:])
    assert torch.equal(some.source.images, target.train.images[:90])


def test_shifted_keeps_the_small_digits_and_a_share_of_the_others():
    problem = make_problem(made_up("mnistm"), made_up("usps", 100))
    labels = torch.arange(100) % 10
    some = shifted(problem, labels, keep=0.1)
    assert len(some.target) == 50 + 5
    assert torch.equal(some.target.images[:5], problem.target.images[:5])


def test_matched_gives_the_source_the_targets_shares():
    problem = make_problem(made_up("mnistm", 200, masks=True), made_up("usps"))
    labels = torch.tensor([0] * 6 + [1] * 3 + list(range(10)))  # of the target
    some = matched(problem, labels)
    want = dann.class_shares(labels)
    np.testing.assert_allclose(dann.class_shares(some.source.labels), want, atol=0.05)
    assert len(some.source.masks) == len(some.source) < len(problem.source)
    assert some.held is problem.held and some.target is problem.target
