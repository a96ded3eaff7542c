"""feature_maps: the same images in every map, and a shipped file that fits its networks."""

import json

import feature_maps
import pytest
import torch

from hw2lib.datasets import pairs
from hw2lib.models import dann_net


@pytest.fixture
def folder(tmp_path):
    """Three files of two targets, two of them for SVHN."""
    for name, target in (("b", "svhn"), ("a", "svhn"), ("c", "usps")):
        title = {"a": "DANN", "b": "source only, plain", "c": "DANN"}[name]
        dann_net.save(dann_net.Network(), tmp_path / f"{name}.safetensors", target=target,
                      title=title)  # fmt: skip
    return tmp_path


def test_networks_come_in_the_tables_order(folder):
    titles = [title for title, _ in feature_maps.networks(folder, "svhn")]
    assert titles == ["source only, plain", "DANN"]
    assert feature_maps.networks(folder, "mnistm") == []


def test_every_map_has_the_same_images(folder):
    problem = pairs.load_problem("svhn", "embedded")
    made = feature_maps.maps_of(problem, feature_maps.networks(folder, "svhn"), each=30)
    assert made["domains"] == ["mnistm", "svhn"] and made["data"] == "embedded"
    assert made["digits"][:30] == problem.source_test.labels[:30].tolist()
    assert made["digits"][30:] == problem.test.labels[:30].tolist()
    assert made["sides"] == [0] * 30 + [1] * 30
    for one in made["maps"]:
        places = torch.tensor(one["places"])
        assert places.shape == (60, 2)
        assert places.min(0).values.tolist() == [0, 0]
        assert places.max(0).values.tolist() == [feature_maps.SIZE] * 2


def test_the_shipped_maps_are_those_of_the_shipped_networks():
    shipped = json.loads(feature_maps.MAPS.read_text())
    for target, one in shipped.items():
        titles = [title for title, _ in feature_maps.networks(feature_maps.WEIGHTS, target)]
        assert [found["title"] for found in one["maps"]] == titles
        assert one["data"] != "embedded"
        assert {len(found["places"]) for found in one["maps"]} == {len(one["digits"])}
