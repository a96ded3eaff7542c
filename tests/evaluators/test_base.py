"""What the networks that score share: training, header, loading, batches."""

import pytest
import torch
from helpers.domains import made_up
from helpers.lines import one_line
from torch import nn
from torch.nn import functional as F

from hw2lib.errors import UserError
from hw2lib.evaluators.base import Evaluator, Scoring
from hw2lib.io.weights import weights_header
from hw2lib.training import TrainConfig


class Mean(Scoring):
    """Two features of the mean colour."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))

    def forward(self, x):
        return self.features(x)


MEAN = Evaluator("mean-colour", "mean", Mean, {"quick": TrainConfig(3, 4, warmup=1, ema=0.5)})


def train(domain, out, seen=None, **options):
    def loss(net, size, generator):
        index = torch.randint(len(domain.train), (size,), generator=generator)
        if seen is not None:
            seen.append(index)
        x = domain.train.images[index].float() / 127.5 - 1
        return F.mse_loss(net(x)[:, 0], x.mean((1, 2, 3)))

    return MEAN.train(domain, loss, lambda net: {"colours": 3}, out, preset="quick", **options)


@pytest.fixture
def domain():
    return made_up("usps")


def test_a_training_tells_in_its_header_how_it_was_made(domain, tmp_path):
    file = train(domain, tmp_path)
    assert file == tmp_path / "mean-colour.safetensors"
    header = weights_header(file)
    assert (header["kind"], header["preset"], header["colours"]) == ("mean", "quick", 3)
    assert (header["steps"], header["batch_size"], header["seeds"]) == (3, 4, [0])
    assert header["source"] == "embedded" and header["device"] and header["seconds"] >= 0


def test_what_was_written_is_loaded_with_its_header(domain, tmp_path):
    net = MEAN.load(train(domain, tmp_path))
    assert net.header["kind"] == "mean" and not net.training
    images = domain.test.images[:7]
    whole = net.embed(images.float() / 127.5 - 1)
    net.batch = 2
    torch.testing.assert_close(net.embed(images), whole)


def test_a_seed_gives_the_same_weights_whatever_was_drawn_before(domain, tmp_path):
    first = train(domain, tmp_path / "a")
    torch.rand(5)
    again = train(domain, tmp_path / "b")
    a, b = (MEAN.load(file).state_dict() for file in (first, again))
    assert all(torch.equal(a[key], b[key]) for key in a)
    config = TrainConfig(3, 4, warmup=1, ema=0.5, seed=1)
    other = MEAN.load(train(domain, tmp_path / "c", config=config))
    assert weights_header(tmp_path / "c" / "mean-colour.safetensors")["seeds"] == [1]
    assert not torch.equal(other.state_dict()["body.2.weight"], a["body.2.weight"])


def test_the_loss_gets_the_batch_of_the_settings(domain, tmp_path):
    seen = []
    train(domain, tmp_path, seen)
    assert [len(index) for index in seen] == [4, 4, 4]


def test_mistakes_are_one_line(domain, tmp_path):
    with pytest.raises(UserError, match="preset 'full' is unknown; choose one of quick") as error:
        MEAN.train(domain, None, None, tmp_path)
    one_line(error)
    with pytest.raises(UserError, match="none.safetensors does not exist") as error:
        MEAN.load(tmp_path / "none.safetensors")
    one_line(error)


@pytest.mark.parametrize("shape", [(0, 3, 28, 28), (2, 1, 28, 28), (3, 28, 28), (2, 3, 32, 32)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(N > 0, 3, 28, 28\) is right"):
        list(Mean().batches(torch.zeros(shape)))
