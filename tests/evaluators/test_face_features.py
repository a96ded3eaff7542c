"""The feature network: what it is trained on, what it must see, and its shipped weights."""

import json

import pytest
import torch

from hw2lib.datasets import embedded, faces
from hw2lib.datasets.digits import to_float
from hw2lib.errors import UserError
from hw2lib.evaluators import face_features
from hw2lib.io.paths import WEIGHTS
from hw2lib.io.weights import save_weights
from hw2lib.studies.ddim import blurred
from hw2lib.training import TrainConfig

SHIPPED = WEIGHTS / "face-features.safetensors"
SHORT = TrainConfig(40, 8, lr=2e-3, schedule="cosine", warmup=4, ema=0.5)


@pytest.fixture(scope="module")
def drawn():
    return faces.FaceSet(torch.from_numpy(embedded.faces(60)), "embedded", {"drawn": "0"})


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    return face_features.train(drawn, tmp_path_factory.mktemp("eye"), config=SHORT)


def test_training_learns_what_it_is_asked_for(trained, drawn):
    """A few steps only: nearer to the picture and to the texture than an untrained network."""
    eye = face_features.load(trained)
    raw = face_features.tested(face_features.FaceFeatures(), faces.split(drawn)[1])
    assert eye.header["picture_explained"] > raw["picture_explained"]
    assert eye.header["texture_explained"] > raw["texture_explained"]
    assert (eye.header["steps"], eye.header["held_out"]) == (40, 12)
    assert eye.header["source"] == "embedded"


def test_held_out_faces_are_not_trained_on(drawn, trained, tmp_path):
    """Other held-out faces, same training faces: the same weights."""
    images = drawn.images.clone()
    images[-12:] = 255 - images[-12:]
    other = faces.FaceSet(images, "embedded", {})
    again = face_features.train(other, tmp_path, config=SHORT)
    a, b = (face_features.load(file).state_dict() for file in (trained, again))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_features_do_not_depend_on_the_batch_or_the_type(trained, drawn):
    eye = face_features.load(trained)
    whole = eye.embed(drawn.images[:5])
    assert whole.shape == (5, face_features.FEATURES)
    parts = torch.cat([eye.embed(part) for part in drawn.images[:5].split(2)])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(eye.embed(to_float(drawn.images[:5])), whole)
    large = drawn.images[:5].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(eye.embed(large), whole)
    for wrong in (drawn.images[:0], drawn.images[:2, :, :32]):
        with pytest.raises(ValueError, match="is right"):
            eye.embed(wrong)


def test_texture_falls_with_blur_and_is_none_of_a_flat_image():
    x = to_float(torch.from_numpy(embedded.faces(4)))
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    soft = to_float(blurred(((noisy.clamp(-1, 1) + 1) * 127.5).byte()))
    flat = face_features.texture(torch.zeros(1, 3, 64, 64))
    assert face_features.texture(x).shape == (4, 2, 8, 8)
    assert (face_features.texture(noisy) - face_features.texture(soft)).mean(0).min() > 0.1
    torch.testing.assert_close(flat, torch.full_like(flat, 0.01).log())


def test_a_view_is_another_picture_of_the_same_face():
    images = torch.from_numpy(embedded.faces(3))
    g = torch.Generator().manual_seed(0)
    a, b = face_features.view(images, g), face_features.view(images, g)
    assert a.shape == (3, 3, 64, 64) and not torch.equal(a, b)
    again = face_features.view(images, torch.Generator().manual_seed(0))
    assert torch.equal(a, again)
    assert a.min() > -1.5 and a.max() < 1.5


def test_the_third_task_is_best_where_views_find_their_own():
    a = torch.eye(4)
    right, wrong = face_features.same_loss(a, a), face_features.same_loss(a, a.roll(1, 0))
    assert right < 0.05 < 4 < wrong


@pytest.mark.parametrize("kind", ["face_unet", "yardstick"])
def test_other_weights_are_one_line(tmp_path, kind):
    file = save_weights(tmp_path / "w.safetensors", {}, {"kind": kind})
    with pytest.raises(UserError, match="face_features"):
        face_features.load(file)


def test_an_unknown_preset_is_one_line(drawn, tmp_path):
    with pytest.raises(UserError, match="choose one of quick, full"):
        face_features.train(drawn, tmp_path, preset="fast")


def test_the_shipped_weights_see_blur():
    """From the features of a face blurred by one pixel less texture is read, for every face."""
    eye = face_features.load()
    assert eye.header["texture_explained"] > 0.3 and eye.header["found_again"] > 0.5
    assert eye.header["source"] == "public" and SHIPPED.stat().st_size < 2 * 2**20
    sharp = torch.from_numpy(embedded.faces(40))
    with torch.inference_mode():
        strength = [eye.texture(eye.embed(x)).mean(1) for x in (sharp, blurred(sharp))]
    assert (strength[0] > strength[1]).all()


def test_the_shipped_weights_never_saw_the_held_out_faces():
    """Both networks of the face chapter kept the same images apart."""
    face_unet = faces_header()
    assert face_features.load().header["held_out"] == faces.HELD_OUT
    assert face_unet["held_out"] == faces.HELD_OUT


def faces_header():
    blob = (WEIGHTS / "faces.safetensors").read_bytes()
    header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
    return json.loads(header["__metadata__"]["config"])
