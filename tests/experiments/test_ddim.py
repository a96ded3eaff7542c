"""Faces: sampled by a tiny network, and `hw2 sample-faces` against the recipe written out slowly.

The recipe is that of the reference faces: float64 schedule, t = 981, 961, .., 1, each step's
network output used as it is, x_0 clipped, the last step to alpha_bar[0], the picture scaled by its
own minimum and maximum. Nothing of the library but the network is used to work it out.
"""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor
from torchvision.utils import save_image

from hw2lib import diffusion, samplers
from hw2lib.commands import cli
from hw2lib.datasets import course, faces
from hw2lib.errors import UserError
from hw2lib.experiments import ddim
from hw2lib.experiments.ddim import Sampling, sample_faces, to_picture
from hw2lib.io.paths import NOISE
from hw2lib.models.face_unet import TINY, FaceConfig, FaceUNet
from hw2lib.samplers import sample_generators

# the course's six resolutions, with few channels
COURSE = FaceConfig(widths=(8, 8, 16, 16, 16, 16), blocks=1, attention=(4,), groups=4)
SIZES = [(32, 32), (64, 32)]


def slow_face(network, noise, eta=0.0, fresh=None):
    """noise (3, H, W) float64 -> picture (H, W, 3) uint8; fresh(): the noise that eta > 0 adds."""
    beta = np.array([1e-4 + (2e-2 - 1e-4) * k / 999 for k in range(1000)])
    ab = np.array([np.prod(1 - beta[: k + 1]) for k in range(1000)])
    x = noise
    for t in range(981, 0, -20):
        n = t - 20 if t > 1 else 0
        eps = network(x, t)
        x_0 = np.clip((x - np.sqrt(1 - ab[t]) * eps) / np.sqrt(ab[t]), -1, 1)
        sigma = eta * np.sqrt((1 - ab[n]) / (1 - ab[t]) * (1 - ab[t] / ab[n]))
        x = np.sqrt(ab[n]) * x_0 + np.sqrt(1 - ab[n] - sigma**2) * eps
        if eta:
            x = x + sigma * fresh()
    scaled = (x - x.min()) / (x.max() - x.min())
    return np.floor(np.clip(scaled * 255 + 0.5, 0, 255)).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture
def face(folder, monkeypatch):
    """HW2_DATA with a course folder: random weights as a plain state dict, and its network.

    At full strength a network of random weights is chaotic: a difference of 1e-6, which the order
    of a sum makes, doubles with every step, whoever computes. At a tenth it is not.
    """
    network = FaceUNet(COURSE).eval()
    with torch.no_grad():
        network.out[2].weight.mul_(0.1)
    monkeypatch.setattr(ddim, "FaceUNet", lambda _: FaceUNet(COURSE))
    path = folder / "hw2_data" / "face"
    for part in ("noise", "GT"):
        (path / part).mkdir(parents=True)
    torch.save(network.state_dict(), path / "UNet.pt")
    for k, size in enumerate(SIZES):
        g = torch.Generator().manual_seed(k)
        torch.save(torch.randn(1, 3, *size, generator=g), path / "noise" / f"{k:02d}.pt")
    return path, network


def as_numpy(network):
    def predict(x, t):
        with torch.no_grad():
            output = network(torch.from_numpy(x)[None].float(), torch.tensor([t]))
        return output[0].double().numpy()

    return predict


@pytest.mark.parametrize("eta", [0.0, 0.6])
def test_faces_are_those_of_the_recipe(face, tmp_path, capsys, eta):
    """Every image within 0.01 (mean square, 0 to 255), found and compared as the course has it."""
    path, network = face
    for k in range(len(SIZES)):
        noise = torch.load(path / "noise" / f"{k:02d}.pt", weights_only=True)[0].double().numpy()
        (g,) = samplers.sample_generators(4, [k])
        picture = slow_face(
            as_numpy(network), noise, eta,
            lambda g=g, shape=noise.shape: torch.randn(*shape, generator=g).double().numpy(),
        )  # fmt: skip
        Image.fromarray(picture).save(path / "GT" / f"{k:02d}.png")
    out = str(tmp_path / "out")
    assert cli.main(["sample-faces", "course", out, "--eta", str(eta), "--seed", "4"]) == 0
    assert "UNet.pt" in capsys.readouterr().out
    assert cli.main(["compare-faces", out, "course", "--limit", "0.01"]) == 0
    errors = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(errors) == len(SIZES) + 1 and max(errors) <= 0.01


def test_the_limit_tells_another_sampler(face):
    """Another choice of the 50 time steps, and where the last one lands, is far outside it."""
    path, network = face
    noise = torch.load(path / "noise" / "00.pt", weights_only=True)
    right = slow_face(as_numpy(network), noise[0].double().numpy())
    linear = diffusion.linear_schedule()
    other = samplers.sample_ddim(samplers.Denoiser(network, linear, "eps"), noise, 50)
    picture = ddim.to_picture(other[0]).permute(1, 2, 0).numpy()
    assert ((picture.astype(float) - right) ** 2).mean() > 1


def test_unet_is_found_beside_the_noise_folder_alone(face, tmp_path):
    path, _ = face
    assert course.unet_beside(path / "noise") == path / "UNet.pt"
    assert course.unet_beside(path / "GT") is None
    (path / "UNet.pt").unlink()
    assert course.unet_beside(path / "noise") is None


@pytest.mark.parametrize(
    "argv", [["sample-faces", "course", "x"], ["compare-faces", "x", "course"]]
)
def test_without_the_courses_folder_it_is_one_line(folder, tmp_path, capsys, argv):
    """The folder x does not exist either: it must not come to be."""
    assert cli.main([str(tmp_path / a) if a == "x" else a for a in argv]) == 2
    assert "(the course's" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_diffusers_own_defaults_are_another_sampler():
    """The differences that sample_ddim's docstring names."""
    scheduler = DDIMScheduler(1000, beta_start=1e-4, beta_end=2e-2)
    scheduler.set_timesteps(50)
    ours = samplers.time_steps(1000, 50, "leading")
    assert scheduler.timesteps.tolist() == [t - 1 for t in ours]
    assert scheduler.final_alpha_cumprod == 1 and diffusion.linear_schedule().alpha_bar[0] < 1
    assert scheduler.alphas_cumprod.dtype == torch.float32
    shifted = DDIMScheduler(1000, steps_offset=1)
    shifted.set_timesteps(1000)
    with pytest.raises(IndexError):
        shifted.step(torch.zeros(1), shifted.timesteps[0], torch.zeros(1))
    assert samplers.time_steps(1000, 1000, "leading")[0] == 999


def test_a_height_that_does_not_fit_is_one_line(face):
    _, network = face
    header = {"schedule": "linear", "n_train_steps": 1000, "prediction": "eps"}
    with pytest.raises(UserError, match="multiples of 32"):
        ddim.sample_faces(network, header, torch.zeros(1, 3, 48, 64))


DIFFUSION = {"schedule": "cosine", "n_train_steps": 1000, "prediction": "v"}


@pytest.fixture(scope="module")
def face_model():
    torch.manual_seed(0)
    return FaceUNet(TINY).eval()


# --- faces sampled -------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_faces_are_the_references_arithmetic(face_model, eta, prediction):
    """The loop written out from its description: betas, t = 981 .. 1, clip, last step to ab[0]."""
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    config = {"schedule": "linear", "n_train_steps": 1000, "prediction": prediction}
    states = []
    end = sample_faces(
        face_model,
        config,
        noise,
        Sampling(eta=eta, seed=3),
        on_step=lambda t, x, _: states.append(x.clone()),
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
        three = sample_faces(face_model, config, noise, Sampling(3, eta))
        first = sample_faces(face_model, config, noise[:1], Sampling(3, eta))
        assert torch.equal(three[:1], first)
    swapped = sample_faces(face_model, config, noise.flip(0), Sampling(3))
    straight = sample_faces(face_model, config, noise, Sampling(3))
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
