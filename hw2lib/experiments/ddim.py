"""Faces by DDIM: presets, training, the shipped model and the course's UNet.pt, sampling.

model, header = load_face_unet()                                  # the shipped weights
faces = sample_faces(model, header, torch.randn(4, 3, 64, 64))    # 50 steps, eta 0
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hw2lib.datasets import digits, faces
from hw2lib.device import device, training_layout
from hw2lib.diffusion import Predict, make_schedule
from hw2lib.errors import UserError
from hw2lib.experiments.recipe import N_TRAIN_STEPS, FaceHeader, Preset, Run, epochs, preset_name
from hw2lib.io.parameters import Count, Seed, Share, settings
from hw2lib.io.paths import WEIGHTS, place
from hw2lib.io.weights import load_state, load_weights, plain_state
from hw2lib.models.face_unet import COARSE, SMALL, TINY, FaceConfig, FaceUNet
from hw2lib.samplers import Denoiser, OnStep, in_chunks, sample_ddim, sample_generators
from hw2lib.training import Fitted, TrainConfig

# Weight one on v, and more of the less noisy times. min-SNR gives the sampler's first steps a
# weight near 0 and its last ones 5 / SNR: faces came out speckled, the first estimates were noise.
EDM_TIMES = {"min_snr": 0.0, "log_snr_mean": 1.0, "log_snr_std": 2.4}
FACE_PRESETS = {
    "quick": Preset(TrainConfig(steps=60, batch_size=32), TINY, "linear", **EDM_TIMES),
    "full": Preset(  # for a GPU; the shipped model's last run
        TrainConfig(steps=15_000, batch_size=256, schedule="trapezoid", ema=0.9995),
        SMALL, "linear", **EDM_TIMES,
    ),
    "cores": Preset(  # for two cores without a GPU
        TrainConfig(steps=12_000, batch_size=16, schedule="cosine", ema=0.9995),
        COARSE, "linear", **EDM_TIMES,
    ),
}  # fmt: skip


def train_faces(
    preset: Preset, out: Path, data: str = "auto", resume: bool = False, start: Path | None = None
) -> tuple[Fitted, dict]:
    """Train the small face UNet on all but the held-out images, half of them mirrored.

    Writes the EMA's weights. `start` names weights to begin with in place of random ones.
    """
    face_set = faces.load(data)
    print(face_set.describe(), flush=True)
    torch.manual_seed(preset.train.seed)
    model = training_layout(FaceUNet(preset.model))
    images, held_out = faces.split(face_set)
    schedule, where = make_schedule(preset.schedule, N_TRAIN_STEPS), device()
    pick = epochs(len(images), preset.train.batch_size)
    images = images.to(where)  # all of them: a GPU would wait for every batch
    if where.type == "cuda":  # fuses norms and activations; took 70 to 100 s beside an H100
        torch._dynamo.config.suppress_errors = True  # without a C compiler the network runs as is
        model.compile()

    def loss(net: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        i = pick(step, generator).to(where, non_blocking=True)
        x_0 = digits.to_float(images[i])
        mirrored = torch.rand(len(x_0), 1, 1, 1, generator=generator) < 0.5
        x_0 = torch.where(mirrored.to(where, non_blocking=True), x_0.flip(3), x_0)
        return preset.loss(net, x_0, schedule, generator)

    more = {"size": faces.SIDE, "held_out": len(held_out)}
    name = preset_name(FACE_PRESETS, preset)
    return Run("face_unet", preset, name, face_set, out, resume, more).train(model, loss, start)


def load_face_unet(weights: str | Path | None = None) -> tuple[FaceUNet, dict]:
    """(model, header) from a `.safetensors` file (the shipped one by default) or `UNet.pt`.

    The model is on `device()`, in evaluation mode and the memory format that samples fastest.
    header["prediction"] tells what it predicts: "eps" for the course's, "v" for ours.
    """
    path = place(weights or WEIGHTS / "faces.safetensors")
    if path.suffix == ".safetensors":
        state, header = load_weights(path, "face_unet", FaceHeader)
        config = FaceConfig(**header["architecture"])
    else:
        state, config = _course_state(path), FaceConfig()
        header = {"kind": "face_unet", "prediction": "eps", "schedule": "linear", "size": 256,
                  "n_train_steps": N_TRAIN_STEPS}  # fmt: skip
    with torch.device("meta"):  # no memory is taken; UNet.pt's would be 455 MB
        model = FaceUNet(config)
    return load_state(model, state, path).to(device(), memory_format=torch.channels_last), header


def _course_state(path: Path) -> dict[str, Tensor]:
    """The state dict of UNet.pt in fp32, be it in another precision, from several GPUs (keys
    "module.*") or wrapped as {"state_dict": ..}."""
    if not path.is_file():
        raise UserError(f"weights file {path} does not exist; name UNet.pt or a .safetensors file")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        raise UserError(
            f"weights file {path} is truncated or holds more than tensors; "
            "it must be a state dict saved by torch.save"
        ) from None
    if not isinstance(state, dict):
        raise UserError(f"weights file {path} holds a {type(state).__name__}, not a state dict")
    state = state.get("state_dict", state)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        keys = ", ".join(map(str, list(state)[:5]))
        raise UserError(f"weights file {path} holds {keys}; the state dict alone is right")
    return plain_state({str(k).removeprefix("module."): v for k, v in state.items()}, path)


@settings
class Sampling:
    """How faces are drawn; the defaults are those of the course's reference faces."""

    steps: Count = 50
    eta: Share = 0.0
    seed: Seed = 0  # of the noise that eta > 0 adds


DEFAULT = Sampling()


def sample_faces(
    predict: Predict,
    header: dict,
    noise: Tensor,
    how: Sampling = DEFAULT,
    *,
    numbers: Sequence[int] | None = None,
    batch: int = 1,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM from noise (N, 3, H, W) to faces (N, 3, H, W), float, with the reference's arithmetic.

    `predict` is the model of `load_face_unet`, or another function of x_t and t on `device()`.
    t = 981, 961, .., 1; x_0 clipped; the last step lands at alpha_bar[0]. `batch` faces at a time,
    which bounds the memory; the noise of eta > 0 depends on the seed and each face's number (by
    default 0 to N-1; of a noise file, by its name) alone, so no face depends on its neighbours.
    """
    where = device()
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    model = Denoiser(predict, schedule, header["prediction"], on_step=on_step)
    numbers = range(len(noise)) if numbers is None else numbers

    def chunk(indices: Sequence[int]) -> Tensor:
        kept = [min(k, len(noise) - 1) for k in indices]
        generators = sample_generators(how.seed, [numbers[k] for k in kept])
        x = noise[kept].to(where)
        return sample_ddim(
            model, x, how.steps, eta=how.eta, spacing="leading", generators=generators
        ).cpu()

    return in_chunks(chunk, len(noise), batch)


def to_picture(face: Tensor) -> Tensor:
    """Float (3, H, W) -> uint8, scaled by its own minimum and maximum as torchvision's
    `save_image(normalize=True)` does."""
    low, high = face.min(), face.max()
    scaled = (face - low) / (high - low).clamp(min=1e-5)
    return scaled.mul(255).add(0.5).clamp(0, 255).to(torch.uint8)
