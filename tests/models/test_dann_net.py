"""The adaptation networks: statistics of each domain, views of an image, weights files."""

import pytest
import torch

from hw2lib.datasets import augment
from hw2lib.models import dann_net
from hw2lib.models.dann_net import SOURCE, TARGET, Network


def test_number_of_parameters():
    assert sum(p.numel() for p in Network().parameters()) == 424_779


def test_each_domain_has_its_own_batch_statistics():
    net = Network().train()
    norm = net.extractor.norms[0]
    net(torch.randn(8, 1, 28, 28), SOURCE)
    assert norm.mean[SOURCE].abs().sum() > 0 and norm.mean[TARGET].abs().sum() == 0
    before = norm.mean.clone()
    net.eval()(torch.randn(8, 1, 28, 28), TARGET)
    assert torch.equal(before, norm.mean)


def test_shared_statistics_are_those_of_both_domains_together():
    net = Network(separate=False).train()
    source, target = torch.randn(8, 1, 28, 28), torch.randn(8, 1, 28, 28) + 3
    apart = net.features(source)
    together, _ = net.both(source, target)
    assert not torch.allclose(apart, together)
    net.eval()
    torch.testing.assert_close(net(source, SOURCE), net(source, TARGET))


@pytest.mark.parametrize("standardise", [True, False])
def test_a_network_trained_on_inverted_images_reads_an_image_and_its_inverse_alike(standardise):
    net = Network(standardise=standardise, readings=2)
    x = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(dann_net.features(net, x), dann_net.features(net, 255 - x))
    net.readings = 1
    assert not torch.allclose(dann_net.features(net, x), dann_net.features(net, 255 - x))


def test_views_are_the_image_and_its_inverse():
    x = torch.rand(3, 1, 28, 28)
    assert [v.tolist() for v in dann_net.views(x, 1)] == [x.tolist()]
    assert all(torch.equal(a, b) for a, b in zip(dann_net.views(x, 2), (x, -x), strict=True))


def test_features_are_the_mean_over_the_views():
    net = Network(readings=2).eval()
    x = torch.randint(0, 256, (5, 3, 28, 28), dtype=torch.uint8)
    prepared = augment.prepare(x, net.still, channels=1)
    each = [net.features(view) for view in dann_net.views(prepared, 2)]
    torch.testing.assert_close(dann_net.features(net, x), torch.stack(each).mean(0))


# --- weights -----------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    return dann_net.save(Network(), tmp_path / "w.safetensors", target="usps")


def test_weights_survive_the_file(weights):
    torch.manual_seed(0)
    net = Network()
    loaded, config = dann_net.load(weights)
    x = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    a, b = dann_net.features(net, x), dann_net.features(loaded, x)
    torch.testing.assert_close(a, b, atol=1e-2, rtol=1e-2)
    assert config["kind"] == "dann" and config["target"] == "usps"
