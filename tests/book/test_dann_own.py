"""The page "Add your own" runs as it stands, and what it adds is used."""

import re

import pytest
import torch

from hw2lib import adaptation
from hw2lib.io.paths import ROOT

PAGE = ROOT / "book" / "dann-own.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(names that the page defines, values that its loss had in training)."""
    known, seen, names = dict(adaptation.LOSSES), [], {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HW2_BUILD", str(tmp_path_factory.mktemp("build")))
        try:
            for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
                exec(compile(block, PAGE.name, "exec"), names)
                for name in set(adaptation.LOSSES) - set(known) - {"watched"}:
                    loss = names[name]

                    def watched(step, weight, loss=loss):
                        value = loss(step, weight)
                        seen.append((weight, value.item()))
                        return value

                    adaptation.LOSSES[name] = watched
        finally:
            adaptation.LOSSES.clear()
            adaptation.LOSSES.update(known)
    return names, seen


def test_the_page_trains_its_rows(ran):
    names, _ = ran
    accuracy = names["accuracy"]
    assert list(accuracy) == [row.title for row in names["rows"]] and len(accuracy) == 2
    assert all(0 <= share <= 1 for share in accuracy.values())
    assert max(accuracy.values()) > 0.1


def test_the_new_loss_acts_in_every_step_and_its_weight_grows(ran):
    names, seen = ran
    row = names["rows"][1]
    weights = [weight for weight, _ in seen]
    assert len(seen) == row.steps
    assert weights == sorted(weights) and weights[-1] > 0.9 * row.losses["coral"]
    assert all(value >= 0 for _, value in seen) and max(value for _, value in seen) > 0


def test_the_new_domain_keeps_its_shape_and_its_labels_stay_out(ran):
    problem = ran[0]["problem"]
    assert problem.target.images.dtype == torch.uint8
    assert problem.target.images.shape[1:] == (3, 28, 28)
    assert not hasattr(problem.target, "labels")
    assert problem.name == "striped"


def test_coral_is_the_distance_of_covariances(ran):
    coral = ran[0]["coral"]
    g = torch.Generator().manual_seed(0)
    x = torch.randn(500, 8, generator=g)
    step = adaptation.Step(None, None, None, x, x + 3, None, None)
    assert coral(step, 1.0).item() == pytest.approx(0, abs=1e-6)  # means do not count
    step.target = 2 * x
    expected = (3 * torch.cov(x.T)).square().sum() / (4 * 64)
    assert coral(step, 2.0).item() == pytest.approx(2 * expected.item(), rel=1e-4)
