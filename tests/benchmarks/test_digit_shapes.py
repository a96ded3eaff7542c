"""digit_shapes: the parts of guidance, that they are drawn as the library draws, and the choice."""

import digit_shapes as shapes
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
    """Taking it twice changes nothing (but for the blur), and all that is left out of a shape is
    its colour and its mean."""
    d, x_0 = images(0), images(1)
    found = {name: part(d, x_0) for name, part in shapes.PARTS.items()}
    assert torch.equal(found["all"], d)
    for name in ("across", "no_mean", "grey", "shape"):
        torch.testing.assert_close(shapes.PARTS[name](found[name], x_0), found[name])
        assert (found[name].flatten(1).norm(dim=1) < d.flatten(1).norm(dim=1)).all()
    zero = torch.zeros(3)
    torch.testing.assert_close((found["across"] * x_0).sum((1, 2, 3)), zero, atol=1e-3, rtol=0)
    torch.testing.assert_close(found["no_mean"].mean((2, 3)), torch.zeros(3, 3), atol=1e-6, rtol=0)
    assert torch.equal(found["grey"][:, 0], found["grey"][:, 2])
    both = shapes.PARTS["grey"](found["no_mean"], x_0)
    torch.testing.assert_close(found["shape"], both)
    even = torch.ones(3, 3, 28, 28)
    torch.testing.assert_close(shapes.PARTS["fine"](even, x_0), 0 * even, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("part", "shape"), [("all", False), ("shape", True)])
def test_parts_are_drawn_as_the_library_draws_them(part, shape, monkeypatch):
    monkeypatch.setattr(shapes, "DEFAULT", Sampling(steps=3))
    numbers = [7, 990]
    found = shapes.drawn(part, 1.5, 4, numbers)
    how = Sampling(1.5, 3, shape=shape, seed=4)
    expected = cfdg.sample_digits(*cfdg.load_digit_unet(), shapes.LABELS[numbers], numbers, how)
    assert (to_float(found) - to_float(expected)).abs().max() < 0.05


def test_the_smallest_w_that_is_legible_is_chosen():
    assert shapes.legible({1.0: 0.995, 0.5: 0.99, 0.25: 0.98}) == 0.5
    assert shapes.legible({1.0: 0.9, 0.5: 0.97, 0.25: 0.96}) == 0.5
    assert shapes.legible({1.0: 0.995, 0.5: 0.99}, 0.994) == 1.0


def test_the_recorded_cells_are_those_of_the_program():
    records = results.load("digits-shapes", RESULTS)["records"]
    tried = [tuple(r["setting"].values()) for r in results.select(records, "tried", "accuracy")]
    assert tried == list(shapes.TRIED)
    for part in ("all", "shape"):
        read = {
            r["setting"]["w"]: r["mean"]
            for r in results.select(records, "tried", "accuracy", part=part)
        }
        w = results.one(records, "tried", "legible", part=part)["mean"]
        assert w == shapes.legible(read)
        assert len(results.one(records, "samples", "accuracy", part=part, w=w)["values"]) == 5
