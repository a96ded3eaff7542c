"""The samplers of diffusion: every step against diffusers, the whole against known truths."""

from itertools import product

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from diffusers.schedulers import scheduling_ddpm
from helpers.oracles import DIFFUSERS, NAMES, SCHEDULES, SHAPE, normal, theirs
from torch import nn

from hw2lib import diffusion as d
from hw2lib import samplers
from hw2lib.errors import UserError
from hw2lib.samplers import Denoiser

REFERENCE = {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False}
TRAILING = {"timestep_spacing": "trailing", "set_alpha_to_one": True}


def network(x, t):
    """Some smooth function of both arguments, about as large as noise."""
    return 1.5 * torch.sin(x + 0.01 * t[:, None, None, None]) + 0.2 * x


def record(steps):
    return lambda t, x, x_0: steps.append((t, x.clone(), x_0.clone()))


# --- each step against diffusers -----------------------------------------------------------------


@pytest.mark.parametrize("options", [REFERENCE, TRAILING], ids=["reference", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("prediction", list(NAMES))
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [5, 50])
def test_every_ddim_step_is_that_of_diffusers(options, eta, prediction, clip, schedule, n):
    steps = []
    scheduler = theirs(DDIMScheduler, schedule, prediction, clip, **options)
    scheduler.set_timesteps(n)
    model = Denoiser(network, d.make_schedule(schedule), prediction, clip, record(steps))
    end = samplers.sample_ddim(
        model,
        normal(*SHAPE, dtype=torch.float64),
        n,
        eta=eta,
        spacing=options["timestep_spacing"],
        generators=samplers.sample_generators(3, [0, 1]),
    )
    assert [t for t, _, _ in steps] == scheduler.timesteps.tolist()
    states = [x for _, x, _ in steps] + [end]
    again = samplers.sample_generators(3, [0, 1])
    for (t, x, x_0), after in zip(steps, states[1:], strict=True):
        z = samplers.individual_noise(SHAPE[1:], again, x)
        output = network(x, torch.full((2,), t))
        step = scheduler.step(
            output, t, x, eta, use_clipped_model_output=False, variance_noise=z if eta else None
        )
        # without the clip cosine's first estimate of x_0 is thousands: the scale counts there
        scale = max(1, x_0.abs().max().item())
        torch.testing.assert_close(x_0, step.pred_original_sample, rtol=0, atol=1e-5 * scale)
        torch.testing.assert_close(after, step.prev_sample, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("prediction", "clip", "schedule", "n"),
    [*product(NAMES, [True, False], SCHEDULES, [200]), ("eps", True, "linear", 1000)],
)
def test_every_ddpm_step_is_that_of_diffusers(monkeypatch, prediction, clip, schedule, n):
    options = {"variance_type": "fixed_small", "n": n}
    scheduler, steps = theirs(DDPMScheduler, schedule, prediction, clip, **options), []
    model = Denoiser(network, d.make_schedule(schedule, n), prediction, clip, record(steps))
    x = normal(*SHAPE, dtype=torch.float64)
    end = samplers.sample_ddpm(model, x, samplers.sample_generators(3, [0, 1]))
    again = samplers.sample_generators(3, [0, 1])
    assert [t for t, _, _ in steps] == list(range(n - 1, -1, -1))
    states = [x for _, x, _ in steps] + [end]
    for (t, x, x_0), after in zip(steps, states[1:], strict=True):
        if t > 0:
            z = samplers.individual_noise(SHAPE[1:], again, x)
            monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, z=z, **__: z)
        step = scheduler.step(network(x, torch.full((2,), t)), t, x)
        scale = max(1, x_0.abs().max().item(), x.abs().max().item())
        assert (x_0 - step.pred_original_sample).abs().max() < 1e-5 * scale
        assert (after - step.prev_sample).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("prediction", list(NAMES))
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [1, 2, 5, 20, 50])
def test_dpm_solver_is_that_of_diffusers(prediction, schedule, n):
    """The whole path: each of their steps needs the one before."""
    scheduler = DPMSolverMultistepScheduler(
        1000,
        prediction_type=NAMES[prediction],
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        **DIFFUSERS[schedule],
    )
    scheduler.alphas_cumprod = torch.cumprod(1 - scheduler.betas.double(), 0)
    scheduler.set_timesteps(n)
    # theirs keeps the levels in float32, which at t = 999 is not enough for cosine
    ab, times = d.make_schedule(schedule).alpha_bar, samplers.time_steps(1000, n)
    scheduler.sigmas = torch.cat([((1 - ab[times]) / ab[times]).sqrt(), torch.zeros(1).double()])
    steps, x = [], normal(*SHAPE, dtype=torch.float64)
    model = Denoiser(network, d.make_schedule(schedule), prediction, False, record(steps))
    end = samplers.sample_dpmpp(model, x, n)
    assert [t for t, _, _ in steps] == scheduler.timesteps.tolist()
    for (t, state, _), after in zip(steps, [x for _, x, _ in steps[1:]] + [end], strict=True):
        found = scheduler.step(network(state, torch.full((2,), t)), t, state).prev_sample
        scale = max(1, after.abs().max().item())
        torch.testing.assert_close(after, found, rtol=0, atol=1e-5 * scale)


def test_dpm_solver_of_one_step_is_ddim():
    x, model = normal(*SHAPE), Denoiser(network, d.cosine_schedule())
    both = [f(model, x, 1) for f in (samplers.sample_ddim, samplers.sample_dpmpp)]
    torch.testing.assert_close(*both)


def test_dpm_solver_comes_closer_to_the_ode_than_ddim():
    """Data N(.3, .5^2): the exact denoiser is linear and the ODE's end is .3 + .5 x_T."""
    schedule, x = d.cosine_schedule(), normal(*SHAPE, dtype=torch.float64)

    def exact(x_t, t):
        ab = schedule.alpha_bar[t][:, None, None, None]
        x_0 = 0.3 + 0.25 * ab.sqrt() / (0.25 * ab + 1 - ab) * (x_t - 0.3 * ab.sqrt())
        return (x_t - ab.sqrt() * x_0) / (1 - ab).sqrt()

    model = Denoiser(exact, schedule, "eps", clip=False)
    error = {
        f: (f(model, x, 20) - 0.3 - 0.5 * x).abs().max()
        for f in (samplers.sample_ddim, samplers.sample_dpmpp)
    }
    assert error[samplers.sample_dpmpp] < error[samplers.sample_ddim] / 3


@pytest.mark.parametrize("prediction", d.PREDICTIONS)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [1, 20, 200])
def test_ddim_at_eta_one_with_all_steps_is_ddpm(prediction, schedule, n):
    """The same noise, step by step: eta = 1 is DDPM with the posterior variance (fixed_small).

    Without the clip, after which the reference does not compute eps anew.
    """
    schedule, x = d.make_schedule(schedule, n), normal(*SHAPE, dtype=torch.float64)
    steps = {"ddim": [], "ddpm": []}
    one, other = (Denoiser(network, schedule, prediction, False, record(s)) for s in steps.values())
    g = samplers.sample_generators(0, [0, 1])
    ddim = samplers.sample_ddim(one, x, n, eta=1.0, generators=g)
    ddpm = samplers.sample_ddpm(other, x, samplers.sample_generators(0, [0, 1]))
    for (t, a, _), (same_t, b, _) in zip(*steps.values(), strict=True):
        assert t == same_t
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ddim, ddpm, rtol=1e-6, atol=1e-6)


def test_one_ddim_step_keeps_the_noise_level():
    """If x_t has the variance 1 - ab_t around sqrt(ab_t) x_0, x_n has 1 - ab_n, for any eta."""
    ab = d.linear_schedule().alpha_bar
    x_0, eps, z = torch.zeros(1, 3, 64, 64), normal(1, 3, 64, 64), normal(1, 3, 64, 64, seed=1)
    for eta in (0.0, 0.5, 1.0):
        x = samplers.ddim_step(None, x_0, eps, ab[600], ab[500], eta, z)
        assert abs(x.var() / (1 - ab[500]) - 1) < 0.05


# --- the exact optimal denoiser of a Gaussian ----------------------------------------------------

MEAN, DEVIATION = 0.3, 0.5


def optimal(schedule, prediction):
    """The conditional expectation for data N(MEAN, DEVIATION^2): what training aims at."""

    def predict(x, t):
        ab = schedule.alpha_bar[t[0]].item()
        a, variance = ab**0.5, ab * DEVIATION**2 + 1 - ab
        eps = (1 - ab) ** 0.5 * (x - a * MEAN) / variance
        x_0 = MEAN + a * DEVIATION**2 * (x - a * MEAN) / variance
        v = a * eps - (1 - ab) ** 0.5 * x_0
        return {"eps": eps, "v": v, "flow": eps - x_0}[prediction]

    return predict


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", d.PREDICTIONS)
@pytest.mark.parametrize(("eta", "n"), [(0.0, 100), (0.5, 100), (1.0, 200), ("ddpm", 200)])
def test_the_optimal_denoiser_samples_its_distribution(schedule, prediction, eta, n):
    """The sampler adds no bias of its own: data N(.3, .5^2) come out as N(.3, .5^2)."""
    s = d.make_schedule(schedule, 1000) if eta != "ddpm" else d.cosine_schedule(n)
    x, g = normal(4, 3, 32, 32), samplers.sample_generators(0, range(4))
    model = Denoiser(optimal(s, prediction), s, prediction, clip=False)
    if eta == "ddpm":
        y = samplers.sample_ddpm(model, x, g)
    else:
        y = samplers.sample_ddim(model, x, n, eta=eta, generators=g)
    assert abs(y.mean() - MEAN) < 0.02
    assert abs(y.std() - DEVIATION) < 0.02
    kurtosis = ((y - y.mean()) ** 4).mean() / y.var() ** 2
    assert abs(kurtosis - 3) < 0.2


def test_without_noise_ddim_is_one_affine_map_of_the_noise():
    """At eta = 0 equal noise gives equal images, and here x = .3 + .5 x_T."""
    s, x = d.linear_schedule(), normal(1, 3, 8, 8, dtype=torch.float64)
    y = samplers.sample_ddim(Denoiser(optimal(s, "v"), s, clip=False), x, 1000)
    torch.testing.assert_close(y, MEAN + DEVIATION * x, rtol=0, atol=0.02)


# --- a sample depends on its own seed ------------------------------------------------------------


class Small(nn.Module):
    """A convolution as a stand-in for a UNet."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x, t):
        return self.conv(x)


def draw(indices, eta=1.0, seed=5):
    g = samplers.sample_generators(seed, indices)
    x = samplers.individual_noise((3, 8, 8), g)
    return samplers.sample_ddim(Denoiser(Small(), d.linear_schedule()), x, 5, eta=eta, generators=g)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("n", [1, 2, 9, 11])
def test_a_sample_does_not_depend_on_how_many_are_drawn(eta, size, n):
    """Bit for bit: the last chunk is filled up, so that every batch has the same shape."""
    many = samplers.in_chunks(lambda i: draw(i, eta), 24, size)
    few = samplers.in_chunks(lambda i: draw(i, eta), n, size)
    assert few.shape == (n, 3, 8, 8) and torch.equal(few, many[:n])


def test_a_sample_does_not_depend_on_its_neighbours():
    a, b = draw([0, 1, 2]), draw([7, 1, 9])
    assert torch.equal(a[1], b[1]) and not torch.equal(a[0], b[0])


def test_seed_and_index_both_count_and_the_same_give_the_same():
    draws = [samplers.individual_noise((3, 4, 4), samplers.sample_generators(s, [k]))
             for s, k in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]]  # fmt: skip
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])
    again = samplers.individual_noise((3, 4, 4), samplers.sample_generators(0, [0]))
    assert torch.equal(again, draws[0])


@pytest.mark.parametrize("seed", range(10))
def test_the_noise_that_eta_adds_is_not_the_noise_file_itself(seed):
    """Noise files are what small seeds draw first; adding one again would not be noise."""
    file = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    for mine in range(4):
        z = samplers.individual_noise((3, 64, 64), samplers.sample_generators(mine, range(4)))
        cosine = torch.cosine_similarity(z.flatten(1), file.flatten(1))
        assert cosine.abs().max() < 0.05


def test_individual_noise_takes_type_and_place_of_like():
    like = torch.zeros(1, dtype=torch.float64)
    z = samplers.individual_noise((3, 2, 2), samplers.sample_generators(0, [0]), like)
    assert z.dtype == torch.float64
    assert torch.equal(
        z.float(), samplers.individual_noise((3, 2, 2), samplers.sample_generators(0, [0]))
    )


def test_sampling_leaves_its_input_and_gradients_alone():
    x = normal(*SHAPE)
    before = x.clone()
    y = samplers.sample_ddim(Denoiser(Small(), d.linear_schedule()), x, 3)
    assert torch.equal(x, before) and not y.requires_grad


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_an_eta_out_of_range_is_one_line(eta):
    with pytest.raises(UserError, match=f"eta={eta} is out of range; choose 0 .* to 1"):
        samplers.sample_ddim(Denoiser(network, d.linear_schedule()), normal(*SHAPE), eta=eta)


@pytest.mark.parametrize("n", [0, 1001])
def test_steps_out_of_range_are_one_line(n):
    with pytest.raises(UserError, match=f"steps={n} is out of range; choose 1 to 1000"):
        samplers.sample_ddim(Denoiser(network, d.linear_schedule()), normal(*SHAPE), n)


@pytest.mark.parametrize("generators", [None, [torch.Generator()]])
def test_noise_needs_a_generator_for_each_sample(generators):
    """One generator for two samples would give both the same noise, silently."""
    model = Denoiser(network, d.linear_schedule(10))
    with pytest.raises(ValueError, match="one generator for each sample"):
        samplers.sample_ddim(model, normal(*SHAPE), 5, eta=1, generators=generators)
    with pytest.raises(ValueError, match="one generator for each sample"):
        samplers.sample_ddpm(model, normal(*SHAPE), generators or [])


@pytest.mark.parametrize("steps", [1, 7, 50, 333, 334, 501, 999, 1000])
def test_leading_steps_begin_near_T_and_have_whole_strides_where_they_can(steps):
    """501 steps whose stride is cut to a whole number would begin at t = 501."""
    times = samplers.time_steps(1000, steps, "leading")
    assert len(times) == steps and times[-1] == 1
    assert times == sorted(times, reverse=True) and times[0] < 1000
    assert times[0] > 900 - 1000 / steps
    whole = [min(i * (1000 // steps) + 1, 999) for i in reversed(range(steps))]
    assert (times == whole) == (steps not in (334, 501))
