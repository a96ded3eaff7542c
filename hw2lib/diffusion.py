"""Noise schedules, the training loss, classifier-free guidance; the samplers are in `samplers`.

Conventions: images in [-1, 1]; time steps t = 0..T-1; `alpha_bar[t]` is the share of signal left
*after* step t; schedules in float64. The forward process (Ho et al. 2020, eq. 4):

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hw2lib.errors import check_known

Predict = Callable[[Tensor, Tensor], Tensor]  # (x_t (B, ...), t (B,)) -> prediction (B, ...)
Model = Callable[[Tensor, Tensor, Tensor], Tensor]  # the same with labels (B,)

PREDICTIONS = ("eps", "v", "flow")


@dataclass(frozen=True)
class Schedule:
    """alpha_bar (T,) float64, strictly falling in (0, 1)."""

    alpha_bar: Tensor

    @property
    def n_steps(self) -> int:
        return len(self.alpha_bar)


def linear_schedule(n_steps: int = 1000, first: float = 1e-4, last: float = 2e-2) -> Schedule:
    """beta from `first` to `last` in equal steps (Ho et al. 2020)."""
    beta = torch.linspace(first, last, n_steps, dtype=torch.float64)
    return Schedule(torch.cumprod(1 - beta, 0))


def cosine_schedule(n_steps: int = 1000, s: float = 0.008) -> Schedule:
    """alpha_bar_t = f(t + 1) / f(0), f(t) = cos^2((t / T + s) / (1 + s) pi / 2), beta <= 0.999.

    Nichol & Dhariwal 2021, eq. 17.
    """
    t = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    f = torch.cos((t + s) / (1 + s) * math.pi / 2) ** 2
    beta = (1 - f[1:] / f[:-1]).clamp(max=0.999)
    return Schedule(torch.cumprod(1 - beta, 0))


def make_schedule(name: str, n_steps: int = 1000) -> Schedule:
    """The schedule that a weights header names: "linear" or "cosine"."""
    makers = {"linear": linear_schedule, "cosine": cosine_schedule}
    check_known("schedule", name, makers)
    return makers[name](n_steps)


# --- the three ways to say the same thing --------------------------------------------------------


def _gather(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t] shaped (B, 1, 1, ..) in the type of `like`."""
    picked = values[t.cpu()].to(like.dtype).to(like.device, non_blocking=True)
    return picked.reshape(-1, *[1] * (like.ndim - 1))


def add_noise(schedule: Schedule, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, t (B,)."""
    a = _gather(schedule.alpha_bar.sqrt(), t, x_0)
    s = _gather((1 - schedule.alpha_bar).sqrt(), t, x_0)
    return a * x_0 + s * eps


def target(schedule: Schedule, prediction: str, x_0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What the network learns: eps, or one of two velocities,

    v    = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0   (Salimans & Ho 2022, section 4)
    flow = eps - x_0   (rectified flow, Liu et al. 2023)
    """
    if prediction == "eps":
        return eps
    if prediction == "flow":
        return eps - x_0
    a = _gather(schedule.alpha_bar.sqrt(), t, x_0)
    s = _gather((1 - schedule.alpha_bar).sqrt(), t, x_0)
    return a * eps - s * x_0


def to_x0_and_eps(
    alpha_bar: float | Tensor, prediction: str, x_t: Tensor, output: Tensor, clip: bool
) -> tuple[Tensor, Tensor]:
    """(x_0, eps) from a network's output at one alpha_bar (a number in double precision).

    x_0 may be clipped to [-1, 1]; eps is not computed anew after the clip, as in the reference.
    """
    a, s = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction == "eps":
        x_0, eps = (x_t - s * output) / a, output
    elif prediction == "flow":
        x_0, eps = (x_t - s * output) / (a + s), (x_t + a * output) / (a + s)
    else:
        x_0, eps = a * x_t - s * output, s * x_t + a * output
    return (x_0.clamp(-1, 1) if clip else x_0), eps


# --- training ------------------------------------------------------------------------------------


def loss_weight(schedule: Schedule, prediction: str, min_snr: float) -> Tensor:
    """Weight of each time step (T,), mean squared errors being of the prediction.

    With SNR = alpha_bar / (1 - alpha_bar), min-SNR-gamma asks for min(SNR, gamma) on the squared
    error of x_0 (Hang et al. 2023, section 3.4), which is that of the prediction times
    1 / SNR for eps, 1 - alpha_bar for v, and 1 / (1 + sqrt(SNR))^2 for flow. gamma = 0: weight one.
    """
    if min_snr == 0:
        return torch.ones_like(schedule.alpha_bar)
    snr = schedule.alpha_bar / (1 - schedule.alpha_bar)
    to_x0 = {"eps": 1 / snr, "v": 1 / (snr + 1), "flow": 1 / (1 + snr.sqrt()) ** 2}
    return snr.clamp(max=min_snr) * to_x0[prediction]


def time_density(schedule: Schedule, log_snr_mean: float, log_snr_std: float) -> Tensor:
    """Probability of each time step (T,) in training; a standard deviation of 0: all alike.

    Else log SNR is normal: p_t ~ N(log SNR_t; mean, std^2) |d log SNR_t / dt|. As in EDM, where
    log sigma ~ N(-1.2, 1.2^2), that is log SNR ~ N(2.4, 2.4^2) (Karras et al. 2022, table 1);
    weight one on v is their weight too, but for the data's standard deviation, 1 here, 0.5 there.
    N(0, 2^2) is the logit-normal t of rectified flows (Esser et al. 2024, section 3.1).
    """
    if log_snr_std == 0:
        return torch.full_like(schedule.alpha_bar, 1 / schedule.n_steps)
    log_snr = torch.logit(schedule.alpha_bar)  # log(alpha_bar / (1 - alpha_bar))
    p = torch.exp(-(((log_snr - log_snr_mean) / log_snr_std) ** 2) / 2)
    p = p * torch.gradient(log_snr)[0].abs()
    return p / p.sum()


def draw_times(density: Tensor, b: int, generator: torch.Generator) -> Tensor:
    """Time steps (B,), each distributed as `density` (T,) says.

    One stratified draw: one time step from each of B equally probable parts, in random order,
    which lowers the variance of the gradient (Kingma et al. 2021, appendix I.1).
    """
    u = (torch.arange(b) + torch.rand(b, generator=generator)) / b
    t = torch.searchsorted(density.cumsum(0), u.to(density.dtype), right=True)
    return t.clamp(max=len(density) - 1)[torch.randperm(b, generator=generator)]


def draw_noise(x: Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise of the shape of x, drawn where x is: a GPU's generator starts, for each draw,
    from a seed that `generator` (on the CPU) gives, so that its state alone fixes the noise."""
    if x.device.type == "cpu":
        return torch.randn(x.shape, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(x.device).manual_seed(seed)
    return torch.randn(x.shape, generator=there, device=x.device)


def diffusion_loss(
    predict: Predict,
    x_0: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    prediction: str = "v",
    min_snr: float = 5.0,
    log_snr: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """Weighted mean squared error of the prediction; x_0 (B, C, H, W) in [-1, 1].

    `min_snr` is loss_weight's, `log_snr` the mean and deviation of time_density.
    """
    check_known("prediction", prediction, PREDICTIONS)
    t = draw_times(time_density(schedule, *log_snr), len(x_0), generator)
    eps = draw_noise(x_0, generator)
    x_t = add_noise(schedule, x_0, eps, t)
    output = predict(x_t, t.to(x_0.device, non_blocking=True))
    error = (output.float() - target(schedule, prediction, x_0, eps, t)).square().flatten(1).mean(1)
    weight = _gather(loss_weight(schedule, prediction, min_snr), t, error)
    return (weight * error).mean()


def drop_labels(labels: Tensor, p_drop: float, null: int, generator: torch.Generator) -> Tensor:
    """Each label becomes `null` with probability `p_drop`, on its own (Ho & Salimans 2022)."""
    drop = torch.rand(len(labels), generator=generator) < p_drop
    return torch.where(drop.to(labels.device), null, labels)


# --- guidance ------------------------------------------------------------------------------------


def guided(
    model: Model,
    labels: Tensor,
    w: float,
    away: int | Model,
    interval: tuple[int, int] | None = None,
) -> Predict:
    """Guidance away from the null label, or from a worse model:

        (1 + w) model(x, t, label) - w model(x, t, null)     Ho & Salimans 2022, eq. 6
        (1 + w) model(x, t, label) - w worse(x, t, label)    Karras et al. 2024, eq. 3

    w = 0 is the conditional model itself, bit for bit. Both passes of one model go as one batch.
    With an `interval` (first, last) of time steps, guidance acts at first <= t <= last alone and
    the steps outside take one pass (Kynkaanniemi et al. 2024); all samples share one t.
    """
    first, last = interval or (0, math.inf)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if w == 0 or not first <= t[0] <= last:
            return model(x, t, labels)
        if callable(away):
            return (1 + w) * model(x, t, labels) - w * away(x, t, labels)
        both = torch.cat([labels, torch.full_like(labels, away)])
        conditional, unconditional = model(x.repeat(2, 1, 1, 1), t.repeat(2), both).chunk(2)
        return (1 + w) * conditional - w * unconditional

    return predict
