"""The ablation's bookkeeping, the bound's joint error and label shift."""

from dataclasses import replace

import dann_reading
import dann_variants
import numpy as np
import pytest
import torch
from dann_variants import VARIANTS, ablation, matched, shifted
from helpers.domains import made_up
from scipy.stats import entropy

from hw2lib.datasets.augment import HANDLING, PLAIN, prepare
from hw2lib.datasets.pairs import make_problem
from hw2lib.experiments.dann import train
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.models.dann_net import Network
from hw2lib.studies import dann
from hw2lib.studies.dann import jensen_shannon, joint_error, least_error


def test_each_variant_changes_one_thing_of_everything():
    base = VARIANTS["everything"]
    for name, row in VARIANTS.items():
        if name.startswith(("no ", "not ", "shared")):
            changed = [key for key, value in vars(row).items() if value != vars(base)[key]]
            assert len(changed) == 1, name


def test_variants_that_change_nothing_are_left_out_and_finished_ones_taken_up(tmp_path):
    pair = made_up("mnistm", masks=True), made_up("usps")
    problem = make_problem(*pair, HANDLING["usps"])
    some = {name: replace(VARIANTS[name], batch_size=8)
            for name in ("everything", "no distractors", "no geometry")}  # fmt: skip
    rows = ablation(problem, [0, 1], 2, tmp_path, some)
    assert list(rows) == ["everything", "no geometry"]  # USPS has no distractors to leave out
    assert [t.seed for t in rows["everything"]] == [0, 1]
    again = ablation(problem, [0, 1], 2, tmp_path, some)
    assert again["no geometry"][1].losses == rows["no geometry"][1].losses


def test_rows_get_the_same_choice_of_learning_rates():
    rows = dann_variants.RATES | dann_variants.PLAIN_ROWS | dann_variants.CEILING_RATES
    for name, row in rows.items():
        base = rows[name.split(", learning rate ")[0]]
        factor = {"halved": 0.5, "doubled": 2}.get(name.split()[-1], 1)
        assert row == replace(base, lr=base.lr * factor)
    names = " ".join(rows)
    assert names.count("halved") == names.count("doubled") == 3


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


@pytest.mark.parametrize("name", ["source_augmented", "best_adaptation"])
def test_by_reading_leaves_the_network_as_it_is(name, tmp_path):
    pair = made_up("mnistm", masks=True), made_up("usps")
    problem = make_problem(*pair, HANDLING["usps"])
    trained = train(replace(ROWS[name], steps=2, batch_size=8), problem, out=tmp_path)
    before = {k: v.clone() for k, v in trained.network.state_dict().items()}
    found = dann_reading.by_reading(trained)
    assert list(found) == list(dann_reading.WAYS)
    assert {len(held) for held, _ in found.values()} == {len(problem.held)}
    assert (found["twice"][1] == trained.correct).all()
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


def test_joint_error_is_small_where_one_head_serves_both_and_not_where_classes_are_swapped():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 10
    x = torch.eye(10)[labels] + 0.05 * torch.randn(400, 10, generator=g)
    assert joint_error(x, labels, x.clone(), labels) < 0.01
    assert joint_error(x, labels, x.clone(), (labels + 1) % 10) > 0.8


def test_joint_error_of_a_training(tmp_path):
    problem = make_problem(made_up("mnistm"), made_up("usps"), (PLAIN, PLAIN))
    trained = train(replace(ROWS["dann"], steps=2, batch_size=8), problem, out=tmp_path)
    assert 0 <= dann.joint_error_of(trained) <= 2


def test_jensen_shannon_is_its_definition_and_bounds_the_error():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.2, 0.3, 0.5])
    m = (p + q) / 2
    want = np.sqrt((entropy(p, m, base=2) + entropy(q, m, base=2)) / 2)
    assert jensen_shannon(p, q) == pytest.approx(want)
    assert jensen_shannon(p, p) == 0 and jensen_shannon(np.eye(3)[0], np.eye(3)[1]) == 1
    assert least_error(p, q) == pytest.approx(want**2 / 2)


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
