"""The digit and the face experiment: training, loading of weights, sampling.

DANN's are in `dann`, the judge's in `judge`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from hw2lib.datasets import augment, digits, faces
from hw2lib.device import device, device_name, mixed_precision, training_layout
from hw2lib.diffusion import Predict, drop_labels, guided, make_schedule
from hw2lib.errors import UserError
from hw2lib.io import weights
from hw2lib.io.paths import WEIGHTS, runs_dir
from hw2lib.io.weights import load_state, load_weights, save_weights
from hw2lib.models.digit_unet import (
    NULL_LABEL,
    DigitConfig,
    DigitUNet,
    ReportConfig,
    ReportUNet,
    make_digit_unet,
)
from hw2lib.models.face_unet import FaceConfig, FaceUNet
from hw2lib.presets import (
    DIGIT_PRESETS,
    FACE_PRESETS,
    N_TRAIN_STEPS,
    Preset,
    choose_preset,
    preset_name,
)
from hw2lib.samplers import (
    OnStep,
    in_chunks,
    individual_noise,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp,
    sample_generators,
)
from hw2lib.training import Fitted, Loss, fit

SOLVERS = ("ddim", "dpmpp", "ddpm")
GUIDANCE, SOLVER, STEPS = 1.25, "dpmpp", 10  # of the report's digits; the chapter tells why
DigitNet = DigitUNet | ReportUNet


def epochs(n: int, batch_size: int) -> Callable[[int, torch.Generator], Tensor]:
    """step -> indices (batch_size,), every image once an epoch, in an order of each epoch's own.

    The order follows from the epoch's number and the generator's initial seed (part of its state),
    so that it need not be stored for a resumed run.
    """
    order: dict[int, Tensor] = {}

    def indices(step: int, generator: torch.Generator) -> Tensor:
        seed = generator.initial_seed()
        positions = torch.arange(step * batch_size, (step + 1) * batch_size)
        picked = []
        for epoch in torch.unique(positions // n).tolist():
            if epoch not in order:
                order.clear()
                g = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
                order[epoch] = torch.randperm(n, generator=g)
            picked.append(order[epoch][positions[positions // n == epoch] % n])
        return torch.cat(picked)

    return indices


def run_folder(label: str, preset: str | Preset, data: digits.DigitDomain | faces.FaceSet) -> Path:
    """`runs_dir()/LABEL-KEY`, KEY following from the preset's settings and the data: where either
    changes, a notebook's run starts in another folder and is not refused as a resumed one."""
    kind = FACE_PRESETS if isinstance(data, faces.FaceSet) else DIGIT_PRESETS
    p = choose_preset(kind, preset) if isinstance(preset, str) else preset
    identity = repr((p, data.source, sorted(data.sha256.items())))
    return runs_dir() / f"{label}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


# --- digits --------------------------------------------------------------------------------------


def train_digits(
    preset: str | Preset = "quick",
    *,
    source: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
) -> tuple[Fitted, dict]:
    """Train the conditional digit UNet on MNIST-M; writes `out/weights.safetensors` (the EMA).

    Returns (fitted, the weights' header).
    """
    p = choose_preset(DIGIT_PRESETS, preset) if isinstance(preset, str) else preset
    name = preset_name(DIGIT_PRESETS, p)
    domain = digits.load("mnistm", source)
    print(domain.describe(), flush=True)
    torch.manual_seed(p.train.seed)
    model = make_digit_unet(p.model).to(memory_format=torch.channels_last)
    schedule, where = make_schedule(p.schedule, N_TRAIN_STEPS), device()
    pick = epochs(len(domain.train), p.train.batch_size)
    if p.exchange and domain.train.masks is None:
        raise UserError(
            f"exchange=true needs the digits' masks, which {domain.source} data do not have; "
            "exchange=false is right"
        )

    def loss(net: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        i = pick(step, generator)
        x_0 = domain.train.images[i]
        if p.exchange:
            x_0 = augment.exchange_backgrounds(x_0, domain.train.masks[i], generator)
        if p.shift:
            x_0 = augment.random_shift(x_0, generator, p.shift)
        x_0 = digits.to_float(x_0).to(where)
        x_0 = (x_0 + 1) / 2 if p.zero_one else x_0
        labels = drop_labels(domain.train.labels[i], p.p_drop, NULL_LABEL, generator).to(where)
        return p.loss(lambda x, t: net(x, t, labels), x_0, schedule, generator)

    header = {"kind": "digit_unet", "p_drop": p.p_drop, "shift": p.shift,
              "exchange": p.exchange, "zero_one": p.zero_one}  # fmt: skip
    out = Path(out or runs_dir() / f"digits-{name}")
    return _train(model, loss, p, name, domain, header, out, resume, "digits")


def _train(
    model: DigitNet | FaceUNet,
    loss: Loss,
    p: Preset,
    name: str,
    data: digits.DigitDomain | faces.FaceSet,
    header: dict,
    out: Path,
    resume: bool,
    label: str,
    origin: dict = weights.COLD,
) -> tuple[Fitted, dict]:
    """Fit, then write `out/weights.safetensors` with a header that says how they were made.

    `images_seen` and `seconds` are those of all runs since random weights, see `warm_start`.
    """
    identity = {
        **header,
        "architecture": asdict(model.config),
        "schedule": p.schedule,
        "n_train_steps": N_TRAIN_STEPS,
        "prediction": p.prediction,
        "min_snr": p.min_snr,
        "log_snr": [p.log_snr_mean, p.log_snr_std],
        "data": {"source": data.source, "sha256": data.sha256},
    }
    fitted = fit(model, loss, p.train, out, resume=resume, label=label, identity=identity)
    header = {
        **identity,
        "preset": name,
        "train": asdict(p.train),
        "images_seen": origin["images_seen"] + len(fitted.losses) * p.train.batch_size,
        "seconds": round(origin["seconds"] + fitted.seconds, 1),
        "warm_start": origin.get("file"),
        "device": device_name(),
    }
    save_weights(out / "weights.safetensors", fitted.ema.state_dict(), header)
    return fitted, header


def _model(
    net: Callable[[DigitConfig | ReportConfig | FaceConfig], DigitNet | FaceUNet],
    make: type[DigitConfig | ReportConfig | FaceConfig],
    header: dict,
    path: Path,
) -> DigitNet | FaceUNet:
    """An empty network of the header's architecture; UserError if none can have it."""
    try:
        fields = header["architecture"].items()
        config = make(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields})
    except (KeyError, TypeError, AttributeError):
        config = None
    if config is None or not {"schedule", "n_train_steps", "prediction"} <= header.keys():
        raise UserError(
            f"weights file {path} has an incomplete header; use a file that `hw2 train` wrote"
        )
    try:
        numbers = torch.tensor([int(n) for v in asdict(config).values() for n in _as_tuple(v)])
        if numbers.min() < 0 or numbers.max() > 4096:
            raise ValueError
        # On "meta" no memory is taken; torch warns of widths of 0, which no file's tensors have.
        with torch.device("meta"), warnings.catch_warnings(action="ignore"):
            return net(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError, AttributeError):
        raise UserError(
            f"weights file {path} asks for an architecture that cannot be built ({config}); "
            "use a file that `hw2 train` wrote"
        ) from None


def _as_tuple(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def load_digit_unet(weights: str | Path | None = None) -> tuple[DigitNet, dict]:
    """(model, header) from a weights file; the shipped `digits.safetensors` by default."""
    path = Path(weights) if weights else WEIGHTS / "digits.safetensors"
    state, config = load_weights(path, "digit_unet")
    make = ReportConfig if "width" in config.get("architecture", ()) else DigitConfig
    return load_state(_model(make_digit_unet, make, config, path), state, path), config


def sample_digits(
    model: DigitNet,
    config: dict,
    labels: Tensor,
    noises: Tensor | list[int],
    *,
    w: float = GUIDANCE,
    interval: tuple[int, int] | None = None,
    n_steps: int = STEPS,
    solver: str | None = None,
    seed: int = 0,
    eta: float = 0.0,
    on_step: OnStep | None = None,
    progress: bool = False,
) -> Tensor:
    """Images (N, 3, 28, 28) uint8 for labels (N,); image k starts from noise number noises[k].

    Equal numbers share one x_T. A sample depends on (seed, its noise number, its label) alone.
    Guidance of strength `w` acts at the time steps of `interval`, by default at all.
    `solver` is one of SOLVERS; `eta` is DDIM's, and DDPM takes all T steps whatever `n_steps` is.
    The estimate of x_0 is clipped to [-1, 1], but not for a model of images in [0, 1]: the report's
    sampler does not clip, and DDIM is the default for it, which does not extrapolate.
    """
    solver = solver or ("ddim" if eta or config.get("zero_one") else SOLVER)
    if solver not in SOLVERS:
        raise UserError(f"solver {solver!r} is unknown; choose one of {', '.join(SOLVERS)}")
    if eta and solver != "ddim":
        raise UserError(f"eta={eta} is DDIM's; with solver {solver!r} leave it at 0")
    schedule = make_schedule(config["schedule"], config["n_train_steps"])
    where, zero_one = device(), config.get("zero_one", False)
    model = model.to(where).to(memory_format=torch.channels_last).eval()
    noises = [int(k) for k in noises]
    if not 0 < len(labels) == len(noises):
        raise ValueError(
            f"{len(labels)} labels and {len(noises)} noise numbers; one for each label"
        )

    def network(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        with mixed_precision(where):
            return model(x, t, labels).float()

    def chunk(indices: range) -> Tensor:
        kept = [min(k, len(labels) - 1) for k in indices]
        generators = sample_generators(seed, [noises[k] for k in kept])
        x = individual_noise((3, digits.SIDE, digits.SIDE), generators).to(where)
        predict = guided(network, labels[kept].to(where), w, NULL_LABEL, interval)
        common = {"prediction": config["prediction"], "clip": not zero_one, "on_step": on_step}
        if solver == "ddim":
            common |= {"eta": eta, "generators": generators}
            x = sample_ddim(predict, x, schedule, n_steps, **common)
        elif solver == "dpmpp":
            x = sample_dpmpp(predict, x, schedule, n_steps, **common)
        else:
            x = sample_ddpm(predict, x, schedule, generators, **common)
        return digits.to_uint8(2 * x - 1 if zero_one else x).cpu()

    return in_chunks(chunk, len(labels), progress=progress)


# --- faces ---------------------------------------------------------------------------------------


def train_faces(
    preset: str | Preset = "quick",
    *,
    source: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    start: str | Path | None = None,
) -> tuple[Fitted, dict]:
    """Train the small face UNet on all but the held-out images, half of them mirrored.

    Writes the EMA's weights. `start` names weights to begin with in place of random ones.
    """
    p = choose_preset(FACE_PRESETS, preset) if isinstance(preset, str) else preset
    name = preset_name(FACE_PRESETS, p)
    data = faces.load(source)
    print(data.describe(), flush=True)
    torch.manual_seed(p.train.seed)
    model = training_layout(FaceUNet(p.model))
    out = Path(out or runs_dir() / f"faces-{name}")
    origin = weights.warm_start(model, start, "face_unet", out)
    images, held_out = faces.split(data)
    schedule, where = make_schedule(p.schedule, N_TRAIN_STEPS), device()
    pick = epochs(len(images), p.train.batch_size)
    images = images.to(where)  # all of them: a GPU would wait for every batch
    if where.type == "cuda":  # fuses norms and activations; took 70 to 100 s beside an H100
        torch._dynamo.config.suppress_errors = True  # without a C compiler the network runs as is
        model.compile()

    def loss(net: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        i = pick(step, generator).to(where, non_blocking=True)
        x_0 = digits.to_float(images[i])
        mirrored = torch.rand(len(x_0), 1, 1, 1, generator=generator) < 0.5
        x_0 = torch.where(mirrored.to(where, non_blocking=True), x_0.flip(3), x_0)
        return p.loss(net, x_0, schedule, generator)

    header = {"kind": "face_unet", "size": faces.SIDE, "held_out": len(held_out)}
    return _train(model, loss, p, name, data, header, out, resume, "faces", origin)


def load_face_unet(weights: str | Path | None = None) -> tuple[FaceUNet, dict]:
    """(model, header) from a `.safetensors` file (the shipped one by default) or `UNet.pt`.

    The model is on `device()`, in evaluation mode and the memory format that samples fastest.
    header["prediction"] tells what it predicts: "eps" for the course's, "v" for ours.
    """
    path = Path(weights) if weights else WEIGHTS / "faces.safetensors"
    if path.suffix == ".safetensors":
        state, config = load_weights(path, "face_unet")
        model = load_state(_model(FaceUNet, FaceConfig, config, path), state, path)
        return model.to(device()).to(memory_format=torch.channels_last), config
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
    config = {"kind": "face_unet", "prediction": "eps", "schedule": "linear", "size": 256}
    with torch.device("meta"):  # 455 MB of initial values would be thrown away
        model = FaceUNet()
    model = load_state(model, state, path).to(device()).to(memory_format=torch.channels_last)
    return model, {**config, "n_train_steps": N_TRAIN_STEPS}


def sample_faces(
    predict: Predict,
    config: dict,
    noise: Tensor,
    *,
    n_steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
    numbers: Sequence[int] | None = None,
    batch: int = 1,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM from noise (N, 3, H, W) to faces (N, 3, H, W), float, with the reference's arithmetic.

    `predict` is the model of `load_face_unet`, or another function of x_t and t on `device()`.
    t = 981, 961, .., 1; x_0 clipped; the last step lands at alpha_bar[0]. `batch` faces at a time,
    which bounds the memory; the noise of eta > 0 depends on the seed and each face's number (by
    default 0 to N-1) alone, so no face depends on its neighbours.
    """
    where = device()
    schedule = make_schedule(config["schedule"], config["n_train_steps"])
    numbers = range(len(noise)) if numbers is None else numbers

    def chunk(indices: Sequence[int]) -> Tensor:
        kept = [min(k, len(noise) - 1) for k in indices]
        return sample_ddim(
            predict,
            noise[kept].to(where),
            schedule,
            n_steps,
            eta=eta,
            prediction=config["prediction"],
            spacing="leading",
            last_alpha_bar=None,
            generators=sample_generators(seed, [numbers[k] for k in kept]),
            on_step=on_step,
        ).cpu()

    return in_chunks(chunk, len(noise), batch)


def to_picture(face: Tensor) -> Tensor:
    """Float (3, H, W) -> uint8, scaled by its own minimum and maximum as torchvision's
    `save_image(normalize=True)` does."""
    low, high = face.min(), face.max()
    scaled = (face - low) / (high - low).clamp(min=1e-5)
    return scaled.mul(255).add(0.5).clamp(0, 255).to(torch.uint8)
