"""What the networks that score share: how one is trained, written, loaded and shown images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hw2lib.datasets.digits import DigitDomain, to_float
from hw2lib.datasets.faces import FaceSet
from hw2lib.device import device, device_name
from hw2lib.io.parameters import choose
from hw2lib.io.paths import WEIGHTS
from hw2lib.io.weights import Header, load_state, load_weights, save_weights
from hw2lib.training import TrainConfig, fit

Loss = Callable[[nn.Module, int, torch.Generator], Tensor]  # of a batch of that size


class Scoring(nn.Module):
    """A network with the header of its weights file; `features` (B, D) of images in [-1, 1]."""

    layout = torch.channels_last  # in memory, of weights and images
    side, batch = 28, 500  # of images; how many are shown at a time

    def __init__(self) -> None:
        super().__init__()
        self.header: dict[str, Any] = {}

    def features(self, x: Tensor) -> Tensor:
        return self.body(x.contiguous(memory_format=self.layout))

    @torch.inference_mode()
    def embed(self, images: Tensor) -> Tensor:
        """Features (N, D) on the CPU of images, see `batches`."""
        self.eval()
        return torch.cat([self.features(x).cpu() for x in self.batches(images)])

    def batches(self, images: Tensor) -> Iterator[Tensor]:
        """Images (N, 3, side, side), uint8 or floats in [-1, 1], as such floats, up to `batch` at a
        time, where the network is. ValueError for another shape and for no image."""
        side = self.side
        if images.ndim != 4 or images.shape[1:] != (3, side, side) or not len(images):
            raise ValueError(f"images {tuple(images.shape)}; (N > 0, 3, {side}, {side}) is right")
        where = next(self.parameters()).device
        for part in images.split(self.batch):
            part = part.to(where)
            yield to_float(part) if part.dtype == torch.uint8 else part.float()


@dataclass(frozen=True)
class Evaluator:
    """One of the networks that score: `name` is its weights file's and that of `hw2 train NAME`,
    `kind` stands in the header of its weights."""

    name: str
    kind: str
    make: type[Scoring]
    presets: dict[str, TrainConfig]
    header: type[Header] = Header  # what that of its weights holds

    def train(
        self, data: DigitDomain | FaceSet, loss: Loss, measure: Callable[[Scoring], dict],
        out: str | Path, *, preset: str = "full", config: TrainConfig | None = None,
        resume: bool = False,
    ) -> Path:  # fmt: skip
        """Fit a new network and write its weight average to out/NAME.safetensors.

        The header says how it was made, and what `measure` finds on images that it was not trained
        on. `config` takes the place of the preset's settings. UserError for an unknown preset and
        for a run in `out` on other data.
        """
        config = config or choose(self.presets, preset)
        with torch.random.fork_rng():  # the first weights follow from the seed alone
            torch.manual_seed(config.seed)
            net = self.make().to(memory_format=self.make.layout)
        of_data = {"source": data.data, "sha256": data.sha256}
        fitted = fit(
            net, lambda net, _, generator: loss(net, config.batch_size, generator), config, out,
            resume=resume, label=self.name.replace("-", " "), identity=of_data,
        )  # fmt: skip
        header = {
            "kind": self.kind, "preset": preset, **of_data, "steps": config.steps,
            "batch_size": config.batch_size, "seeds": [config.seed], "device": device_name(),
            "seconds": round(fitted.seconds, 1), **measure(fitted.ema.eval()),
        }  # fmt: skip
        return save_weights(Path(out) / f"{self.name}.safetensors", fitted.ema.state_dict(), header)

    def load(self, weights: str | Path | None = None) -> Scoring:
        """The network of a weights file (default: the shipped one) on `device()`, with its
        `header`. UserError for a missing or damaged file, and for one of another network."""
        path = Path(weights or WEIGHTS / f"{self.name}.safetensors")
        state, header = load_weights(path, self.kind, self.header)
        net = load_state(self.make().to(memory_format=self.make.layout), state, path)
        net.header = header
        return net.to(device())
