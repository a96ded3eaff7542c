"""Guidance: away from the null label or a worse model, in an interval, all of it or a part."""

import pytest
import torch
from helpers.oracles import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hw2lib import diffusion as d


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


@pytest.mark.parametrize("away", [10, worse])
def test_guidance_of_a_part_adds_that_part_of_the_difference(away):
    x, t, labels = normal(3, 3, 4, 4), torch.tensor([5, 5, 5]), torch.tensor([1, 2, 3])
    plain, doubled = (d.guided(Label(), labels, w, away)(x, t) for w in (0.0, 1.0))
    found = d.guided(Label(), labels, 0.7, away, part=d.shape_of)(x, t)
    torch.testing.assert_close(found, plain + 0.7 * d.shape_of(doubled - plain))
    outside = d.guided(Label(), labels, 0.7, away, (8, 9), part=d.shape_of)(x, t)
    assert torch.equal(outside, plain)


@given(seed=st.integers(0, 2**31), shift=st.floats(-3, 3))
def test_a_shape_has_neither_colour_nor_mean_and_is_a_projection(seed, shift):
    x = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(seed))
    shape = d.shape_of(x)
    assert torch.equal(shape[:, 0], shape[:, 1]) and torch.equal(shape[:, 0], shape[:, 2])
    torch.testing.assert_close(shape.mean((1, 2, 3)), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(d.shape_of(shape), shape)
    colour = torch.tensor([1.0, -2.0, 0.5])[:, None, None] * shift
    torch.testing.assert_close(d.shape_of(x + colour), shape, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((shape * (x - shape)).sum(), torch.zeros(()), atol=1e-4, rtol=0)
