"""What `--preset` fixes for digits and faces, and what `--set key=value` may change of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from hw2lib.diffusion import PREDICTIONS, Predict, Schedule, diffusion_loss
from hw2lib.errors import UserError
from hw2lib.models.digit_unet import DigitConfig, ReportConfig
from hw2lib.models.face_unet import COARSE, SMALL, TINY, FaceConfig
from hw2lib.training import TrainConfig

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


# Weight one on v; time steps by a normal log SNR: the logit-normal times of rectified flows.
LOGIT_NORMAL = {"min_snr": 0.0, "log_snr_mean": 0.0, "log_snr_std": 2.0}
DIGIT_PRESETS = {
    "quick": Preset(
        TrainConfig(steps=120, batch_size=32), DigitConfig((32, 64), (1, 1)), "cosine",
        **LOGIT_NORMAL,
    ),
    "full": Preset(  # the shipped model
        TrainConfig(steps=9400, lr=2e-3, schedule="trapezoid"), DigitConfig(), "cosine",
        **LOGIT_NORMAL,
    ),
    "study": Preset(  # each of the six trainings of `guidance`: the first half of "full"
        TrainConfig(steps=4700, lr=2e-3), DigitConfig(), "cosine", **LOGIT_NORMAL
    ),
    "report": Preset(  # the recipe of the report being reproduced
        TrainConfig(steps=9400, lr=1e-4, ema=0.0), ReportConfig(), "linear",
        prediction="eps", min_snr=0.0, zero_one=True,
    ),
}  # fmt: skip
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
