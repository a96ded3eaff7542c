"""slerp and lerp: end points, norms, angles, and the theory behind the report's curve."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hw2lib.interpolation import angle, lerp, path, rescaled, slerp


def noises(seed: int = 0, shape=(1, 3, 64, 64), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))


@pytest.mark.parametrize("way", [lerp, slerp])
def test_ends_are_exact_and_type_stays(way):
    a, b = noises()
    assert torch.equal(way(a, b, 0.0), a)
    assert torch.equal(way(a, b, 1.0), b)
    assert way(a, b, 0.3).dtype == torch.float32
    assert way(a, b, 0.3).shape == a.shape


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(2, 30))
def test_slerp_keeps_the_norm_and_divides_the_angle(seed, alpha, d):
    a, b = (x / x.norm() for x in noises(seed, (d,), torch.float64))
    point = slerp(a, b, alpha)
    theta = angle(a, b)
    if 1e-3 < theta < math.pi - 1e-3:
        assert float(point.norm()) == pytest.approx(1, abs=1e-9)
        assert angle(a, point) == pytest.approx(alpha * theta, abs=1e-7)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_way_back_is_the_same_way(seed, alpha):
    a, b = noises(seed, (12,), torch.float64)
    for way in (lerp, slerp):
        torch.testing.assert_close(way(a, b, alpha), way(b, a, 1 - alpha))


def test_right_angle_half_way():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    torch.testing.assert_close(slerp(a, b, 0.5), torch.full((2,), math.sqrt(0.5)))
    torch.testing.assert_close(slerp(a, b, 1 / 3), torch.tensor([math.sqrt(0.75), 0.5]))


def test_theory_of_the_norm_curve():
    a, b = noises()
    size = float(a.norm())
    for alpha in (0.1, 0.3, 0.5, 0.9):
        theory = math.sqrt((1 - alpha) ** 2 + alpha**2)
        assert float(lerp(a, b, alpha).norm()) / size == pytest.approx(theory, abs=0.02)
        assert float(slerp(a, b, alpha).norm()) / size == pytest.approx(1, abs=0.02)


def test_parallel_opposite_and_zero_fall_back():
    a, _ = noises(1, (8,))
    for b in (a, 2 * a, -a, torch.zeros(8)):
        torch.testing.assert_close(slerp(a, b, 0.25), lerp(a, b, 0.25))
        assert slerp(a, b, 0.5).isfinite().all()


def test_small_angles_are_exact():
    a, b = torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 1e-5]).double()
    assert angle(a, b) == pytest.approx(1e-5, rel=1e-9)
    assert angle(a, -a) == pytest.approx(math.pi)
    assert angle(a, 0 * a) == 0


def test_half_precision_is_computed_in_double():
    a, b = noises(2, (1, 3, 64, 64), torch.float16)
    expected = slerp(a.double(), b.double(), 0.4)
    torch.testing.assert_close(slerp(a, b, 0.4).double(), expected, atol=2e-3, rtol=1e-3)


def test_path_and_bad_input():
    a, b = noises(3, (3, 4, 4))
    alphas = [i / 10 for i in range(11)]
    assert path(a, b, alphas).shape == (11, 3, 4, 4)
    assert torch.equal(path(a, b, alphas, "lerp")[5], lerp(a, b, 0.5))
    with pytest.raises(ValueError, match=r"alpha 1\.1"):
        slerp(a, b, 1.1)
    with pytest.raises(ValueError, match="differ"):
        lerp(a, b[:1], 0.5)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_rescaled_goes_where_lerp_goes_as_far_out_as_slerp(seed, alpha):
    a, b = noises(seed, (12,), torch.float64)
    point, straight, arc = rescaled(a, b, alpha), lerp(a, b, alpha), slerp(a, b, alpha)
    assert float(point.norm()) == pytest.approx(float(arc.norm()))
    assert angle(point, straight) == pytest.approx(0, abs=1e-7)


def test_rescaled_between_opposites_is_finite():
    a, _ = noises(1, (8,))
    assert not rescaled(a, -a, 0.5).any() and torch.equal(rescaled(a, -a, 0.0), a)
