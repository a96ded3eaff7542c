"""Back from a face to its noise: the sampler's differential equation run the other way.

x_T = encode(model, x_0, schedule, n_steps=50)   # then sample_faces(model, header, x_T) ~ x_0
"""

from __future__ import annotations

import torch
from torch import Tensor

from hw2lib.diffusion import Predict, Schedule, to_x0_and_eps
from hw2lib.samplers import time_steps


@torch.no_grad()
def encode(
    predict: Predict, x: Tensor, schedule: Schedule, n_steps: int = 50, *, prediction: str = "v"
) -> Tensor:
    """Noises x_T (B, C, H, W) of images x in [-1, 1], of which DDIM with eta = 0 makes them again.

    With eta = 0 a step of DDIM is an Euler step of an ODE (Song et al. 2021, eq. 13 and 14), which
    can be taken from a level n to a noisier level t as well:

        x_0 = (x_n - sqrt(1 - ab_n) eps(x_n, n)) / sqrt(ab_n)
        x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) eps(x_n, n)

    The levels are those of `sample_faces`: alpha_bar[0] for the image, then t = 1, 21, .., 981 for
    50 steps. Decoding takes eps at the other end of each step, so the way back misses the image by
    an error that falls with the number of steps. x_0 is not clipped.
    """
    ab = schedule.alpha_bar
    times = [0, *reversed(time_steps(schedule.n_steps, n_steps, "leading"))]
    for n, t in zip(times, times[1:], strict=False):
        output = predict(x, torch.full((len(x),), n, device=x.device))
        x_0, eps = to_x0_and_eps(ab[n], prediction, x, output, clip=False)
        x = ab[t].sqrt().item() * x_0 + (1 - ab[t]).sqrt().item() * eps
    return x
