"""digit_parts: the parts of guidance, that they are drawn as the library draws, and the choice."""

import digit_parts as parts
import pytest
import torch

from hw2lib.datasets.digits import to_float
from hw2lib.experiments import cfdg
from hw2lib.experiments.cfdg import Sampling
from hw2lib.io import results
from hw2lib.io.paths import RESULTS


def images(seed, n=3):
    return torch.randn(n, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def test_each_part_is_a_part():
    """Taking it twice changes nothing (but for the blur), and it is smaller than the whole."""
    d, x_0 = images(0), images(1)
    found = {name: part(d, x_0) for name, part in parts.PARTS.items()}
    assert torch.equal(found["all"], d)
    for name in ("across", "no_mean", "grey", "shape"):
        torch.testing.assert_close(parts.PARTS[name](found[name], x_0), found[name])
        assert (found[name].flatten(1).norm(dim=1) < d.flatten(1).norm(dim=1)).all()
    zero = torch.zeros(3)
    torch.testing.assert_close((found["across"] * x_0).sum((1, 2, 3)), zero, atol=1e-3, rtol=0)
    torch.testing.assert_close(found["no_mean"].mean((2, 3)), torch.zeros(3, 3), atol=1e-6, rtol=0)
    assert torch.equal(found["grey"][:, 0], found["grey"][:, 2])
    torch.testing.assert_close(found["shape"], parts.PARTS["grey"](found["no_mean"], x_0))
    even = torch.ones(3, 3, 28, 28)
    torch.testing.assert_close(parts.PARTS["fine"](even, x_0), 0 * even, atol=1e-5, rtol=0)


@pytest.mark.parametrize("w", [0.0, 1.5])
def test_all_of_guidance_is_drawn_as_the_library_draws_it(w, monkeypatch):
    monkeypatch.setattr(parts, "DEFAULT", Sampling(steps=3))
    numbers = [7, 990]
    found = parts.drawn(parts.SHIPPED, "all", w, 4, numbers)
    how = Sampling(w, 3, seed=4)
    expected = cfdg.sample_digits(*cfdg.load_digit_unet(), parts.LABELS[numbers], numbers, how)
    assert (to_float(found) - to_float(expected)).abs().max() < 0.05


def test_the_smallest_w_that_is_legible_is_chosen():
    assert parts.legible({1.0: 0.995, 0.5: 0.99, 0.25: 0.98}) == 0.5
    assert parts.legible({1.0: 0.9, 0.5: 0.97, 0.25: 0.96}) == 0.5


def test_the_recorded_cells_are_those_of_the_program():
    records = results.load("digits-parts", RESULTS)["records"]
    tried = [
        (r["setting"]["part"], r["setting"]["w"])
        for r in results.select(records, "tried", "accuracy")
    ]
    assert tried == list(parts.TRIED)
    for part in parts.COMPARED:
        read = {
            r["setting"]["w"]: r["mean"]
            for r in results.select(records, "tried", "accuracy", part=part)
        }
        w = results.one(records, "tried", "legible", part=part)["mean"]
        assert w == parts.legible(read)
        assert len(results.one(records, "samples", "accuracy", part=part, w=w)["values"]) == 5
