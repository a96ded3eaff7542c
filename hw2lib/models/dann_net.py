"""The networks of domain-adversarial training, and what is done with a trained one.

Extractor, label head and domain head (0.42 M parameters), their weights files, and reading images
with them. The reversal between extractor and domain head, and the losses, are in `adaptation`;
training is in `experiments.dann`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib.datasets.augment import Handling, prepare
from hw2lib.device import device
from hw2lib.io.weights import Header, load_state, load_weights, save_weights

KIND = "dann"
SOURCE, TARGET = 0, 1  # which batch statistics to use


class DannHeader(Header):
    """What the header of a weights file holds."""

    channels: Literal[1, 3]
    standardise: bool
    separate: bool
    readings: Literal[1, 2] | None = None
    inverted: bool = False  # of the shipped files: they are read as they are and inverted
    target: str | None = None


class DomainNorm(nn.Module):
    """Batch norm whose scale and bias are shared and whose running statistics are each domain's.

    In training each domain is normalised by its own batch: source and target go forward apart.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.momentum = 0.1  # of the running statistics
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(2, channels))
        self.register_buffer("var", torch.ones(2, channels))

    def forward(self, x: Tensor, domain: int) -> Tensor:
        mean, var = self.mean[domain], self.var[domain]
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum)


class Extractor(nn.Module):
    """Four convolutions, 0.39 M parameters: 6x6 with stride 2, then three 3x3.

    The stride, and pooling before the norm, leave the cheapest order of the same work: a step
    takes a sixth less time than with a pooled 3x3 convolution at full resolution.
    """

    def __init__(self, channels: int = 1, widths: Sequence[int] = (32, 64, 128, 256)) -> None:
        super().__init__()
        ins = (channels, *widths[:-1])
        first = nn.Conv2d(channels, widths[0], 6, stride=2, padding=2, bias=False)
        others = (
            nn.Conv2d(i, o, 3, padding=1, bias=False)
            for i, o in zip(ins[1:], widths[1:], strict=True)
        )
        self.convs = nn.ModuleList([first, *others])
        self.norms = nn.ModuleList(DomainNorm(o) for o in widths)

    def forward(self, x: Tensor, domain: int) -> Tensor:
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if i in (1, 2):
                x = F.max_pool2d(x, 2)
            x = F.relu(norm(x, domain))  # (B, 32, 14, 14), (B, 64, 7, 7), (B, 128, 3, 3)
        return x.mean((2, 3))  # (B, 256) of (B, 256, 3, 3)


class DomainHead(nn.Sequential):
    """Features (B, 256) -> logit (B,) of "this is the source"."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


class Network(nn.Module):
    """Extractor and both heads; forward gives the logits (B, 10) of images (B, C, 28, 28).

    standardise: whether its images are standardised one by one (see `datasets.augment`);
    separate: whether the target has batch statistics of its own, else it uses the source's;
    readings: 1, or 2 where training inverts images: then an image is read inverted too.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        standardise: bool = True,
        separate: bool = True,
        readings: int = 1,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.readings = readings
        self.still = Handling(standardise=standardise)
        self.separate = separate
        self.extractor = Extractor(channels)
        self.label_head = nn.Linear(256, 10)  # features (B, 256) -> logits (B, 10)
        self.domain_head = DomainHead()

    def forward(self, x: Tensor, domain: int = TARGET) -> Tensor:
        return self.label_head(self.features(x, domain))

    def features(self, x: Tensor, domain: int = TARGET) -> Tensor:
        """(B, 256) of prepared images (B, C, 28, 28) of one domain."""
        return self.extractor(x, domain if self.separate else SOURCE)

    def both(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a batch of each domain, normalised apart or together."""
        if self.separate:
            return self.features(source, SOURCE), self.features(target, TARGET)
        return self.features(torch.cat([source, target]), SOURCE).split([len(source), len(target)])


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def views(x: Tensor, readings: int) -> list[Tensor]:
    """What is read of prepared images x (B, C, H, W): x, with two readings -x too."""
    return [channels_last(sign * x) for sign in (1, -1)[:readings]]


@torch.no_grad()
def features(network: Network, images: Tensor, domain: int = TARGET) -> Tensor:
    """float (N, 256) on the CPU of uint8 images (N, 3, 28, 28), in eval mode.

    The mean of f over `views`: where training inverts images, half of what f has learnt from
    looked like -x. The label head is linear, so this is the mean of their logits.
    """
    network.eval()
    where = next(network.parameters()).device
    parts = []
    for batch in images.split(500):
        x = prepare(batch.to(where), network.still, channels=network.channels)
        several = [network.features(view, domain).float() for view in views(x, network.readings)]
        parts.append(torch.stack(several).mean(0).cpu())
    return torch.cat(parts)


@torch.no_grad()
def logits(network: Network, images: Tensor, domain: int = TARGET) -> Tensor:
    """float (N, 10) on the CPU of uint8 images (N, 3, 28, 28)."""
    where = next(network.parameters()).device
    return network.label_head(features(network, images, domain).to(where)).cpu()


def classify_tensor(network: Network, images: Tensor, domain: int = TARGET) -> Tensor:
    """int64 (N,) on the CPU, the digits of uint8 images (N, 3, 28, 28)."""
    return logits(network, images, domain).argmax(1)


def save(network: Network, path: str | Path, **header) -> Path:
    """Write the network (fp16, 0.85 MiB); `header` goes into the header."""
    built = {"channels": network.channels, "standardise": network.still.standardise,
             "separate": network.separate, "readings": network.readings}  # fmt: skip
    return save_weights(path, network.state_dict(), {**header, "kind": KIND, **built})


def load(path: str | Path) -> tuple[Network, dict]:
    """(network in eval mode on `device()`, header) of a weights file made by `save`."""
    state, header = load_weights(path, KIND, DannHeader)
    network = Network(
        header["channels"],
        standardise=header["standardise"],
        separate=header["separate"],
        readings=header.get("readings", 2 if header.get("inverted") else 1),
    )
    return load_state(network, state, path).to(device()), header
