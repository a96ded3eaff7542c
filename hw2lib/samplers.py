"""The samplers: DDIM, DPM-Solver++(2M) and DDPM, by step and whole; and the way back to the noise.

    model = Denoiser(network, linear_schedule(), "eps")
    images = sample_ddim(model, torch.randn(4, 3, 64, 64), steps=50)

A network becomes a denoiser by what its output means; the samplers are plain functions of it.
Conventions are those of `diffusion`. No sample depends on the batch that it is drawn in.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from tqdm import tqdm

from hw2lib.diffusion import PREDICTIONS, Predict, Schedule, to_x0_and_eps
from hw2lib.errors import UserError, check_known

OnStep = Callable[[int, Tensor, Tensor], None]  # (t, x_t, estimate of x_0)


@dataclass(frozen=True)
class Denoiser:
    """A network with what its output means: what all samplers call."""

    predict: Predict
    schedule: Schedule
    prediction: str = "v"  # of PREDICTIONS
    clip: bool = True  # the estimate of x_0, to [-1, 1]
    on_step: OnStep | None = None  # sees every step before it is taken

    def __post_init__(self) -> None:
        check_known("prediction", self.prediction, PREDICTIONS)

    def __call__(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Estimates of (x_0, eps) of x_t (B, C, H, W) at time step t."""
        output = self.predict(x_t, torch.full((len(x_t),), t, device=x_t.device))
        ab = self.schedule.alpha_bar[t]
        x_0, eps = to_x0_and_eps(ab, self.prediction, x_t, output, self.clip)
        if self.on_step is not None:
            self.on_step(t, x_t, x_0)
        return x_0, eps


def time_steps(n_train: int, steps: int, spacing: str = "trailing") -> list[int]:
    """`steps` time steps, falling.

    "trailing" starts at T - 1, pure noise; "leading" is the reference's, one above a multiple of
    a whole stride: 981, 961, .., 1 for 50 of 1000 (diffusers' names, steps_offset=1). Where that
    would start below .9 T, as 501 steps would at t = 501, the stride is not whole.
    """
    if not 1 <= steps <= n_train:
        raise UserError(f"steps={steps} is out of range; choose 1 to {n_train}")
    if spacing == "leading":
        stride = n_train // steps
        if stride * steps < 0.9 * n_train:
            stride = n_train / steps
        return [min(int(i * stride) + 1, n_train - 1) for i in reversed(range(steps))]
    return [round(n_train * (steps - i) / steps) - 1 for i in range(steps)]


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
    model: Denoiser,
    x: Tensor,
    steps: int = 20,
    *,
    eta: float = 0.0,
    spacing: str = "trailing",
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """DDIM from x = x_T (B, C, H, W) to images; eta = 0 deterministic, eta = 1 as noisy as DDPM.

    The last step lands at alpha_bar = 1, the image itself; with "leading" `spacing` at
    alpha_bar[0], as the reference does. `generators`, one a sample, are needed where eta > 0.

    Each step is that of diffusers' DDIMScheduler (tests/test_samplers.py).
    """
    if not 0 <= eta <= 1:
        raise UserError(f"eta={eta} is out of range; choose 0 (deterministic) to 1 (as DDPM)")
    if eta > 0 and (generators is None or len(generators) != len(x)):
        raise ValueError("eta > 0 needs one generator for each sample")
    ab = model.schedule.alpha_bar.tolist()  # Python's floats are float64, quicker than tensors
    times = time_steps(model.schedule.n_steps, steps, spacing)
    levels = [*(ab[t] for t in times[1:]), ab[0] if spacing == "leading" else 1.0]
    for t, ab_next in zip(times, levels, strict=True):
        x_0, eps = model(x, t)
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
def sample_dpmpp(model: Denoiser, x: Tensor, steps: int = 20) -> Tensor:
    """DPM-Solver++(2M) from x = x_T (B, C, H, W) to images: deterministic, second order, one
    evaluation of the network a step; time steps "trailing", the last step is DDIM's."""
    ab = model.schedule.alpha_bar
    times, before = time_steps(model.schedule.n_steps, steps), None
    for t, ab_next in zip(
        times, [*(ab[t] for t in times[1:]), torch.ones_like(ab[0])], strict=True
    ):
        x_0, _ = model(x, t)
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
def sample_ddpm(model: Denoiser, x: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Ancestral sampling with all T steps and the posterior variance (`fixed_small`)."""
    if len(generators) != len(x):
        raise ValueError("sample_ddpm needs one generator for each sample")
    ab = model.schedule.alpha_bar
    for t in reversed(range(model.schedule.n_steps)):
        x_0, _ = model(x, t)
        z = individual_noise(x.shape[1:], generators, x) if t > 0 else None
        x = ddpm_step(x, x_0, ab[t], ab[t - 1] if t > 0 else torch.ones_like(ab[0]), z)
    return x


@torch.no_grad()
def encode(model: Denoiser, x: Tensor, steps: int = 50) -> Tensor:
    """Noises x_T (B, C, H, W) of images x in [-1, 1], of which DDIM with eta = 0 makes them again.

    With eta = 0 a step of DDIM is an Euler step of an ODE (Song et al. 2021, eq. 13 and 14), which
    can be taken from a level n to a noisier level t as well:

        x_0 = (x_n - sqrt(1 - ab_n) eps(x_n, n)) / sqrt(ab_n)
        x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) eps(x_n, n)

    The levels are those of `sample_faces`: alpha_bar[0] for the image, then t = 1, 21, .., 981 for
    50 steps. Decoding takes eps at the other end of each step, so the way back misses the image by
    an error that falls with the number of steps. `model` should not clip.
    """
    ab = model.schedule.alpha_bar
    times = [0, *reversed(time_steps(model.schedule.n_steps, steps, "leading"))]
    for n, t in pairwise(times):
        x_0, eps = model(x, n)
        x = ab[t].sqrt().item() * x_0 + (1 - ab[t]).sqrt().item() * eps
    return x


@torch.no_grad()
def in_chunks(
    sample: Callable[[Sequence[int]], Tensor], n: int, size: int = 50, progress: bool = False
) -> Tensor:
    """Samples 0..n-1, drawn `size` at a time by `sample(indices)`.

    The last chunk is filled up and cut afterwards: every batch has the same shape, so the same
    arithmetic is done for a sample however many are asked for.
    """
    starts = tqdm(range(0, n, size), "sampling", unit="chunk", delay=2, disable=not progress)
    return torch.cat([sample(range(start, start + size)) for start in starts])[:n]
