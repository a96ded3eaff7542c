"""Noise schedules, the training loss, the DDPM and DDIM samplers, classifier-free guidance.

Conventions: images in [-1, 1]; time steps t = 0..T-1; `alpha_bar[t]` is the share of signal left
*after* step t; schedules in float64. The forward process (Ho et al. 2020, eq. 4):

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hw2lib.paths import UserError

Predict = Callable[[Tensor, Tensor], Tensor]  # (x_t (B, ...), t (B,)) -> prediction (B, ...)
Model = Callable[[Tensor, Tensor, Tensor], Tensor]  # the same with labels (B,)
OnStep = Callable[[int, Tensor, Tensor], None]  # (t, x_t, estimate of x_0)

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
    if name not in makers:
        raise UserError(f"schedule {name!r} is unknown; choose one of {', '.join(makers)}")
    return makers[name](n_steps)


# --- the three ways to say the same thing --------------------------------------------------------


def _gather(values: Tensor, t: Tensor, like: Tensor) -> Tensor:
    """values[t] shaped (B, 1, 1, ..) in the type of `like`."""
    picked = values[t.cpu()].to(like.device, like.dtype)
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


def _check_prediction(prediction: str) -> None:
    if prediction not in PREDICTIONS:
        choices = ", ".join(PREDICTIONS)
        raise UserError(f"prediction {prediction!r} is unknown; choose one of {choices}")


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
    _check_prediction(prediction)
    t = draw_times(time_density(schedule, *log_snr), len(x_0), generator)
    eps = torch.randn(x_0.shape, generator=generator).to(x_0.device)
    x_t = add_noise(schedule, x_0, eps, t)
    output = predict(x_t, t.to(x_0.device))
    error = (output.float() - target(schedule, prediction, x_0, eps, t)).square().flatten(1).mean(1)
    weight = loss_weight(schedule, prediction, min_snr)[t].to(error.device, error.dtype)
    return (weight * error).mean()


def drop_labels(labels: Tensor, p_drop: float, null: int, generator: torch.Generator) -> Tensor:
    """Each label becomes `null` with probability `p_drop`, on its own (Ho & Salimans 2022)."""
    drop = torch.rand(len(labels), generator=generator) < p_drop
    return torch.where(drop.to(labels.device), null, labels)


# --- guidance ------------------------------------------------------------------------------------


def guided(
    model: Model, labels: Tensor, w: float, null: int, interval: tuple[int, int] | None = None
) -> Predict:
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6):

        (1 + w) model(x, t, label) - w model(x, t, null)

    w = 0 is the conditional model itself, bit for bit. Both passes go as one batch. With an
    `interval` (first, last) of time steps, guidance acts at first <= t <= last alone and the steps
    outside take one pass (Kynkaanniemi et al. 2024); all samples share one t.
    """
    first, last = interval or (0, math.inf)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if w == 0 or not first <= t[0] <= last:
            return model(x, t, labels)
        both = torch.cat([labels, torch.full_like(labels, null)])
        conditional, unconditional = model(x.repeat(2, 1, 1, 1), t.repeat(2), both).chunk(2)
        return (1 + w) * conditional - w * unconditional

    return predict


# --- sampling ------------------------------------------------------------------------------------


def time_steps(n_train: int, n_steps: int, spacing: str = "trailing") -> list[int]:
    """`n_steps` time steps, falling.

    "trailing" starts at T - 1, pure noise; "leading" is the reference's, one above a multiple of
    T / n_steps: 981, 961, .., 1 for 50 of 1000 (diffusers' names, steps_offset=1).
    """
    if not 1 <= n_steps <= n_train:
        raise UserError(f"steps={n_steps} is out of range; choose 1 to {n_train}")
    if spacing == "leading":
        stride = n_train // n_steps
        return [min(i * stride + 1, n_train - 1) for i in reversed(range(n_steps))]
    return [round(n_train * (n_steps - i) / n_steps) - 1 for i in range(n_steps)]


def individual_noise(
    shape: Sequence[int], generators: Sequence[torch.Generator], like: Tensor | None = None
) -> Tensor:
    """Standard normal (B, *shape), each sample from its own generator, so that no sample depends
    on the batch it was drawn in."""
    noise = torch.stack([torch.randn(*shape, generator=g) for g in generators])
    return noise if like is None else noise.to(like.device, like.dtype)


def sample_generators(seed: int, indices: Sequence[int]) -> list[torch.Generator]:
    """One generator for each sample, from (seed, index of the sample) alone.

    2^31 keeps clear of the small seeds that noise files are made with: noise 00.pt is what seed 0
    draws first, and must not come again as the noise that eta > 0 adds. (torch uses 32 bits.)
    """
    return [torch.Generator().manual_seed(2**31 + seed * 1_000_003 + int(k)) for k in indices]


def ddim_step(
    x_t: Tensor,
    x_0: Tensor,
    eps: Tensor,
    ab_t: float,
    ab_next: float,
    eta: float,
    z: Tensor | None,
) -> Tensor:
    """One step from alpha_bar_t to the less noisy alpha_bar_n (Song et al. 2021, eq. 12 and 16):

    sigma = eta sqrt((1 - ab_n) / (1 - ab_t)) sqrt(1 - ab_t / ab_n)
    x_n   = sqrt(ab_n) x_0 + sqrt(1 - ab_n - sigma^2) eps + sigma z
    """
    sigma = eta * math.sqrt((1 - ab_next) / (1 - ab_t) * (1 - ab_t / ab_next))
    direction = math.sqrt(max(0.0, 1 - ab_next - sigma**2))
    x = math.sqrt(ab_next) * x_0 + direction * eps
    return x if z is None else x + sigma * z


@torch.no_grad()
def sample_ddim(
    predict: Predict,
    x: Tensor,
    schedule: Schedule,
    n_steps: int = 20,
    *,
    eta: float = 0.0,
    prediction: str = "v",
    clip: bool = True,
    spacing: str = "trailing",
    last_alpha_bar: float | None = 1.0,
    generators: Sequence[torch.Generator] | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """DDIM from x = x_T (B, C, H, W) to images; eta = 0 deterministic, eta = 1 as noisy as DDPM.

    `last_alpha_bar` is where the last step lands: 1, the image itself, or None for alpha_bar[0],
    as the reference does. `generators`, one a sample, are needed where eta > 0. `on_step(t, x_t,
    x_0)` sees every step before it is taken.

    Each step is that of diffusers' DDIMScheduler (tests/test_samplers.py) set to
    timestep_spacing="leading", steps_offset=1, set_alpha_to_one=False for the reference's recipe.
    Where the two part: by its own defaults theirs steps over 980, .., 0 and lands on alpha_bar = 1;
    it keeps alpha_bar in float32, here it is float64; its noise comes from one generator for the
    batch, here from each sample's own; and 1000 steps with that offset are an error there, here
    the first step is taken at t = 999.
    """
    _check_prediction(prediction)
    if not 0 <= eta <= 1:
        raise UserError(f"eta={eta} is out of range; choose 0 (deterministic) to 1 (as DDPM)")
    if eta > 0 and (generators is None or len(generators) != len(x)):
        raise ValueError("eta > 0 needs one generator for each sample")
    ab = schedule.alpha_bar.tolist()  # Python's floats are float64, and quicker than tensors
    end = ab[0] if last_alpha_bar is None else last_alpha_bar
    times = time_steps(schedule.n_steps, n_steps, spacing)
    for i, t in enumerate(times):
        batch_t = torch.full((len(x),), t, device=x.device)
        x_0, eps = to_x0_and_eps(ab[t], prediction, x, predict(x, batch_t), clip)
        if on_step is not None:
            on_step(t, x, x_0)
        ab_next = ab[times[i + 1]] if i + 1 < len(times) else end
        z = individual_noise(x.shape[1:], generators, x) if eta > 0 else None
        x = ddim_step(x, x_0, eps, ab[t], ab_next, eta, z)
    return x


def dpmpp_step(
    x_t: Tensor,
    x_0: Tensor,
    before: tuple[Tensor, Tensor] | None,
    ab_t: Tensor,
    ab_next: Tensor,
) -> Tensor:
    """One step of DPM-Solver++(2M) (Lu et al. 2022, algorithm 2) from alpha_bar_t to alpha_bar_n.

    With l = log SNR / 2 and h = l_n - l_t, the estimate of x_0 is carried on in a straight line:

    r   = (l_t - l_before) / h
    D   = x_0 + (x_0 - x_0_before) / (2 r)
    x_n = sqrt((1 - ab_n) / (1 - ab_t)) x_t + sqrt(ab_n) (1 - exp(-h)) D

    `before` is (alpha_bar, estimate of x_0) one step earlier. Without it D = x_0, which is DDIM's
    step at eta = 0; so is the step to ab_n = 1, where h is infinite and x_n = D.
    """
    h = (torch.logit(ab_next) - torch.logit(ab_t)) / 2
    d = x_0
    if before is not None and ab_next < 1:
        ab_before, x_0_before = before
        r = (torch.logit(ab_t) - torch.logit(ab_before)) / 2 / h
        d = x_0 + (0.5 / r).item() * (x_0 - x_0_before)
    kept = ((1 - ab_next) / (1 - ab_t)).sqrt()
    return kept.item() * x_t + (ab_next.sqrt() * -torch.expm1(-h)).item() * d


@torch.no_grad()
def sample_dpmpp(
    predict: Predict,
    x: Tensor,
    schedule: Schedule,
    n_steps: int = 20,
    *,
    prediction: str = "v",
    clip: bool = True,
    on_step: OnStep | None = None,
) -> Tensor:
    """DPM-Solver++(2M) from x = x_T (B, C, H, W) to images: deterministic, second order, one
    evaluation of the network a step; time steps "trailing", the last step is DDIM's."""
    _check_prediction(prediction)
    ab, one = schedule.alpha_bar, torch.ones((), dtype=schedule.alpha_bar.dtype)
    times, before = time_steps(schedule.n_steps, n_steps), None
    for i, t in enumerate(times):
        batch_t = torch.full((len(x),), t, device=x.device)
        x_0, _ = to_x0_and_eps(ab[t], prediction, x, predict(x, batch_t), clip)
        if on_step is not None:
            on_step(t, x, x_0)
        ab_next = ab[times[i + 1]] if i + 1 < n_steps else one
        x = dpmpp_step(x, x_0, before, ab[t], ab_next)
        before = (ab[t], x_0)
    return x


def ddpm_step(
    x_t: Tensor, x_0: Tensor, ab_t: Tensor, ab_previous: Tensor, z: Tensor | None
) -> Tensor:
    """One ancestral step with the posterior's mean and variance (Ho et al. 2020, eq. 6 and 7):

    beta_t = 1 - ab_t / ab_p
    mean   = sqrt(ab_p) beta_t / (1 - ab_t) x_0 + sqrt(1 - beta_t) (1 - ab_p) / (1 - ab_t) x_t
    var    = (1 - ab_p) / (1 - ab_t) beta_t
    """
    beta = 1 - ab_t / ab_previous
    c_0 = ab_previous.sqrt() * beta / (1 - ab_t)
    c_t = (1 - beta).sqrt() * (1 - ab_previous) / (1 - ab_t)
    variance = (1 - ab_previous) / (1 - ab_t) * beta
    mean = c_0.item() * x_0 + c_t.item() * x_t
    return mean if z is None else mean + variance.sqrt().item() * z


@torch.no_grad()
def sample_ddpm(
    predict: Predict,
    x: Tensor,
    schedule: Schedule,
    generators: Sequence[torch.Generator],
    *,
    prediction: str = "v",
    clip: bool = True,
    on_step: OnStep | None = None,
) -> Tensor:
    """Ancestral sampling with all T steps and the posterior variance (`fixed_small`)."""
    _check_prediction(prediction)
    if len(generators) != len(x):
        raise ValueError("sample_ddpm needs one generator for each sample")
    ab = schedule.alpha_bar
    one = torch.ones((), dtype=ab.dtype)
    for t in reversed(range(schedule.n_steps)):
        batch_t = torch.full((len(x),), t, device=x.device)
        x_0, _ = to_x0_and_eps(ab[t], prediction, x, predict(x, batch_t), clip)
        if on_step is not None:
            on_step(t, x, x_0)
        z = individual_noise(x.shape[1:], generators, x) if t > 0 else None
        x = ddpm_step(x, x_0, ab[t], ab[t - 1] if t > 0 else one, z)
    return x


@torch.no_grad()
def in_chunks(
    sample: Callable[[Sequence[int]], Tensor], n: int, size: int = 50, progress: bool = False
) -> Tensor:
    """Samples 0..n-1, drawn `size` at a time by `sample(indices)`.

    The last chunk is filled up and cut afterwards: every batch has the same shape, so the same
    arithmetic is done for a sample however many are asked for.
    """
    from tqdm import tqdm

    parts = []
    starts = tqdm(range(0, n, size), "sampling", unit="chunk", delay=2, disable=not progress)
    for start in starts:
        parts.append(sample(range(start, start + size)))
    return torch.cat(parts)[:n]
