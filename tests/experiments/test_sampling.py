"""experiments: digits and faces sampled by tiny networks."""

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import save_image

from hw2lib.datasets import digits, faces
from hw2lib.errors import UserError
from hw2lib.experiments.cfdg import sample_digits
from hw2lib.experiments.ddim import sample_faces, to_picture
from hw2lib.io.paths import NOISE
from hw2lib.models.digit_unet import DigitConfig, DigitUNet
from hw2lib.models.face_unet import TINY, FaceUNet
from hw2lib.samplers import sample_generators

DIFFUSION = {"schedule": "cosine", "n_train_steps": 1000, "prediction": "v"}


def shaken(model):
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g))
    return model.eval()


@pytest.fixture(scope="module")
def digit_model():
    torch.manual_seed(0)
    return shaken(DigitUNet(DigitConfig(widths=(8, 16), c_condition=16)))


@pytest.fixture(scope="module")
def face_model():
    torch.manual_seed(0)
    return FaceUNet(TINY).eval()


# --- digits sampled ------------------------------------------------------------------------------


def test_digits_are_images_of_the_labels_asked_for(digit_model):
    labels = torch.tensor([3, 1, 3])
    images = sample_digits(digit_model, DIFFUSION, labels, range(3), n_steps=2)
    assert images.shape == (3, 3, digits.SIDE, digits.SIDE) and images.dtype == torch.uint8


@pytest.mark.parametrize(
    ("w", "eta", "solver"),
    [(0.0, 0.0, "ddim"), (2.0, 0.0, "ddim"), (2.0, 1.0, "ddim"), (2.0, 0.0, "dpmpp")],
)
def test_a_digit_depends_on_its_seed_number_and_label_alone(digit_model, w, eta, solver):
    """Not on how many are drawn, nor on its neighbours or its place among them."""
    options = {"w": w, "eta": eta, "n_steps": 3, "solver": solver}
    labels, noises = torch.arange(60) % 10, list(range(60))
    many = sample_digits(digit_model, DIFFUSION, labels, noises, **options)
    assert torch.equal(many, sample_digits(digit_model, DIFFUSION, labels, noises, **options))
    for pick in ([0], [57], [4, 33], list(range(59, -1, -7))):
        few = sample_digits(
            digit_model, DIFFUSION, labels[pick], [noises[k] for k in pick], **options
        )
        assert torch.equal(few, many[pick])
    other = sample_digits(digit_model, DIFFUSION, labels[:1], [0], seed=1, **options)
    assert not torch.equal(other[0], many[0])


@pytest.mark.parametrize(("solver", "evaluations"), [("ddim", 4), ("dpmpp", 4), ("ddpm", 12)])
def test_a_solver_takes_the_steps_it_says(digit_model, solver, evaluations):
    config, seen = {**DIFFUSION, "n_train_steps": 12}, []
    sample_digits(
        digit_model, config, torch.tensor([1]), [0], n_steps=4, solver=solver,
        on_step=lambda t, *_: seen.append(t),
    )  # fmt: skip
    assert len(seen) == evaluations and seen[0] == 11 and seen == sorted(seen, reverse=True)


def test_an_unknown_solver_is_one_line(digit_model):
    with pytest.raises(UserError, match="solver 'euler' is unknown; choose one of ddim, dpmpp"):
        sample_digits(digit_model, DIFFUSION, torch.tensor([1]), [0], solver="euler")


def test_noise_on_the_way_is_ddims(digit_model):
    """Asked for alone it gets DDIM; a solver that would ignore it is an error."""
    one = (digit_model, DIFFUSION, torch.tensor([1]), [0])
    noisy = sample_digits(*one, eta=1.0, n_steps=3)
    assert torch.equal(noisy, sample_digits(*one, eta=1.0, n_steps=3, solver="ddim"))
    with pytest.raises(UserError, match=r"eta=1.0 is DDIM's; with solver 'dpmpp' leave it at 0"):
        sample_digits(*one, eta=1.0, n_steps=3, solver="dpmpp")


def test_equal_numbers_share_their_noise(digit_model):
    """Down a column of the grid: one noise, ten labels."""
    seen = []

    def first(t, x, _):
        if t == 999:
            seen.append(x.clone())

    sample_digits(digit_model, DIFFUSION, torch.arange(3), [7, 7, 8], n_steps=2, on_step=first)
    assert torch.equal(seen[0][0], seen[0][1]) and not torch.equal(seen[0][0], seen[0][2])


def test_label_and_guidance_change_the_digit(digit_model):
    def draw(label, w):
        return sample_digits(digit_model, DIFFUSION, torch.tensor([label]), [0], w=w, n_steps=4)

    images = [draw(1, 0.0), draw(2, 0.0), draw(1, 4.0)]
    assert not any(torch.equal(a, b) for i, a in enumerate(images) for b in images[:i])


@pytest.mark.parametrize(("n", "m"), [(0, 0), (2, 1), (1, 2)])
def test_each_label_needs_a_noise_number(digit_model, n, m):
    with pytest.raises(ValueError, match="one for each label"):
        sample_digits(digit_model, DIFFUSION, torch.zeros(n, dtype=torch.long), range(m))


# --- faces sampled -------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_faces_are_the_references_arithmetic(face_model, eta, prediction):
    """The loop written out from its description: betas, t = 981 .. 1, clip, last step to ab[0]."""
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    config = {"schedule": "linear", "n_train_steps": 1000, "prediction": prediction}
    states = []
    end = sample_faces(
        face_model, config, noise, eta=eta, seed=3, on_step=lambda t, x, _: states.append(x.clone())
    )
    ab = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), 0)
    (g,), times = sample_generators(3, [0]), list(range(981, 0, -20))
    assert torch.equal(states[0], noise)
    for t, following, x, after in zip(
        times, [*times[1:], 0], states, [*states[1:], end], strict=True
    ):
        with torch.no_grad():
            output = face_model(x, torch.tensor([t])).double()
        a, n = ab[t], ab[following]
        if prediction == "v":
            output = torch.sqrt(a) * output + torch.sqrt(1 - a) * x
        x_0 = ((x - torch.sqrt(1 - a) * output) / torch.sqrt(a)).clamp(-1, 1)
        sigma = eta * torch.sqrt((1 - n) / (1 - a) * (1 - a / n))
        expected = torch.sqrt(n) * x_0 + torch.sqrt(1 - n - sigma**2) * output
        if eta:
            expected += sigma * torch.randn(3, 16, 16, generator=g)
        torch.testing.assert_close(after, expected.float(), rtol=0, atol=1e-4)


def test_a_face_does_not_depend_on_its_neighbours(face_model):
    config = {**DIFFUSION, "schedule": "linear"}
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for eta in (0.0, 1.0):
        three = sample_faces(face_model, config, noise, n_steps=3, eta=eta)
        first = sample_faces(face_model, config, noise[:1], n_steps=3, eta=eta)
        assert torch.equal(three[:1], first)
    swapped = sample_faces(face_model, config, noise.flip(0), n_steps=3)
    straight = sample_faces(face_model, config, noise, n_steps=3)
    assert torch.equal(swapped.flip(0), straight)


@pytest.mark.parametrize("number", range(10))
def test_the_noise_of_eta_is_none_of_the_shipped_files(number):
    """They are what seeds 0 .. 9 draw first, which the sampler must not draw again."""
    file = faces.load_noise(NOISE / f"{number:02d}.pt")[0].flatten()
    for seed in range(4):
        z = torch.randn(3, 64, 64, generator=sample_generators(seed, [0])[0]).flatten()
        assert abs(torch.cosine_similarity(file, z, dim=0)) < 0.05


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_is_what_torchvision_saves(tmp_path, seed):
    face = 2 * torch.randn(3, 9, 7, generator=torch.Generator().manual_seed(seed))
    save_image(face, tmp_path / "face.png", normalize=True)
    expected = pil_to_tensor(Image.open(tmp_path / "face.png"))
    assert torch.equal(to_picture(face), expected)
    assert to_picture(face).min() == 0 and to_picture(face).max() == 255


def test_a_flat_face_is_a_picture_too():
    assert not to_picture(torch.full((3, 4, 4), 0.7)).any()
