"""Adaptation: the gradients' signs, and what each loss asks for."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hw2lib.adaptation import LOSSES, Step, domain_loss, entropy_and_balance
from hw2lib.models.dann_net import Network


@pytest.mark.parametrize("lam", [0.31, 1.0])
def test_signs_of_the_gradients_of_all_three_parts(lam):
    torch.manual_seed(0)
    net = Network().eval()
    source, target = torch.randn(2, 8, 1, 28, 28)
    labels = torch.arange(8)
    f_source, f_target = net.both(source, target)
    label_loss = F.cross_entropy(net.label_head(f_source), labels)
    total = label_loss + domain_loss(net.domain_head, f_source, f_target, lam)
    d_source, d_target = net.domain_head(f_source), net.domain_head(f_target)
    plain = -(d_source.sigmoid().log().mean() + (1 - d_target.sigmoid()).log().mean())

    def gradients(loss, part):
        weights = list(part.parameters())
        got = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        pairs = zip(got, weights, strict=True)
        return torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in pairs])

    for part, of_label, of_domain in [
        (net.label_head, 1, 0),
        (net.domain_head, 0, 1),
        (net.extractor, 1, -lam),
    ]:
        want = of_label * gradients(label_loss, part) + of_domain * gradients(plain, part)
        torch.testing.assert_close(gradients(total, part), want, atol=1e-6, rtol=1e-4)
        assert want.abs().max() > 1e-3


# --- losses ------------------------------------------------------------------------------------


def step_with(logits, teacher_logits=None):
    """A Step whose target logits, and whose teacher's, are given."""
    net = Network()
    fixed = None if teacher_logits is None else (lambda *_: teacher_logits)
    x = torch.zeros(len(logits), 1, 28, 28)
    f = torch.randn(len(logits), 256)
    return Step(net, fixed, torch.zeros(len(logits)).long(), f, f, logits, x)


def test_the_teacher_teaches_only_what_it_is_sure_of():
    sure = torch.full((4, 10), -20.0)
    sure[:, 3] = 20
    sure[2:] = 0  # undecided about the last two
    logits = torch.randn(4, 10, requires_grad=True)
    loss = LOSSES["teacher"](step_with(logits, sure), 0.5)
    want = 0.5 * F.cross_entropy(logits[:2], torch.tensor([3, 3]), reduction="sum") / 4
    torch.testing.assert_close(loss, want)
    loss.backward()
    assert logits.grad[2:].abs().max() == 0


def test_entropy_and_balance_at_their_ends():
    decided = 50 * torch.eye(10)
    entropy, balance = entropy_and_balance(decided)
    assert entropy == pytest.approx(0, abs=1e-6) and balance == pytest.approx(-np.log(10), abs=1e-3)
    entropy, balance = entropy_and_balance(torch.zeros(7, 10))
    assert entropy == pytest.approx(np.log(10)) and -(entropy + balance) == pytest.approx(
        0, abs=1e-3
    )
    same = decided[:1].expand(5, 10)
    assert entropy_and_balance(same)[1] == pytest.approx(0, abs=1e-3)
