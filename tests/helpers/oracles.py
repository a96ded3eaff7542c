"""diffusers' schedulers, set as ours are."""

import torch

SHAPE = (2, 3, 4, 4)
SCHEDULES = ["linear", "cosine"]
DIFFUSERS = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 2e-2},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}
NAMES = {"eps": "epsilon", "v": "v_prediction"}


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def theirs(scheduler, schedule: str, prediction: str, clip: bool, n: int = 1000, **more):
    """A scheduler of diffusers; its products in float64, since float32 sums cost 1e-4 at t = T."""
    scheduler = scheduler(
        n,
        prediction_type=NAMES[prediction],
        clip_sample=clip,
        **DIFFUSERS[schedule],
        **more,
    )
    betas = scheduler.betas.double()
    scheduler.alphas, scheduler.betas = 1 - betas, betas
    scheduler.alphas_cumprod = torch.cumprod(1 - betas, 0)
    scheduler.one = torch.ones((), dtype=torch.float64)
    if scheduler.config.get("set_alpha_to_one") is False:
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler
