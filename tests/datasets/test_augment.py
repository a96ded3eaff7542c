"""What happens to digits before the network sees them."""

from dataclasses import replace

import pytest
import torch
from helpers.domains import made_up

from hw2lib.datasets import augment as inputs
from hw2lib.datasets import digits, pairs
from hw2lib.datasets.augment import (
    GROUPS,
    HANDLING,
    PLAIN,
    Handling,
    edit,
    prepare,
    smooth,
    standardise,
    warp,
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_standardise():
    x = standardise(torch.rand(5, 3, 28, 28) * 0.2)
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    assert x.std((1, 2, 3)).min() > 0.6 and x.std((1, 2, 3)).max() < 1


def test_without_standardisation_all_images_are_scaled_alike():
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 28, 28)
    x = prepare(images, Handling(standardise=False))
    torch.testing.assert_close(x[:, 0, 0, 0], torch.tensor([-2.0, 2.0]))


def test_the_idle_warp_changes_nothing_and_a_zoom_does():
    x = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(warp(x, Handling(), generator()), x, atol=1e-5, rtol=0)
    larger = warp(x, Handling(zoom=(1.5, 1.5)), generator())
    assert larger.shape == x.shape and not torch.allclose(larger, x)


@pytest.mark.parametrize("target", pairs.TARGETS)
def test_handling_is_finite_and_follows_from_the_generator(target):
    data = made_up("mnistm", 16, masks=target != "mnistm").train
    channels = pairs.channels_for(target)
    for handling in HANDLING[target]:
        a, b = (
            prepare(data.images, handling, generator(), masks=data.masks, channels=channels)
            for _ in range(2)
        )
        assert a.shape == (16, channels, 28, 28) and a.isfinite().all() and torch.equal(a, b)


def test_edits_invert_only_where_the_stroke_changes():
    data = made_up("mnistm", 40, masks=True).train
    x = data.images.float() / 255
    mask = data.masks > 0
    for handling in (Handling(thickness=1.0), Handling(neighbours=1.0)):
        y = edit(x, mask, handling, torch.Generator().manual_seed(0))
        changed = (x - y).abs() > 1e-6
        torch.testing.assert_close(y[changed], 1 - x[changed])
        assert 0 < changed.float().mean() < 0.2
    assert torch.equal(edit(x, mask, Handling(), torch.Generator()), x)


def test_neighbours_lie_at_both_sides_and_leave_the_digit_alone():
    data = made_up("mnistm", 40, masks=True).train
    mask = data.masks > 0
    full = inputs._with_neighbours(mask, Handling(neighbours=1.0), generator())
    added = full & ~mask
    near = torch.nn.functional.max_pool2d(mask.float(), 3, 1, 1) > 0
    assert not (added & near).any()
    columns = torch.arange(28).float()
    middle = (mask * columns).sum((1, 2, 3)) / mask.sum((1, 2, 3))
    sides = (columns - middle.view(-1, 1, 1, 1)).expand_as(added)[added].sign()
    assert (sides < 0).any() and (sides > 0).any()


def test_plates_surround_the_middle_as_ellipses_and_rectangles():
    on = inputs.plate(400, 28, generator())
    assert on[:, :, 12:16, 12:16].all() and on.float().mean() > 0.3
    shares = on[:, 0].float().mean((1, 2))
    box = on.any(3).sum((1, 2)) * on.any(2).sum((1, 2)) / 784  # of the box around it
    filled = shares / box
    assert (filled < 0.85).any() and (filled > 0.95).any()  # an ellipse fills pi / 4 of its box
    x = made_up("mnist", 8).train.images.float() / 255
    flat = Handling(repaint=1.0, glyphs=True)
    a, b = (edit(x, None, replace(flat, plates=p), generator()) for p in (0.0, 1.0))
    assert not torch.equal(a, b)


def test_smoothing_widens_with_its_step():
    x = torch.zeros(1, 1, 29, 29)
    x[..., 14, 14] = 1
    place = (torch.arange(29) - 14.0) ** 2
    for step, variance in ((1, 1.0), (2, 4.0)):
        y = smooth(x, step)
        assert y.sum() == pytest.approx(1, abs=1e-5)
        assert (y.sum((0, 1, 2)) * place).sum() == pytest.approx(variance, abs=1e-4)


def test_only_glyphs_are_repainted_without_a_mask():
    x = made_up("mnist", 8).train.images.float() / 255
    assert torch.equal(edit(x, None, Handling(repaint=1.0), generator()), x)
    assert not torch.equal(edit(x, None, Handling(repaint=1.0, glyphs=True), generator()), x)


@pytest.mark.parametrize("target", pairs.TARGETS)
def test_all_groups_off_leaves_only_the_fixed_scale(target):
    for handling in HANDLING[target]:
        assert handling.without(*GROUPS) == Handling(standardise=False)
        assert handling.without() == handling
        assert handling.without(*[g for g in GROUPS if g != "standardise"]) == PLAIN


def test_every_range_belongs_to_one_group():
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted(vars(Handling()))


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_augment_shifts_and_follows_the_generator(kind):
    images = torch.arange(4 * 3 * 28 * 28).reshape(4, 3, 28, 28).remainder(251).to(kind)
    draw = [inputs.random_shift(images, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert draw[0].shape == images.shape and draw[0].dtype == kind
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])
    assert torch.equal(inputs.random_shift(images, torch.Generator(), shift=0), images)


def test_exchanged_backgrounds_keep_the_digits_and_obey_the_recipe():
    domain = digits.load("mnistm", "embedded").train
    images, masks = domain.images[:40], domain.masks[:40]
    mixed = inputs.exchange_backgrounds(images, masks, torch.Generator().manual_seed(0))
    again = inputs.exchange_backgrounds(images, masks, torch.Generator().manual_seed(0))
    assert torch.equal(mixed, again) and not torch.equal(mixed, images)
    under = images ^ (masks * 255), mixed ^ (masks * 255)  # the backgrounds, digits taken off
    rows = [sorted(map(bytes, x.flatten(1).numpy())) for x in under]
    assert rows[0] == rows[1]  # the same backgrounds, each once, in another order


def test_augment_moves_by_at_most_the_shift():
    images = torch.zeros(200, 1, 28, 28)
    images[:, :, 14, 14] = 1
    moved = inputs.random_shift(images, torch.Generator().manual_seed(0), shift=2)
    where = moved.nonzero()[:, 2:]
    assert len(where) == 200 and where.min() == 12 and where.max() == 16
