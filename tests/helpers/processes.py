"""What each process of `torchrun --nproc-per-node 2 -m helpers.processes OUT` does.

A run at one go, one that a signal to the second process cuts off, and the same resumed; what it saw
goes to OUT/RANK.json.
"""

import json
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from hw2lib.device import process
from hw2lib.errors import UserError
from hw2lib.training import Fitted, TrainConfig, fit

CONFIG = TrainConfig(steps=9, batch_size=8, lr=0.01, warmup=3, ema=0.9, save_every_s=1e9)


def grouped() -> nn.Module:
    """Group norm, and weights in channels_last, as in the networks of the experiments."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU(), nn.Conv2d(8, 3, 3))
    return net.to(memory_format=torch.channels_last)


def loss_of(stop=None):
    """A loss that is no mean over samples: those of the parts do not add up to it."""

    def loss(net, step, generator):
        if step == stop:
            signal.raise_signal(signal.SIGTERM)
        x = torch.randn(8, 3, 8, 8, generator=generator)
        error = (net(x) - x[:, :, 2:-2, 2:-2]).square().mean((1, 2, 3))
        return error.mean() + error.std()

    return loss


def state(run: Fitted) -> list:
    models = (run.model, run.ema)
    return [x.tolist() for model in models for x in model.state_dict().values()]


def main(out: Path) -> None:
    rank, _ = process()
    whole = fit(grouped(), loss_of(), CONFIG, out / "whole", shared=True)
    try:
        fit(grouped(), loss_of(4 if rank == 1 else None), CONFIG, out / "cut", shared=True)
    except UserError as error:
        line = str(error)
    cut = fit(grouped(), loss_of(), CONFIG, out / "cut", shared=True, resume=True)
    seen = {"losses": whole.losses, "state": state(whole), "line": line,
            "resumed": {"losses": cut.losses, "state": state(cut)}}  # fmt: skip
    (out / f"{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
