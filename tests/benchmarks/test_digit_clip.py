"""digit_clip: a noise that follows from the clipped estimate, and samples that are right."""

import digit_clip
import torch

from hw2lib.diffusion import cosine_schedule
from hw2lib.samplers import Denoiser


def test_noise_and_clipped_estimate_add_up_to_the_noisy_image():
    schedule, x = cosine_schedule(), 3 * torch.ones(2, 3, 4, 4)
    of = (lambda x, t: torch.zeros_like(x)), schedule, "v"
    for t in (100, 500, 900):
        ab = schedule.alpha_bar[t]
        x_0, eps = digit_clip.Follows(*of)(x, t)
        total = ab.sqrt() * x_0 + (1 - ab).sqrt() * eps
        torch.testing.assert_close(total.float(), x)
        assert x_0.max() <= 1
    x_0, eps = Denoiser(*of)(x, 100)  # clipped, and the noise kept
    ab = schedule.alpha_bar[100]
    assert ((ab.sqrt() * x_0 + (1 - ab).sqrt() * eps) < 2.5).all()


def test_without_a_clip_nothing_changes():
    schedule, x = cosine_schedule(), torch.full((1, 3, 4, 4), 0.1)
    of = (lambda x, t: torch.zeros_like(x)), schedule, "v"
    for kept, follows in zip(Denoiser(*of)(x, 500), digit_clip.Follows(*of)(x, 500), strict=True):
        torch.testing.assert_close(kept, follows)


def test_every_digit_is_there_equally_often():
    assert digit_clip.LABELS.bincount().tolist() == [25] * 10
