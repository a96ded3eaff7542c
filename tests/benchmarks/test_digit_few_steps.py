"""Few steps: what a student learns is the step of DDIM that lands where the teacher went."""

import digit_few_steps as few
import torch
from torch import nn

from hw2lib.diffusion import cosine_schedule, to_x0_and_eps
from hw2lib.samplers import ddim_step, time_steps

SCHEDULE = cosine_schedule(1000)


class Says(nn.Module):
    """A network that answers with a fixed velocity, and keeps the times it was asked for."""

    def __init__(self, v):
        super().__init__()
        self.v = v

    def forward(self, x, t, labels):
        self.times = t.tolist()
        return self.v


def test_the_velocity_that_is_learnt_makes_ddim_land_at_the_next_state():
    g, steps = torch.Generator().manual_seed(0), 4
    times, k = time_steps(1000, steps), torch.arange(steps)
    x, v = (torch.randn(steps, 3, 4, 4, generator=g) for _ in range(2))
    ab = SCHEDULE.alpha_bar.tolist()
    levels = [*(ab[t] for t in times[1:]), 1.0]
    following = torch.empty_like(x)
    for i, t in enumerate(times):
        x_0, eps = to_x0_and_eps(ab[t], "v", x[i], v[i], clip=False)
        following[i] = ddim_step(x[i], x_0, eps, ab[t], levels[i], 0, None)
    network = Says(v)
    learner = few.Path(network, few.angles(SCHEDULE, steps), times)
    assert learner(x, following, k, k).item() < 1e-9
    assert learner(x, following + 0.1, k, k).item() > 1e-3
    assert network.times == times


def test_the_states_of_8_steps_hold_those_of_4_and_2():
    times = time_steps(1000, 8)
    for steps in few.EVALUATIONS:
        assert times[:: 8 // steps] == time_steps(1000, steps)
    assert set(times) <= set(time_steps(1000, few.TEACHER.steps))


def test_angles_fall_to_the_image():
    phi = few.angles(SCHEDULE, 8)
    assert len(phi) == 9 and phi[-1] == 0 and (phi.diff() < 0).all() and phi[0] < torch.pi / 2
