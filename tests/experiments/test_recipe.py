"""experiments: settings, training, with tiny networks on the embedded data."""

import math
import signal
from dataclasses import asdict, replace
from functools import cache

import pytest
import torch
from helpers.lines import one_line
from helpers.networks import same

from hw2lib import samplers
from hw2lib.datasets import digits, faces
from hw2lib.errors import UserError
from hw2lib.experiments import cfdg, recipe
from hw2lib.experiments.cfdg import DIGIT_PRESETS, load_digit_unet, train_digits
from hw2lib.experiments.ddim import FACE_PRESETS, load_face_unet, train_faces
from hw2lib.experiments.recipe import Preset, epochs, preset_name, with_settings
from hw2lib.io.parameters import choose
from hw2lib.models.digit_unet import NULL_LABEL, DigitConfig, DigitUNet, ReportConfig, ReportUNet
from hw2lib.models.face_unet import TINY
from hw2lib.training import TrainConfig

TRAIN = TrainConfig(steps=3, batch_size=4, warmup=1, ema=0.5)
DIGITS = Preset(TRAIN, DigitConfig(widths=(8, 16), c_condition=16), "cosine")
FACES = Preset(TRAIN, TINY, "linear")
DIFFUSION = {"schedule": "cosine", "n_train_steps": 1000, "prediction": "v"}


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The embedded faces take a second to draw: once is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "load", cache(faces.load))
        yield


# --- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("steps", "500", 500), ("lr", "1e-4", 1e-4), ("schedule", "cosine", "cosine"),
        ("batch_size", "8", 8), ("seed", "3", 3), ("p_drop", "0", 0.0), ("min_snr", "2", 2.0),
        ("log_snr_std", "2.4", 2.4), ("zero_one", "true", True),
        ("prediction", "eps", "eps"), ("save_every_s", "10", 10.0),
    ],
)  # fmt: skip
def test_set_changes_one_setting(key, text, value):
    preset = DIGIT_PRESETS["quick"]
    changed = with_settings(preset, {key: text})
    both = [{**asdict(p.train), **{k: v for k, v in vars(p).items() if k != "train"}}
            for p in (preset, changed)]  # fmt: skip
    assert both[1] == {**both[0], key: value} or key == "schedule"
    assert type(both[1][key]) is type(value) or key == "schedule"
    if key == "schedule":  # of the learning rate; the diffusion's belongs to the preset
        assert (changed.train.schedule, changed.schedule) == ("cosine", preset.schedule)


def test_several_settings_at_once():
    changed = with_settings(FACE_PRESETS["full"], {"steps": "7", "p_drop": ".5", "lr": "1"})
    assert (changed.train.steps, changed.p_drop, changed.train.lr) == (7, 0.5, 1.0)
    assert changed.model == FACE_PRESETS["full"].model


@pytest.mark.parametrize(
    ("key", "text", "line"),
    [
        ("stepz", "3", "setting 'stepz' is unknown; choose one of steps"),
        ("model", "3", "setting 'model' is unknown"),
        ("steps", "many", "steps=many is not allowed; a whole number"),
        ("steps", "1.5", "steps=1.5 is not allowed; a whole number"),
        ("lr", "", "lr= is not allowed; a number above 0"),
        ("steps", "-1", "steps=-1 is not allowed"),
        ("batch_size", "0", "batch_size=0 is not allowed; a whole number from 1"),
        ("lr", "nan", "lr=nan is not allowed"),
        ("ema", "1", "ema=1 is not allowed"),
        ("schedule", "linear", "schedule=linear is not allowed; constant or cosine or"),
        ("prediction", "x0", "prediction=x0 is not allowed; eps or v or flow"),
        ("p_drop", "1.1", "p_drop=1.1 is not allowed; a number from 0 to 1"),
        ("min_snr", "-1", "min_snr=-1 is not allowed"),
        ("log_snr_std", "-1", "log_snr_std=-1 is not allowed"),
    ],
)
def test_a_wrong_setting_is_one_line(key, text, line):
    with pytest.raises(UserError) as caught:
        with_settings(DIGIT_PRESETS["quick"], {key: text})
    assert one_line(caught).startswith(line)


@pytest.mark.parametrize("known", [DIGIT_PRESETS, FACE_PRESETS])
def test_presets_are_quick_and_full_and_what_else_the_report_trained(known):
    more = ["study", "report"] if known is DIGIT_PRESETS else ["cores"]
    assert [*known] == ["quick", "full", *more]
    assert choose(known, "full") is known["full"]
    with pytest.raises(UserError, match="'fast' is unknown; choose one of quick, full"):
        choose(known, "fast")


@pytest.mark.parametrize("name", FACE_PRESETS)
def test_another_seed_keeps_the_presets_name(name):
    other = with_settings(FACE_PRESETS[name], {"seed": "2"})
    assert preset_name(FACE_PRESETS, other) == name
    changed = with_settings(other, {"lr": "0.5"})
    assert preset_name(FACE_PRESETS, changed) == "custom"


# --- the order of the images ---------------------------------------------------------------------


@pytest.mark.parametrize(("n", "batch"), [(10, 5), (10, 3), (7, 7), (4, 10), (1, 3), (12, 1)])
def test_every_image_comes_once_an_epoch(n, batch):
    pick, g = epochs(n, batch), torch.Generator().manual_seed(1)
    steps = -(-3 * n // batch)
    order = torch.cat([pick(k, g) for k in range(steps)])[: 3 * n].reshape(3, n)
    assert torch.equal(order.sort(1).values, torch.arange(n).expand(3, n))
    assert n < 5 or len({tuple(row) for row in order.tolist()}) == 3


@pytest.mark.parametrize("start", [0, 1, 5, 8])
def test_the_order_goes_on_where_a_run_stopped(start):
    """A resumed run has a new function and a restored generator, in whatever state."""
    g = torch.Generator().manual_seed(4)
    whole = epochs(10, 3)
    expected = [whole(k, g) for k in range(12)][start:]
    torch.rand(5, generator=g)
    restored = torch.Generator()
    restored.set_state(g.get_state())
    again = epochs(10, 3)
    found = [again(k, restored) for k in range(start, 12)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_seeds_order_the_images_differently():
    orders = [epochs(50, 50)(0, torch.Generator().manual_seed(s)) for s in range(3)]
    assert not any(torch.equal(a, b) for i, a in enumerate(orders) for b in orders[:i])


# --- training ------------------------------------------------------------------------------------


def test_training_digits_on_embedded_data(tmp_path, capsys):
    """The first line says which data; the file holds the average, and all to build it again."""
    fitted, header = train_digits(DIGITS, data="embedded", out=tmp_path)
    assert "embedded stand-in, not the real data set" in capsys.readouterr().out.splitlines()[0]
    assert len(fitted.losses) == 3 and all(math.isfinite(v) for v in fitted.losses)
    model, found = load_digit_unet(tmp_path / "weights.safetensors")
    architecture = {"widths": [8, 16], "blocks": [2, 2], "c_condition": 16, "unfold": 2}
    architecture |= {"scaled": True, "guidance_input": False}
    assert found == header | {"architecture": architecture}
    assert (found["kind"], found["preset"], found["data"]["source"]) == (
        "digit_unet", "custom", "embedded",
    )  # fmt: skip
    assert found["images_seen"] == 12 and found["train"] == asdict(TRAIN)
    assert (found["schedule"], found["prediction"], found["p_drop"]) == ("cosine", "v", 0.1)
    for a, b in zip(model.state_dict().values(), fitted.ema.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert not same(fitted.model, fitted.ema)


def test_the_reports_recipe_trains_loads_and_samples(tmp_path, monkeypatch):
    """Its network, eps, images in [0, 1], no average of the weights."""
    theirs = Preset(replace(TRAIN, ema=0.0), ReportConfig(8), "linear", "eps", 0.0, zero_one=True)
    original, seen = recipe.diffusion_loss, []
    monkeypatch.setattr(
        recipe, "diffusion_loss", lambda *args: seen.append(args[1]) or original(*args)
    )
    fitted, header = train_digits(theirs, data="embedded", out=tmp_path)
    assert same(fitted.model, fitted.ema)
    assert torch.stack(seen).min() >= 0 and 0.9 < torch.stack(seen).max() <= 1
    model, found = load_digit_unet(tmp_path / "weights.safetensors")
    assert isinstance(model, ReportUNet) and model.config == ReportConfig(8)
    assert found == header and found["zero_one"]
    images = cfdg.sample_digits(model, found, torch.tensor([1]), [0], cfdg.Sampling(steps=2))
    assert images.shape == (1, 3, 28, 28) and images.dtype == torch.uint8


@pytest.mark.parametrize(("zero_one", "grey"), [(True, 0), (False, 128)])
def test_samples_are_put_back_to_the_range_of_images(monkeypatch, zero_one, grey):
    """A sampler that ends at 0 everywhere: black in [0, 1], the middle grey in [-1, 1]."""
    clips = []

    def zeros(model, x, *_, **__):
        clips.append(model.clip)
        return 0 * x

    monkeypatch.setattr(samplers, "sample_ddim", zeros)
    config = {**DIFFUSION, "zero_one": zero_one}
    images = cfdg.sample_digits(
        DigitUNet(DIGITS.model),
        config,
        torch.tensor([1]),
        [0],
        cfdg.Sampling(steps=2, solver="ddim"),
    )
    assert (images == grey).all() and clips == [not zero_one]


def test_training_faces_on_embedded_data(tmp_path):
    fitted, header = train_faces(FACES, data="embedded", out=tmp_path)
    model, found = load_face_unet(tmp_path / "weights.safetensors")
    assert found["size"] == 64 and header["data"]["source"] == "embedded"
    assert model.config == TINY and len(fitted.losses) == 3


@pytest.mark.parametrize(("train", "preset"), [(train_digits, DIGITS), (train_faces, FACES)])
def test_an_interrupted_training_resumes_to_the_same_bytes(tmp_path, monkeypatch, train, preset):
    train(preset, data="embedded", out=tmp_path / "whole")
    original, calls = recipe.diffusion_loss, []

    def and_stop(*args):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(*args)

    monkeypatch.setattr(recipe, "diffusion_loss", and_stop)
    with pytest.raises(UserError, match="interrupted after step 2 of 3"):
        train(preset, data="embedded", out=tmp_path / "cut")
    assert not (tmp_path / "cut" / "weights.safetensors").exists()
    fitted, _ = train(preset, data="embedded", out=tmp_path / "cut", resume=True)
    whole, _ = train(preset, data="embedded", out=tmp_path / "whole", resume=True)
    assert len(calls) == 3 and fitted.losses == whole.losses
    assert same(fitted.ema, whole.ema) and same(fitted.model, whole.model)


@pytest.mark.parametrize(("train", "preset"), [(train_digits, DIGITS), (train_faces, FACES)])
def test_only_the_same_run_is_resumed(tmp_path, monkeypatch, train, preset):
    """Another loss, architecture or data are refused though the training's settings agree."""
    train(preset, data="embedded", out=tmp_path)
    wider = replace(preset.model, widths=tuple(2 * w for w in preset.model.widths))
    for other, words in ((replace(preset, min_snr=0.0), "min_snr=5.0, not 0.0"),
                         (replace(preset, prediction="eps"), "prediction=v, not eps"),
                         (replace(preset, model=wider), "other architecture")):  # fmt: skip
        with pytest.raises(UserError, match=f"made with {words}") as caught:
            train(other, data="embedded", out=tmp_path, resume=True)
        one_line(caught)
    module = digits if train is train_digits else faces
    load = module.load
    monkeypatch.setattr(module, "load", lambda *a: replace(load(*a), sha256={"x": "0" * 64}))
    with pytest.raises(UserError, match="made with other data"):
        train(preset, data="embedded", out=tmp_path, resume=True)


def test_a_notebooks_run_folder_follows_from_preset_and_data():
    """So that a changed preset or other data start a run in place of stopping the notebook."""
    domain = digits.load("mnistm", "embedded")
    first = recipe.run_folder("cfdg", DIGIT_PRESETS["quick"], domain)
    others = [
        recipe.run_folder("cfdg", replace(DIGIT_PRESETS["quick"], p_drop=0.2), domain),
        recipe.run_folder("cfdg", DIGIT_PRESETS["quick"], replace(domain, sha256={"x": "0"})),
        recipe.run_folder("cfdg", DIGIT_PRESETS["quick"], faces.load("embedded")),
    ]
    assert len({first, *others}) == 4
    assert first.parent == recipe.runs_dir() and first.name.startswith("cfdg-")


def test_labels_are_dropped_in_training(tmp_path, monkeypatch):
    """p_drop = 1 trains an unconditional model; the images keep their own labels otherwise."""
    seen, forward = [], DigitUNet.forward

    def watched(self, x, t, label):
        seen.append(label)
        return forward(self, x, t, label)

    monkeypatch.setattr(DigitUNet, "forward", watched)
    for p in (1.0, 0.0):
        train_digits(replace(DIGITS, p_drop=p), data="embedded", out=tmp_path / str(p))
    seen = torch.stack(seen)
    assert (seen[:3] == NULL_LABEL).all() and (seen[3:] < NULL_LABEL).all()
