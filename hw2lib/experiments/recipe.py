"""What a diffusion preset is, for digits and faces alike: settings, training, weights files.

The presets themselves stand in `cfdg` and `ddim`, with what only they need.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hw2lib.datasets import digits, faces
from hw2lib.device import device_name
from hw2lib.diffusion import PREDICTIONS, Predict, Schedule, diffusion_loss
from hw2lib.errors import UserError
from hw2lib.io.paths import runs_dir
from hw2lib.io.weights import COLD, save_weights
from hw2lib.models.digit_unet import DigitConfig, DigitUNet, ReportConfig, ReportUNet
from hw2lib.models.face_unet import FaceConfig, FaceUNet
from hw2lib.training import Fitted, Loss, TrainConfig, fit

N_TRAIN_STEPS = 1000  # T, the diffusion's time steps


@dataclass(frozen=True)
class Preset:
    """All that `--preset` fixes and `--set key=value` may change."""

    train: TrainConfig
    model: DigitConfig | ReportConfig | FaceConfig
    schedule: str
    prediction: str = "v"
    min_snr: float = 5.0  # 0: every time step has weight one
    log_snr_mean: float = 0.0
    log_snr_std: float = 0.0  # of the time steps drawn in training; 0: all time steps alike
    p_drop: float = 0.1  # share of labels dropped; digits only
    shift: int = 0  # images moved by up to so many pixels; digits only
    exchange: bool = False  # digits get each other's backgrounds, anew in each batch; digits only
    zero_one: bool = False  # images in [0, 1] in place of [-1, 1], as in the report; digits only

    def __post_init__(self) -> None:
        for name, right, fits in (
            ("prediction", " or ".join(PREDICTIONS), self.prediction in PREDICTIONS),
            ("min_snr", "a number from 0", self.min_snr >= 0),
            ("log_snr_std", "a number from 0", self.log_snr_std >= 0),
            ("p_drop", "a number from 0 to 1", 0 <= self.p_drop <= 1),
            ("shift", "a whole number from 0 to 14", 0 <= self.shift <= 14),
        ):
            if not fits:
                raise UserError(f"{name}={getattr(self, name)} is out of range; {right} is right")

    def loss(self, predict: Predict, x_0: Tensor, schedule: Schedule, g: torch.Generator) -> Tensor:
        """The training loss that the preset asks for; x_0 (B, C, H, W) in [-1, 1]."""
        log_snr = (self.log_snr_mean, self.log_snr_std)
        return diffusion_loss(predict, x_0, schedule, g, self.prediction, self.min_snr, log_snr)


def parse_settings(defaults: dict, settings: dict[str, str]) -> dict:
    """`--set key=value` as values of the defaults' types; UserError for an unknown key or a
    value of the wrong type."""
    changes = {}
    for key, text in settings.items():
        if key not in defaults:
            raise UserError(f"--set {key}: unknown setting; choose one of {', '.join(defaults)}")
        kind = type(defaults[key])
        try:
            changes[key] = {"true": True, "false": False}[text] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise UserError(f"--set {key}={text}: a {kind.__name__} is right") from None
    return changes


def with_settings(preset: Preset, settings: dict[str, str]) -> Preset:
    """A preset changed by `--set`: fields of TrainConfig, and those of Preset that are values."""
    names = ("prediction", "min_snr", "log_snr_mean", "log_snr_std", "p_drop", "shift",
             "exchange", "zero_one")  # fmt: skip
    own = {key: getattr(preset, key) for key in names}
    changes = parse_settings({**asdict(preset.train), **own}, settings)
    of_train = {key: value for key, value in changes.items() if key not in own}
    of_preset = {key: value for key, value in changes.items() if key in own}
    return replace(preset, train=replace(preset.train, **of_train), **of_preset)


def choose_preset(presets: dict[str, Preset], name: str) -> Preset:
    """The preset of that name, else UserError."""
    if name not in presets:
        raise UserError(f"preset {name!r} is unknown; choose one of {', '.join(presets)}")
    return presets[name]


def preset_name(presets: dict[str, Preset], preset: Preset) -> str:
    """The preset's name, whatever its seed; "custom" where anything else was changed."""
    for name, known in presets.items():
        if replace(preset, train=replace(preset.train, seed=known.train.seed)) == known:
            return name
    return "custom"


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


def run_folder(label: str, preset: Preset, data: digits.DigitDomain | faces.FaceSet) -> Path:
    """`runs_dir()/LABEL-KEY`, KEY following from the preset's settings and the data: where either
    changes, a notebook's run starts in another folder and is not refused as a resumed one."""
    identity = repr((preset, data.data, sorted(data.sha256.items())))
    return runs_dir() / f"{label}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def train(
    model: DigitUNet | ReportUNet | FaceUNet,
    loss: Loss,
    p: Preset,
    name: str,
    data: digits.DigitDomain | faces.FaceSet,
    header: dict,
    out: Path,
    resume: bool,
    label: str,
    origin: dict = COLD,
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
        "data": {"source": data.data, "sha256": data.sha256},
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


def empty_model(
    net: Callable[[DigitConfig | ReportConfig | FaceConfig], DigitUNet | ReportUNet | FaceUNet],
    make: type[DigitConfig | ReportConfig | FaceConfig],
    header: dict,
    path: Path,
) -> DigitUNet | ReportUNet | FaceUNet:
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
