"""diffusion: every formula against diffusers, against its closed form, or against a known truth."""

import math
from itertools import pairwise

import pytest
import scipy.stats
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from helpers.oracles import DIFFUSERS, SCHEDULES, SHAPE, normal, theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hw2lib import diffusion as d
from hw2lib import samplers
from hw2lib.errors import UserError

# --- schedules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("n", [10, 400, 1000])
def test_schedules_are_those_of_diffusers(name, n):
    ours = d.make_schedule(name, n)
    alpha_bar = DDPMScheduler(n, **DIFFUSERS[name]).alphas_cumprod
    assert ours.n_steps == n and ours.alpha_bar.dtype == torch.float64
    torch.testing.assert_close(ours.alpha_bar.float(), alpha_bar, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("n", [2, 50, 1000])
def test_a_schedule_falls_strictly_between_one_and_zero(name, n):
    ab = d.make_schedule(name, n).alpha_bar
    assert (ab[1:] < ab[:-1]).all() and ab[-1] > 0 and ab[0] < 1


def test_linear_schedule_is_the_reference():
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    assert torch.equal(d.linear_schedule().alpha_bar, torch.cumprod(1 - betas, 0))


def test_the_last_step_of_the_full_schedules_is_noise():
    """With T = 400 and betas up to 2e-2, 13 % of the amplitude would be left: so T = 1000."""
    assert d.linear_schedule().alpha_bar[-1].sqrt() < 0.01
    assert d.cosine_schedule().alpha_bar[-1].sqrt() < 0.01
    assert 0.12 < d.linear_schedule(400).alpha_bar[-1].sqrt() < 0.14


def test_an_unknown_schedule_is_one_line():
    with pytest.raises(UserError, match="'sine' is unknown; choose one of linear, cosine"):
        d.make_schedule("sine")


# --- time steps ----------------------------------------------------------------------------------


def test_reference_time_steps_exactly():
    assert samplers.time_steps(1000, 50, "leading") == list(range(981, 0, -20))


@pytest.mark.parametrize("n", [1, 2, 4, 5, 7, 10, 20, 30, 50, 100, 250, 333, 500, 999])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_time_steps_are_those_of_diffusers(n, spacing):
    offset = 1 if spacing == "leading" else 0
    scheduler = DDIMScheduler(1000, timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(n)
    assert samplers.time_steps(1000, n, spacing) == scheduler.timesteps.tolist()


@given(st.integers(1, 300), st.data())
@settings(deadline=None)
def test_trailing_steps_start_at_noise_and_fall(n_train, data):
    n = data.draw(st.integers(1, n_train))
    times = samplers.time_steps(n_train, n)
    assert len(times) == n and times[0] == n_train - 1 and times[-1] >= 0
    assert all(a > b for a, b in pairwise(times))


@given(st.integers(2, 300), st.data())
@settings(deadline=None)
def test_leading_steps_lie_in_range_and_never_rise(n_train, data):
    times = samplers.time_steps(n_train, data.draw(st.integers(1, n_train)), "leading")
    assert times[-1] == 1 and times[0] <= n_train - 1
    assert all(a >= b for a, b in pairwise(times))


@pytest.mark.parametrize("n", [0, -1, 1001])
def test_too_few_or_many_steps_are_one_line(n):
    with pytest.raises(UserError, match=f"steps={n} is out of range; choose 1 to 1000"):
        samplers.time_steps(1000, n)


# --- eps, v, x_0 ---------------------------------------------------------------------------------

unit = st.floats(1e-3, 1 - 1e-3)


@given(unit, st.sampled_from(d.PREDICTIONS), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_the_exact_target_gives_x0_and_eps_back(alpha_bar, prediction, seed):
    """Whatever the network predicts, the sampler sees the same two images."""
    schedule = d.Schedule(torch.tensor([alpha_bar], dtype=torch.float64))
    x_0 = normal(*SHAPE, seed=seed, dtype=torch.float64)
    eps = normal(*SHAPE, seed=seed + 100, dtype=torch.float64)
    t = torch.zeros(2, dtype=torch.long)
    x_t = d.add_noise(schedule, x_0, eps, t)
    output = d.target(schedule, prediction, x_0, eps, t)
    found = d.to_x0_and_eps(schedule.alpha_bar[0], prediction, x_t, output, clip=False)
    for a, b in zip(found, (x_0, eps), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@given(unit, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_x_t_and_v_are_a_rotation(alpha_bar, seed):
    """|x_t|^2 + |v|^2 = |x_0|^2 + |eps|^2: v-prediction loses nothing at either end."""
    schedule = d.Schedule(torch.tensor([alpha_bar], dtype=torch.float64))
    x_0 = normal(*SHAPE, seed=seed, dtype=torch.float64)
    eps = normal(*SHAPE, seed=seed + 100, dtype=torch.float64)
    t = torch.zeros(2, dtype=torch.long)
    x_t, v = d.add_noise(schedule, x_0, eps, t), d.target(schedule, "v", x_0, eps, t)
    torch.testing.assert_close(x_t**2 + v**2, x_0**2 + eps**2)


@pytest.mark.parametrize("prediction", d.PREDICTIONS)
@pytest.mark.parametrize("alpha_bar", [0.01, 0.5, 0.99])
def test_clipping_changes_x0_and_leaves_eps(alpha_bar, prediction):
    ab = torch.tensor(alpha_bar, dtype=torch.float64)
    x_t, output = 3 * normal(*SHAPE), normal(*SHAPE, seed=1)
    free, eps = d.to_x0_and_eps(ab, prediction, x_t, output, clip=False)
    clipped, same = d.to_x0_and_eps(ab, prediction, x_t, output, clip=True)
    assert free.abs().max() > 1
    assert torch.equal(clipped, free.clamp(-1, 1)) and torch.equal(eps, same)


@pytest.mark.parametrize("name", SCHEDULES)
def test_add_noise_and_v_are_those_of_diffusers(name):
    schedule, t = d.make_schedule(name), torch.tensor([0, 1, 500, 998, 999])
    x_0, eps = normal(5, 3, 4, 4), normal(5, 3, 4, 4, seed=1)
    scheduler = theirs(DDPMScheduler, name, "v", False)
    expected = scheduler.add_noise(x_0, eps, t)
    torch.testing.assert_close(d.add_noise(schedule, x_0, eps, t), expected, rtol=0, atol=1e-5)
    expected = scheduler.get_velocity(x_0, eps, t)
    found = d.target(schedule, "v", x_0, eps, t)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("t", [1, 300, 700])
def test_flow_is_the_velocity_of_the_straight_line_from_image_to_noise(t):
    """x_t / (a + s) lies on the line (1 - u) x_0 + u eps, whose derivative by u is the target."""
    schedule, x_0, eps = d.cosine_schedule(), normal(2, 3, 2, 2), normal(2, 3, 2, 2, seed=1)
    ab = schedule.alpha_bar[t]
    a, s = ab.sqrt().item(), (1 - ab).sqrt().item()
    times = torch.full((2,), t)
    u = s / (a + s)
    on_line = d.add_noise(schedule, x_0, eps, times) / (a + s)
    torch.testing.assert_close(on_line, (1 - u) * x_0 + u * eps)
    flow = d.target(schedule, "flow", x_0, eps, times)
    torch.testing.assert_close(on_line - u * flow, x_0, rtol=0, atol=1e-5)
    torch.testing.assert_close(on_line + (1 - u) * flow, eps, rtol=0, atol=1e-5)


def test_each_image_gets_its_own_time_step():
    schedule, x_0, eps = d.linear_schedule(), normal(4, 3, 2, 2), normal(4, 3, 2, 2, seed=1)
    t = torch.tensor([0, 10, 500, 999])
    together = d.add_noise(schedule, x_0, eps, t)
    for k in range(4):
        alone = d.add_noise(schedule, x_0[k : k + 1], eps[k : k + 1], t[k : k + 1])
        assert torch.equal(together[k : k + 1], alone)


# --- the training loss ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("gamma", [1.0, 5.0, 20.0])
def test_min_snr_is_what_it_says_on_the_error_of_x0(name, gamma):
    """By definition: weight min(SNR, gamma) on |x_0 - estimate|^2, whatever is predicted."""
    schedule = d.make_schedule(name, 50)
    ab = schedule.alpha_bar
    x_0, eps = (normal(50, 3, 2, 2, seed=s, dtype=torch.float64) for s in (0, 1))
    t = torch.arange(50)
    x_t = d.add_noise(schedule, x_0, eps, t)
    for prediction in d.PREDICTIONS:
        wrong = d.target(schedule, prediction, x_0, eps, t) + 0.1
        estimate = torch.cat([
            d.to_x0_and_eps(ab[k], prediction, x_t[k : k + 1], wrong[k : k + 1], False)[0]
            for k in range(50)
        ])  # fmt: skip
        by_definition = (ab / (1 - ab)).clamp(max=gamma) * (estimate - x_0)[:, 0, 0, 0] ** 2
        weight = d.loss_weight(schedule, prediction, gamma)
        torch.testing.assert_close(weight * 0.1**2, by_definition)


@pytest.mark.parametrize("name", SCHEDULES)
def test_min_snr_closed_form(name):
    schedule = d.make_schedule(name)
    snr = [a / (1 - a) for a in schedule.alpha_bar.tolist()]
    of = {
        "eps": [min(s, 5) / s for s in snr],
        "v": [min(s, 5) / (s + 1) for s in snr],
        "flow": [min(s, 5) / (1 + math.sqrt(s)) ** 2 for s in snr],
    }
    for prediction, expected in of.items():
        weight = d.loss_weight(schedule, prediction, 5.0)
        torch.testing.assert_close(weight, torch.tensor(expected, dtype=torch.float64))
        assert weight.max() <= 1
    assert torch.equal(d.loss_weight(schedule, "v", 0), torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 2.0), (2.4, 2.4), (-1.0, 1.0)])
def test_log_snr_of_the_drawn_times_is_normal(name, mean, std):
    """Against the normal distribution itself, cut to the schedule's range."""
    schedule = d.make_schedule(name)
    log_snr = torch.logit(schedule.alpha_bar).numpy()
    cdf = d.time_density(schedule, mean, std).flip(0).cumsum(0).numpy()  # over rising log SNR
    normal_cdf = scipy.stats.truncnorm(
        (log_snr[-1] - mean) / std, (log_snr[0] - mean) / std, loc=mean, scale=std
    ).cdf(log_snr[::-1])
    assert cdf[-1] == pytest.approx(1)
    assert abs(cdf - normal_cdf).max() < 0.01


def test_without_a_deviation_all_times_are_alike():
    density = d.time_density(d.linear_schedule(8), 3.0, 0.0)
    assert density.tolist() == [1 / 8] * 8


@pytest.mark.parametrize("b", [1, 7, 64])
def test_times_are_drawn_one_from_each_equally_probable_part(b):
    density = d.time_density(d.cosine_schedule(), 0.0, 2.0)
    t = d.draw_times(density, b, torch.Generator().manual_seed(0)).sort().values
    upper = density.cumsum(0)[t]  # the probability up to and with t covers the part's lower end
    lower = upper - density[t]
    part = torch.arange(b) / b
    assert (upper > part).all() and (lower < part + 1 / b).all()


def test_times_are_drawn_as_often_as_the_density_says():
    density = torch.tensor([0.5, 0.0, 0.25, 0.25], dtype=torch.float64)
    t = d.draw_times(density, 4000, torch.Generator().manual_seed(0))
    assert torch.bincount(t, minlength=4).tolist() == [2000, 0, 1000, 1000]
    assert not torch.equal(t, t.sort().values)


@pytest.mark.parametrize("prediction", d.PREDICTIONS)
@pytest.mark.parametrize("min_snr", [0.0, 5.0])
@pytest.mark.parametrize("log_snr", [(0.0, 0.0), (2.4, 2.4)])
def test_the_loss_of_a_perfect_network_is_zero(prediction, min_snr, log_snr):
    """A network that knows the one image of the data set is told (x_t, t) that agree."""
    schedule, x_0 = d.cosine_schedule(), normal(8, 3, 4, 4).clamp(-1, 1)

    def perfect(x_t, t):
        ab = schedule.alpha_bar[t][:, None, None, None]
        eps = (x_t - ab.sqrt() * x_0) / (1 - ab).sqrt()
        return d.target(schedule, prediction, x_0.double(), eps, t)

    g = torch.Generator().manual_seed(0)
    assert d.diffusion_loss(perfect, x_0, schedule, g, prediction, min_snr, log_snr) < 1e-8


def test_the_loss_of_predicting_nothing_is_the_targets_power():
    """Zero for eps: the mean of eps^2, one; so the loss is an average and not a sum."""
    g = torch.Generator().manual_seed(0)
    x_0 = torch.zeros(64, 3, 16, 16)
    loss = d.diffusion_loss(lambda x, t: 0 * x, x_0, d.linear_schedule(), g, "eps", 0)
    assert abs(loss - 1) < 0.02


def test_time_steps_of_a_batch_cover_the_range_in_any_order():
    """One t in each of B equal parts, and no image tied to a part."""
    seen = []
    g = torch.Generator().manual_seed(0)

    def predict(x, t):
        seen.append(t)
        return 0 * x

    for _ in range(20):
        d.diffusion_loss(predict, torch.zeros(10, 3, 2, 2), d.linear_schedule(), g)
    t = torch.stack(seen)
    assert torch.equal((t // 100).sort(1).values, torch.arange(10).expand(20, 10))
    assert len({tuple(row) for row in (t // 100).tolist()}) == 20
    assert 400 < t.double().mean() < 600 and len(t.unique()) > 150


def test_the_loss_depends_on_its_generator_alone():
    x_0, schedule = normal(4, 3, 4, 4), d.linear_schedule()
    values = []
    for seed, other in ((7, 1), (7, 2), (8, 1)):
        torch.manual_seed(other)
        g = torch.Generator().manual_seed(seed)
        values.append(d.diffusion_loss(lambda x, t: 0 * x, x_0, schedule, g).item())
    assert values[0] == values[1] != values[2]


def test_an_unknown_prediction_is_one_line():
    g = torch.Generator()
    line = "prediction 'x0' is unknown; choose one of eps, v"
    schedule, x = d.linear_schedule(10), torch.zeros(1, 3, 2, 2)
    with pytest.raises(UserError, match=line):
        d.diffusion_loss(lambda x, t: x, x, schedule, g, "x0")
    with pytest.raises(UserError, match=line):
        samplers.Denoiser(lambda x, t: x, schedule, "x0")


# --- guidance ------------------------------------------------------------------------------------


class Label(nn.Module):
    """A network whose output tells label, time and x apart."""

    def forward(self, x, t, label):
        return torch.sin(x) + 0.1 * t[:, None, None, None] + label[:, None, None, None] ** 2


@pytest.mark.parametrize("w", [0, 0.0, -0.0])
def test_no_guidance_is_the_conditional_model_bit_for_bit(w):
    x, t, labels = normal(3, 3, 4, 4), torch.tensor([5, 5, 5]), torch.tensor([1, 2, 3])
    assert torch.equal(d.guided(Label(), labels, w, 10)(x, t), Label()(x, t, labels))


@pytest.mark.parametrize("w", [-1.0, 0.5, 1.0, 2.0, 4.0])
def test_guidance_is_its_formula(w):
    x, t, labels = normal(3, 3, 4, 4), torch.tensor([5, 6, 7]), torch.tensor([1, 2, 3])
    null = torch.full_like(labels, 10)
    expected = (1 + w) * Label()(x, t, labels) - w * Label()(x, t, null)
    torch.testing.assert_close(d.guided(Label(), labels, w, 10)(x, t), expected)


def test_full_negative_guidance_is_the_unconditional_model():
    x, t, labels = normal(2, 3, 4, 4), torch.tensor([5, 6]), torch.tensor([1, 2])
    expected = Label()(x, t, torch.tensor([10, 10]))
    torch.testing.assert_close(d.guided(Label(), labels, -1.0, 10)(x, t), expected)


def worse(x, t, label):
    """A worse version of `Label`, without its x."""
    return 0.1 * t[:, None, None, None] + label[:, None, None, None] ** 2


@pytest.mark.parametrize("w", [0, 0.5, 2.0])
def test_autoguidance_steers_away_from_the_worse_model_with_the_same_label(w):
    x, t, labels = normal(3, 3, 4, 4), torch.tensor([5, 6, 7]), torch.tensor([1, 2, 3])
    found = d.guided(Label(), labels, w, worse)(x, t)
    torch.testing.assert_close(found, Label()(x, t, labels) + w * torch.sin(x))
    outside = d.guided(Label(), labels, w, worse, (8, 9))(x, t)
    assert torch.equal(outside, Label()(x, t, labels))


@pytest.mark.parametrize(("t", "inside"), [(2, False), (3, True), (5, True), (6, False)])
def test_guidance_acts_in_its_interval_alone(t, inside):
    x, labels = normal(2, 3, 4, 4), torch.tensor([1, 2])
    times = torch.full((2,), t)
    found = d.guided(Label(), labels, 2.0, 10, (3, 5))(x, times)
    everywhere = d.guided(Label(), labels, 2.0, 10)(x, times)
    assert torch.equal(found, everywhere if inside else Label()(x, times, labels))


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_labels_are_dropped_one_by_one_at_the_rate_asked_for(p):
    labels = torch.arange(20_000) % 10
    dropped = d.drop_labels(labels, p, 10, torch.Generator().manual_seed(0))
    gone = dropped == 10
    assert dropped.dtype == labels.dtype and torch.equal(dropped[~gone], labels[~gone])
    assert abs(gone.double().mean() - p) <= 5 * math.sqrt(p * (1 - p) / 20_000)
    for digit in range(10):  # no digit more than another
        share = gone[labels == digit].double().mean()
        assert abs(share - p) <= 5 * math.sqrt(p * (1 - p) / 2_000)
    pairs = (gone[1:] & gone[:-1]).double().mean()  # neighbours are dropped independently
    assert abs(pairs - p * p) <= 5 * math.sqrt(p * p * (1 - p * p) / 20_000) + 1e-12


@pytest.mark.parametrize(
    "where",
    [
        "cpu",
        pytest.param(
            "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
        ),
    ],
)
def test_the_generator_alone_fixes_the_noise_wherever_it_is_drawn(where):
    x = torch.zeros(64, 3, 8, 8, device=where)
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    first, second = (d.draw_noise(x, generator) for _ in range(2))
    generator.set_state(state)
    assert torch.equal(d.draw_noise(x, generator), first) and first.device == x.device
    assert not torch.equal(first, second)
    assert abs(first.mean()) < 0.05 and abs(first.std() - 1) < 0.05
