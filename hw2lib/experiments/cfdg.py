"""Digits by conditional diffusion with classifier-free guidance: presets, training, sampling.

model, header = load_digit_unet()                                      # the shipped weights
images = sample_digits(model, header, torch.arange(10), [0] * 10)      # ten digits, one noise
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from hw2lib import samplers
from hw2lib.datasets import augment, digits
from hw2lib.device import device, mixed_precision
from hw2lib.diffusion import Model, drop_labels, guided, make_schedule
from hw2lib.errors import UserError
from hw2lib.experiments.recipe import N_TRAIN_STEPS, DigitHeader, Preset, Run, epochs, preset_name
from hw2lib.io.parameters import Count, Seed, Share, Weight, settings
from hw2lib.io.paths import WEIGHTS
from hw2lib.io.weights import load_state, load_weights
from hw2lib.models import dann_net, digit_unet
from hw2lib.models.digit_unet import NULL_LABEL, DigitConfig, ReportConfig, make_digit_unet
from hw2lib.training import Fitted, TrainConfig

# Weight one on v; time steps by a normal log SNR: the logit-normal times of rectified flows.
LOGIT_NORMAL = {"min_snr": 0.0, "log_snr_mean": 0.0, "log_snr_std": 2.0}
DIGIT_PRESETS = {
    "quick": Preset(
        TrainConfig(steps=120, batch_size=32), DigitConfig((16, 32), (1, 1)), "cosine",
        **LOGIT_NORMAL,
    ),
    "full": Preset(  # the shipped model
        TrainConfig(steps=9400, lr=2e-3, schedule="trapezoid"), DigitConfig(), "cosine",
        **LOGIT_NORMAL,
    ),
    "study": Preset(  # each of the six trainings of `studies.cfdg`: the first half of "full"
        TrainConfig(steps=4700, lr=2e-3), DigitConfig(), "cosine", **LOGIT_NORMAL
    ),
    "report": Preset(  # the recipe of the report being reproduced
        TrainConfig(steps=9400, lr=1e-4, ema=0.0), ReportConfig(), "linear",
        prediction="eps", min_snr=0.0, zero_one=True,
    ),
}  # fmt: skip

SOLVER = "dpmpp"  # but DDIM where eta > 0 or images are in [0, 1], whose range it does not leave


@settings
class Sampling:
    """How digits are drawn; the defaults are the report's, and the chapter tells why."""

    w: Weight = 1.25  # guidance: (1 + w) conditional - w unconditional
    steps: Count = 10
    solver: Literal["dpmpp", "ddim", "ddpm"] | None = None  # None: SOLVER; DDPM takes all T steps
    interval: tuple[int, int] | None = None  # first and last time step with guidance; None: all
    eta: Share = 0.0  # DDIM's
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.eta and self.solver not in (None, "ddim"):
            raise UserError(f"eta={self.eta} is DDIM's; with solver {self.solver!r} leave it at 0")


DEFAULT = Sampling()
TRIES = 20  # of one digit, by rejection
DigitNet = digit_unet.DigitUNet | digit_unet.ReportUNet


def train_digits(
    preset: Preset, out: Path, data: str = "auto", resume: bool = False, start: Path | None = None
) -> tuple[Fitted, dict]:
    """Train the conditional digit UNet on MNIST-M; writes `out/weights.safetensors` (the EMA).

    Returns (fitted, the weights' header). `start` names weights to begin with in place of random
    ones.
    """
    domain = digits.load("mnistm", data)
    print(domain.describe(), flush=True)
    torch.manual_seed(preset.train.seed)
    model = make_digit_unet(preset.model).to(memory_format=torch.channels_last)
    schedule, where = make_schedule(preset.schedule, N_TRAIN_STEPS), device()
    pick = epochs(len(domain.train), preset.train.batch_size)
    if preset.exchange and domain.train.masks is None:
        raise UserError(
            f"exchange=true needs the digits' masks, which {domain.data} data do not have; "
            "exchange=false is right"
        )

    def loss(net: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        i = pick(step, generator)
        x_0 = domain.train.images[i]
        if preset.exchange:
            x_0 = augment.exchange_backgrounds(x_0, domain.train.masks[i], generator)
        x_0 = digits.to_float(x_0).to(where)
        x_0 = (x_0 + 1) / 2 if preset.zero_one else x_0
        labels = domain.train.labels[i]
        labels = drop_labels(labels, preset.p_drop, NULL_LABEL, generator).to(where)
        return preset.loss(lambda x, t: net(x, t, labels), x_0, schedule, generator)

    more = {key: getattr(preset, key) for key in ("p_drop", "exchange", "zero_one")}
    name = preset_name(DIGIT_PRESETS, preset)
    return Run("digit_unet", preset, name, domain, out, resume, more).train(model, loss, start)


def load_digit_unet(weights: str | Path | None = None) -> tuple[DigitNet, dict]:
    """(model, header) from a weights file; the shipped `digits.safetensors` by default."""
    path = weights or WEIGHTS / "digits.safetensors"
    state, header = load_weights(path, "digit_unet", DigitHeader)
    make = ReportConfig if "width" in header["architecture"] else DigitConfig
    with torch.device("meta"):  # no memory is taken
        model = make_digit_unet(make(**header["architecture"]))
    return load_state(model, state, path), header


def sample_digits(
    model: DigitNet,
    header: dict,
    labels: Tensor,
    noises: Tensor | list[int],
    how: Sampling = DEFAULT,
    *,
    guide: Model | None = None,
    on_step: samplers.OnStep | None = None,
    progress: bool = False,
) -> Tensor:
    """Images (N, 3, 28, 28) uint8 for labels (N,); image k starts from noise number noises[k].

    Equal numbers share one x_T. A sample depends on (seed, its noise number, its label) alone.
    The estimate of x_0 is clipped to [-1, 1], but not for a model of images in [0, 1]: the report's
    sampler does not clip.
    A student (its header has "student") draws by DDIM in its own steps, one evaluation each, with
    w as an input and nothing clipped on the way; UserError for settings that it was not made for.
    With a `guide`, a worse network in eval mode on the model's device, guidance steers away from
    what that makes of the label, in place of the null label (Karras et al. 2024).
    """
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    where, zero_one = device(), header.get("zero_one", False)
    student = header.get("student")
    if student:
        _check_fits(student, how, guide)
    solver = how.solver or ("ddim" if how.eta or zero_one or student else SOLVER)
    model = model.to(where).to(memory_format=torch.channels_last).eval()
    noises = [int(k) for k in noises]
    if not 0 < len(labels) == len(noises):
        raise ValueError(
            f"{len(labels)} labels and {len(noises)} noise numbers; one for each label"
        )

    def network(x: Tensor, t: Tensor, *more: Tensor, net: Model = model) -> Tensor:
        with mixed_precision(where):
            return net(x, t, *more).float()

    away = NULL_LABEL if guide is None else partial(network, net=guide)

    def chunk(indices: range) -> Tensor:
        kept = [min(k, len(labels) - 1) for k in indices]
        generators = samplers.sample_generators(how.seed, [noises[k] for k in kept])
        x = samplers.individual_noise((3, digits.SIDE, digits.SIDE), generators).to(where)
        asked = labels[kept].to(where)
        predict = guided(network, asked, how.w, away, how.interval)
        if student:
            w = torch.full(asked.shape, how.w, device=where)

            def predict(x: Tensor, t: Tensor) -> Tensor:
                return network(x, t, asked, w)

        clip = not (zero_one or student)
        denoiser = samplers.Denoiser(predict, schedule, header["prediction"], clip, on_step)
        if solver == "ddim":
            x = samplers.sample_ddim(denoiser, x, how.steps, eta=how.eta, generators=generators)
        elif solver == "dpmpp":
            x = samplers.sample_dpmpp(denoiser, x, how.steps)
        else:
            x = samplers.sample_ddpm(denoiser, x, generators)
        return digits.to_uint8(2 * x - 1 if zero_one else x).cpu()

    return samplers.in_chunks(chunk, len(labels), progress=progress)


def sample_until_read(
    model: DigitNet,
    header: dict,
    labels: Tensor,
    noises: list[int],
    how: Sampling = DEFAULT,
    confidence: float = 0.9,
    *,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """Rejection sampling: (images as of `sample_digits`, how often each was drawn (N,)).

    A digit is drawn again, from its noise number of another seed, until a classifier gives its
    label at least the probability `confidence` (Razavi et al. 2019, sec. 3.3); of TRIES the most
    probable stays. The classifier is that of `dann-mnistm.safetensors`: it has seen no label of
    MNIST-M, and the judge does not know it.
    """
    classifier, _ = dann_net.load(WEIGHTS / "dann-mnistm.safetensors")
    images = torch.empty(len(labels), 3, digits.SIDE, digits.SIDE, dtype=torch.uint8)
    best, drawn = torch.full((len(labels),), -1.0), torch.zeros(len(labels), dtype=torch.int64)
    for k in range(TRIES):
        again = (best < confidence).nonzero()[:, 0]
        if not len(again):
            break
        other = replace(how, seed=(how.seed + 7919 * k) % 2**32)
        numbers, asked = [noises[i] for i in again], labels[again]
        new = sample_digits(model, header, asked, numbers, other, progress=progress)
        p = dann_net.logits(classifier, new).softmax(1).gather(1, asked[:, None])[:, 0]
        better = p > best[again]
        images[again[better]], best[again[better]] = new[better], p[better]
        drawn[again] += 1
    return images, drawn


def _check_fits(student: dict, how: Sampling, guide: Model | None) -> None:
    """UserError for settings that the student was not made for."""
    steps, w_max = student["steps"], student["w_max"]
    plain = how.solver in (None, "ddim") and not (how.eta or how.interval or guide)
    if not (plain and how.steps == steps and 0 <= how.w <= w_max):
        raise UserError(
            f"steps={how.steps} and w={how.w:g} do not fit these weights: a student draws in "
            f"steps={steps} of DDIM with w from 0 to {w_max:g} and nothing else"
        )
