"""What a diffusion preset is, for digits and faces alike: settings, training, weights files.

The presets themselves stand in `cfdg` and `ddim`, with what only they need.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from hw2lib.datasets import digits, faces
from hw2lib.device import device_name, process
from hw2lib.diffusion import PREDICTIONS, Predict, Schedule, diffusion_loss
from hw2lib.errors import check_known
from hw2lib.io.parameters import Finite, Guidance, NonNegative, Share, changed, settings
from hw2lib.io.paths import runs_dir
from hw2lib.io.weights import Header, save_weights, warm_start
from hw2lib.models.digit_unet import DigitConfig, DigitUNet, ReportConfig, ReportUNet
from hw2lib.models.face_unet import FaceConfig, FaceUNet
from hw2lib.training import Fitted, Loss, TrainConfig, fit

ScheduleName = Literal["linear", "cosine"]
N_TRAIN_STEPS = 1000  # T, the diffusion's time steps


@settings
class Preset:
    """All that `--preset` fixes and `--set key=value` may change."""

    train: TrainConfig
    model: DigitConfig | ReportConfig | FaceConfig
    schedule: ScheduleName
    prediction: Literal[PREDICTIONS] = "v"
    min_snr: NonNegative = 5.0  # 0: every time step has weight one
    log_snr_mean: Finite = 0.0
    log_snr_std: NonNegative = 0.0  # of the time steps drawn in training; 0: all alike
    p_drop: Share = 0.1  # share of labels dropped; digits only
    exchange: bool = False  # digits get each other's backgrounds, anew in each batch; digits only
    zero_one: bool = False  # images in [0, 1] in place of [-1, 1], as in the report; digits only

    def loss(self, predict: Predict, x_0: Tensor, schedule: Schedule, g: torch.Generator) -> Tensor:
        """The training loss that the preset asks for; x_0 (B, C, H, W) in [-1, 1]."""
        log_snr = (self.log_snr_mean, self.log_snr_std)
        return diffusion_loss(predict, x_0, schedule, g, self.prediction, self.min_snr, log_snr)


def with_settings(preset: Preset, texts: Mapping[str, str]) -> Preset:
    """A preset changed by `--set`: fields of TrainConfig, and those of Preset that are values."""
    of_train = [field.name for field in fields(preset.train)]
    own = [field.name for field in fields(preset)][3:]
    train = {key: text for key, text in texts.items() if key in of_train}
    rest = {key: text for key, text in texts.items() if key not in of_train}
    for key in rest:
        check_known("setting", key, of_train + own)
    return replace(preset, train=changed(preset.train, train), **rest)


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


class DiffusionHeader(Header):
    """What the header of a diffusion model's weights holds, with the limits of what is built."""

    schedule: ScheduleName
    n_train_steps: Annotated[int, Field(ge=2, le=10_000)]
    prediction: Literal[PREDICTIONS]
    zero_one: bool = False


class Student(BaseModel):
    """What a distilled network was made for: its steps of DDIM, and w from 0 to `w_max`."""

    model_config = ConfigDict(strict=True)

    steps: Annotated[int, Field(ge=1, le=1000)]
    w_max: Guidance


class DigitHeader(DiffusionHeader):
    architecture: DigitConfig | ReportConfig
    student: Student | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if getattr(self.architecture, "guidance_input", False) != (self.student is not None):
            raise ValueError("guidance_input and student go together")
        return self


class FaceHeader(DiffusionHeader):
    architecture: FaceConfig
    size: Annotated[int, Field(ge=1, le=4096)] = faces.SIDE


@dataclass(frozen=True)
class Run:
    """One training of a diffusion model: which preset on which data, and where it is kept."""

    kind: str  # of the weights: "digit_unet" | "face_unet"
    preset: Preset
    name: str  # the preset's, or "custom"
    data: digits.DigitDomain | faces.FaceSet
    out: Path
    resume: bool
    more: dict  # what the header says beside what every diffusion model's says

    def train(
        self, model: DigitUNet | ReportUNet | FaceUNet, loss: Loss, start: str | Path | None = None
    ) -> tuple[Fitted, dict]:
        """Fit, from the weights `start` if they are named, then write `out/weights.safetensors`;
        returns (fitted, the weights' header).

        The header's `images_seen` and `seconds` are those of all runs since random weights, see
        `warm_start`.
        """
        p = self.preset
        identity = {
            "kind": self.kind,
            **self.more,
            "architecture": asdict(model.config),
            "schedule": p.schedule,
            "n_train_steps": N_TRAIN_STEPS,
            "prediction": p.prediction,
            "min_snr": p.min_snr,
            "log_snr": [p.log_snr_mean, p.log_snr_std],
            "data": {"source": self.data.data, "sha256": self.data.sha256},
        }
        label = self.kind.removesuffix("_unet") + "s"
        origin = warm_start(model, start, self.kind, self.out)
        fitted = fit(
            model, loss, p.train, self.out, resume=self.resume, label=label, identity=identity,
            shared=not isinstance(model, ReportUNet),  # which has batch norms
        )  # fmt: skip
        header = {
            **identity,
            "preset": self.name,
            "train": asdict(p.train),
            "images_seen": origin["images_seen"] + len(fitted.losses) * p.train.batch_size,
            "seconds": round(origin["seconds"] + fitted.seconds, 1),
            "warm_start": origin.get("file"),
            "device": device_name(),
        }
        if process()[0] == 0:
            save_weights(self.out / "weights.safetensors", fitted.ema.state_dict(), header)
        return fitted, header
