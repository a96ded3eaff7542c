"""DANN: gradients' signs, input handling, exact resume, the three rows, `classify`."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hw2lib import dann, dann_net, dann_report, digits
from hw2lib.dann_inputs import HANDLING, Handling, edit, prepare, standardise, warp
from hw2lib.dann_net import SOURCE, TARGET, Network
from hw2lib.digits import DigitDomain, DigitSet
from hw2lib.paths import UserError


def made_up(name: str, n: int = 80, masks: bool = False) -> DigitDomain:
    """A bar whose column tells its label, dark on light in the target."""
    g = torch.Generator().manual_seed(len(name))
    labels = torch.arange(n) % 10
    mask = torch.zeros(n, 1, 28, 28, dtype=torch.uint8)
    for i, label in enumerate(labels):
        mask[i, 0, 6:22, 4 + 2 * label : 6 + 2 * label] = 1
    noise = torch.randint(0, 60, (n, 3, 28, 28), generator=g, dtype=torch.uint8)
    images = torch.where(mask.bool(), 255 - noise, noise)
    part = DigitSet(images, labels, mask if masks else None)
    return DigitDomain(name, "embedded", part, part, {})


def test_number_of_parameters():
    assert sum(p.numel() for p in Network().parameters()) == 423_915


@pytest.mark.parametrize("form", ["ramp", "report"])
def test_signs_of_the_gradients_of_all_three_parts(form):
    torch.manual_seed(0)
    net = Network().eval()
    cfg = dann.settings_for("quick", form=form)
    lam = dann.strength(cfg, 0.3)
    source, target = torch.randn(2, 8, 1, 28, 28)
    labels = torch.arange(8)
    f_source = net.extractor(source, SOURCE)
    f_target = net.extractor(target, TARGET)
    label_loss = F.cross_entropy(net.label_head(f_source), labels)
    total = label_loss + dann.domain_loss(net.domain_head, f_source, f_target, lam)
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


def test_strength_of_both_forms():
    paper, report = dann.settings_for("full", lam=1.0), dann.settings_for("full", form="report")
    assert dann.strength(paper, 0) == 0
    assert dann.strength(paper, 0.2) == pytest.approx(2 / (1 + math.exp(-2)) - 1)
    assert dann.strength(paper, 1) == pytest.approx(1, abs=1e-4)
    assert dann.strength(report, 0) == dann.strength(report, 1) == 0.31


def test_each_domain_has_its_own_batch_statistics():
    net = Network().train()
    norm = net.extractor.norms[0]
    net(torch.randn(8, 1, 28, 28), SOURCE)
    assert norm.mean[SOURCE].abs().sum() > 0 and norm.mean[TARGET].abs().sum() == 0
    before = norm.mean.clone()
    net.eval()(torch.randn(8, 1, 28, 28), TARGET)
    assert torch.equal(before, norm.mean)


def test_student_trains_and_teacher_does_not():
    model = dann.Adaptation(dann.settings_for("quick")).train()
    assert model.student.training and not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


# --- input handling ----------------------------------------------------------------------------


def test_standardise():
    x = standardise(torch.rand(5, 3, 28, 28) * 0.2)
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    assert x.std((1, 2, 3)).min() > 0.6 and x.std((1, 2, 3)).max() < 1


def test_the_idle_warp_changes_nothing_and_a_zoom_does():
    x = torch.rand(4, 1, 28, 28)
    g = torch.Generator().manual_seed(0)
    torch.testing.assert_close(warp(x, Handling(), g), x, atol=1e-5, rtol=0)
    larger = warp(x, Handling(zoom=(1.5, 1.5)), g)
    assert larger.shape == x.shape and not torch.allclose(larger, x)


@pytest.mark.parametrize("target", dann_net.TARGETS)
def test_handling_is_finite_and_follows_from_the_generator(target):
    data = made_up("mnistm", 16, masks=target != "mnistm").train
    channels = dann.channels_for(target)
    for handling in HANDLING[target]:
        a, b = (
            prepare(
                data.images,
                handling,
                torch.Generator().manual_seed(3),
                masks=data.masks,
                channels=channels,
            )
            for _ in range(2)
        )
        assert a.shape == (16, channels, 28, 28) and a.isfinite().all() and torch.equal(a, b)


def test_edits_invert_only_where_the_stroke_changes():
    data = made_up("mnistm", 40, masks=True).train
    x = data.images.float() / 255
    mask = data.masks > 0
    for handling in (Handling(thickness=1.0), Handling(neighbours=1.0)):
        y = edit(x, mask, handling, torch.Generator().manual_seed(0))
        changed = (x - y).abs() > 1e-6
        torch.testing.assert_close(y[changed], 1 - x[changed])
        assert 0 < changed.float().mean() < 0.2
    assert torch.equal(edit(x, mask, Handling(), torch.Generator()), x)


# --- training ----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    pair = (made_up("mnistm", masks=True), made_up("usps"))
    monkeypatch.setattr(digits, "load", lambda name, source="auto": pair[name == "usps"])
    return pair


def test_three_rows_are_picked_up_again_and_reported(small, tmp_path, monkeypatch):
    changes = {"steps": 4, "batch_size": 8}
    result = dann.run("usps", "quick", [0, 1], tmp_path, **changes)
    assert [len(rows) for rows in result["rows"].values()] == [2, 2, 2]
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("trained again"))
    again = dann.run("usps", "quick", [0, 1], tmp_path, **changes)
    for name in dann.ROWS:
        for a, b in zip(result["rows"][name], again["rows"][name], strict=True):
            assert a.losses == b.losses and np.array_equal(a.correct, b.correct)
    assert dann_report.table(result).count("\n") == 4
    assert "averaged teacher" in dann_report.describe(result)
    x, labels, names = dann_report.embedding_input(result, each=20)
    assert x.shape == (40, 256) and len(labels) == 40 and names[0] == "mnistm"
    with pytest.raises(UserError, match="takes preset full on course or public data"):
        dann_report.record(result, publish=True)
    recorded = json.loads(dann_report.record(result).read_text())
    assert recorded["preset"] == "quick, changed"
    assert recorded["data"]["handling"]["source"]["zoom"] == [0.95, 1.5]
    assert len(recorded["data"]["sha256"]["weights/dann-usps.safetensors"]) == 64
    for change, words in (({"steps": 5}, "steps=4, not 5"), ({"lam": 0.2}, "lam=0.3, not 0.2")):
        with pytest.raises(UserError, match=f"made with {words}"):
            dann.run("usps", "quick", [0], tmp_path, **{**changes, **change})


def test_a_row_is_not_resumed_on_other_data(small, tmp_path):
    settings = {"steps": 2, "batch_size": 8}
    dann.train_row("dann", *small, "quick", 0, tmp_path, **settings)
    other = replace(small[1], sha256={"usps.bz2": "0" * 64})
    with pytest.raises(UserError, match="made with other data") as error:
        dann.train_row("dann", small[0], other, "quick", 0, tmp_path, resume=True, **settings)
    assert "\n" not in str(error.value)


def test_a_run_that_never_began_is_not_in_the_way(small, tmp_path):
    """Neither a setting that is refused nor a loss that runs away blocks the corrected command."""
    with pytest.raises(UserError, match="lr=-1"):
        dann.train_row("dann", *small, "quick", 0, tmp_path, steps=2, batch_size=8, lr=-1)
    with pytest.raises(UserError, match="lower lr"):
        dann.train_row("dann", *small, "quick", 0, tmp_path, steps=9, batch_size=8, lr=1e30)
    assert list(tmp_path.iterdir()) == []
    dann.train_row("dann", *small, "quick", 0, tmp_path, steps=2, batch_size=8)


@pytest.mark.parametrize("row", dann.ROWS)
def test_a_resumed_row_ends_with_the_same_bytes(row, small, tmp_path, monkeypatch):
    settings = {"steps": 6, "batch_size": 8}
    whole = dann.train_row(row, *small, "quick", 0, tmp_path / "whole", **settings)
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
        dann.train_row(row, *small, "quick", 0, tmp_path / "cut", **settings)
    monkeypatch.undo()
    cut = dann.train_row(row, *small, "quick", 0, tmp_path / "cut", resume=True, **settings)
    assert cut.losses == whole.losses
    for a, b in zip(
        cut.network.state_dict().values(), whole.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


def test_target_labels_do_not_reach_the_dann_row(small, tmp_path):
    source, target = small
    other = DigitSet(target.train.images, target.train.labels.flip(0))
    lied = DigitDomain("usps", "embedded", other, target.test, {})
    settings = {"steps": 4, "batch_size": 8}
    a = dann.train_row("dann", source, target, "quick", 0, tmp_path / "a", **settings)
    b = dann.train_row("dann", source, lied, "quick", 0, tmp_path / "b", **settings)
    assert a.losses == b.losses


def test_source_row_learns(small, tmp_path):
    row = dann.train_row(
        "source_only", *small, "quick", 0, tmp_path, steps=60, batch_size=40, lr=3e-3
    )
    assert row.losses[-1] < 0.8 * row.losses[0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dann.run("mars"), "target 'mars' is unknown"),
        (lambda: dann.settings_for("huge"), "preset 'huge' is unknown"),
        (lambda: dann.settings_for("quick", stesp=1), "setting 'stesp' is unknown"),
        (lambda: dann.settings_for("quick", steps="x"), "steps='x' is no int"),
        (lambda: dann.settings_for("quick", masks="maybe"), "masks='maybe' is no bool"),
        (lambda: dann.settings_for("quick", form="other"), "form=other is out of range"),
        (lambda: dann.settings_for("quick", lr="-1"), "lr=-1.0 is out of range; a number above 0"),
        (lambda: dann.settings_for("quick", lam="nan"), "lam=nan is out of range; a number from 0"),
        (lambda: dann.settings_for("quick", decay="1"), "decay=1.0 is out of range"),
        (lambda: dann.settings_for("quick", steps="0"), "steps=0 is out of range"),
        (lambda: dann.train_row("both", None, None), "row 'both' is unknown"),
        (lambda: dann_net.classify("x", "y", "mars"), "target 'mars' is unknown"),
    ],
)
def test_bad_parameters(call, words):
    with pytest.raises(UserError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


# --- classify ----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, mode in [("b.png", "L"), ("a.png", "RGB"), ("10.png", "RGB")]:
        array = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
        Image.fromarray(array).convert(mode).save(folder / name)
    return folder


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    return dann_net.save(Network(), tmp_path / "w.safetensors", target="usps")


def test_classify_writes_one_sorted_line_an_image(images, weights, tmp_path):
    out = dann_net.classify(images, tmp_path / "out.csv", "usps", weights)
    with open(out, newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["image_name", "label"]
    assert [row[0] for row in rows[1:]] == ["10.png", "a.png", "b.png"]
    assert all(row[1] in "0123456789" for row in rows[1:])
    assert weights.stat().st_size < 2 * 2**20


def test_classify_names_what_is_wrong(images, weights, tmp_path):
    def failing(words, target="usps", folder=images, file=weights):
        with pytest.raises(UserError, match=words):
            dann_net.classify(folder, tmp_path / "out.csv", target, file)
        assert not (tmp_path / "out.csv").exists()

    (tmp_path / "none").mkdir()
    failing("is empty", folder=tmp_path / "none")
    failing("does not exist", folder=tmp_path / "nowhere")
    failing("does not exist", file=tmp_path / "nothing.safetensors")
    failing("is for usps, not svhn", target="svhn")
    Image.new("RGB", (32, 28)).save(images / "c.png")
    failing("32x28 pixels; 28x28 is needed")
    (images / "c.png").write_text("not an image")
    failing("not a readable image")


def test_weights_survive_the_file(weights):
    torch.manual_seed(0)
    net = Network()
    loaded, config = dann_net.load(weights)
    x = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    a, b = dann_net.features(net, x), dann_net.features(loaded, x)
    torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)
    assert config["kind"] == "dann" and config["target"] == "usps"
