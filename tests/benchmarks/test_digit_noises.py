"""digit_noises: what tells independent samples from others."""

import digit_noises
import numpy as np
import pytest

SHAPE = (20, 10, 100)  # seeds, digits, samples


@pytest.fixture
def right():
    return np.random.default_rng(0).random(SHAPE) < 0.9


def test_independent_samples_vary_as_their_number_lets_them(right):
    assert digit_noises.chi_square(right) == pytest.approx(19, abs=2 * (2 * 19) ** 0.5)
    assert np.abs(digit_noises.neighbours(right)).max() < 4 / 1000**0.5


def test_seeds_that_share_their_luck_vary_more(right):
    right[::2, :, :10] = False
    assert digit_noises.chi_square(right) > 100


def test_neighbours_that_are_alike_are_found(right):
    right[..., 1::2] = right[..., ::2]
    assert np.mean(digit_noises.neighbours(right)) == pytest.approx(0.5, abs=0.1)


def test_records_of_independence_are_those_of_the_docstring(right):
    records = digit_noises.independence(right, 1.25)
    assert [r["score"] for r in records] == ["chi_square", "chance", "neighbours"]
    assert 0.05 < records[1]["mean"] < 1 and len(records[2]["values"]) == SHAPE[0]
    assert all(f"    samples  {r['score']}" in digit_noises.__doc__ for r in records)
