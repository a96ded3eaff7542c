"""The networks of domain-adversarial training, and what is done with a trained one.

Extractor, label head and domain head with a gradient reversal in front (0.42 M parameters), their
weights files, and reading images with them. Training is in `dann`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hw2lib.dann_inputs import Handling, prepare
from hw2lib.training import device, load_state, load_weights, save_weights

KIND = "dann"
SOURCE, TARGET = 0, 1  # which batch statistics to use


# --- the network -------------------------------------------------------------------------------


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def gradient_reversal(x: Tensor, strength: float = 1.0) -> Tensor:
    """x forwards; -strength times the gradient backwards."""
    return _Reversal.apply(x, strength)


class DomainNorm(nn.Module):
    """Batch norm whose scale and bias are shared and whose running statistics are each domain's.

    In training each domain is normalised by its own batch: source and target go forward apart.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(2, channels))
        self.register_buffer("var", torch.ones(2, channels))

    def forward(self, x: Tensor, domain: int) -> Tensor:
        mean, var = self.mean[domain], self.var[domain]
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, 0.1)


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


class LabelHead(nn.Linear):
    """Features (B, 256) -> logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__(256, 10)


class DomainHead(nn.Sequential):
    """Features (B, 256) -> logit (B,) of "this is the source"."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze(1)


class Network(nn.Module):
    """Extractor and both heads; forward gives the logits (B, 10) of images (B, C, 28, 28).

    standardise: whether its images are standardised one by one (see `dann_inputs`);
    separate: whether the target has batch statistics of its own, else it uses the source's;
    inverted: whether training inverts images, so that reading takes an image and its inverse.
    """

    def __init__(
        self,
        channels: int = 1,
        *,
        standardise: bool = True,
        separate: bool = True,
        inverted: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.inverted = inverted
        self.still = Handling(standardise=standardise)
        self.separate = separate
        self.extractor = Extractor(channels)
        self.label_head = LabelHead()
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


# --- using a trained network -------------------------------------------------------------------


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def features(network: Network, images: Tensor, domain: int = TARGET) -> Tensor:
    """float (N, 256) on the CPU of uint8 images (N, 3, 28, 28), in eval mode.

    f(x), or (f(x) + f(-x)) / 2 where training inverts images: half of what it has learnt from
    looked like -x. The label head is linear, so this is the mean of both logits.
    """
    network.eval()
    where = next(network.parameters()).device
    parts = []
    for batch in images.split(500):
        x = channels_last(prepare(batch.to(where), network.still, channels=network.channels))
        f = network.features(x, domain)
        if network.inverted:
            f = (f + network.features(-x, domain)) / 2
        parts.append(f.float().cpu())
    return torch.cat(parts)


@torch.no_grad()
def classify_tensor(network: Network, images: Tensor, domain: int = TARGET) -> Tensor:
    """int64 (N,) on the CPU, the digits of uint8 images (N, 3, 28, 28)."""
    where = next(network.parameters()).device
    return network.label_head(features(network, images, domain).to(where)).argmax(1).cpu()


def save(network: Network, path: str | Path, **config) -> Path:
    """Write the network (fp16, 0.85 MiB); `config` goes into the header."""
    built = {"channels": network.channels, "standardise": network.still.standardise,
             "separate": network.separate, "inverted": network.inverted}  # fmt: skip
    return save_weights(path, network.state_dict(), {**config, "kind": KIND, **built})


def load(path: str | Path) -> tuple[Network, dict]:
    """(network in eval mode on `device()`, header) of a weights file made by `save`."""
    state, config = load_weights(path, KIND)
    network = Network(
        int(config.get("channels", 1)),
        standardise=config.get("standardise", True),
        separate=config.get("separate", True),
        inverted=config.get("inverted", False),
    )
    return load_state(network, state, path).to(device()), config
