"""Speed of the digit model beside the report's network and sampler, on this machine in one run.

    python benchmarks/digits_speed.py [--threads 2] [--samples 1000]

Ours: the shipped weights' network, 20 steps. Theirs: the report's network, T = 400 steps of DDPM,
each with a guided and an unguided pass. Theirs would take hours for 1,000 samples, so it draws few
and is scaled up in proportion, which favours it: nothing but the network's passes is counted.
The peak is that of float32 products of square matrices, best of several sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hw2lib import diffusion, experiments
from hw2lib.unet import NULL_LABEL, DigitUNet, ReportUNet

STEPS, W = 20, 2.0
THEIR_T = 400


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def peak() -> float:
    """GFLOP/s of the best matrix product."""
    rates = []
    for n in (512, 1024, 2048):
        a, b = torch.rand(n, n), torch.rand(n, n)
        rates.append(2e-9 * n**3 / best(lambda a=a, b=b: a @ b, 5))
    return max(rates)


def batch(b: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(b, 3, 28, 28, generator=g), torch.arange(b) % 10


def forward_flops(model: nn.Module) -> int:
    """FLOPs of one image's forward pass (multiply and add are two)."""
    x, labels = batch(1)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(x, torch.zeros(1, dtype=torch.long), labels)
    return counter.get_total_flops()


def training_rate(model: nn.Module, b: int, prediction: str, schedule, repeats: int) -> float:
    """Training images a second: loss, backward, clipping, AdamW."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    g, (x, labels) = torch.Generator().manual_seed(0), batch(b)

    def step() -> None:
        optimizer.zero_grad()
        loss = diffusion.diffusion_loss(
            lambda x_t, t: model(x_t, t, labels), x, schedule, g, prediction, 0.0
        )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return b / best(step, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--samples", type=int, default=1000)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shipped, header = experiments.load_digit_unet()
    ours = DigitUNet(shipped.config).to(memory_format=torch.channels_last)
    theirs, top = ReportUNet(), peak()
    print(f"{args.threads} threads; peak of matrix products: {top:.0f} GFLOP/s", flush=True)

    cosine, linear = diffusion.cosine_schedule(), diffusion.linear_schedule(THEIR_T)
    rates = {
        "ours": training_rate(ours, 64, "v", cosine, 15),
        "report's": training_rate(theirs, 64, "eps", linear, 3),
    }
    labels = torch.arange(args.samples) % 10
    began = time.perf_counter()
    experiments.sample_digits(shipped, header, labels, range(args.samples), w=W, n_steps=STEPS)
    seconds = {"ours": time.perf_counter() - began}
    x, few = batch(50)
    predict = diffusion.guided(theirs.eval(), few, W, NULL_LABEL)
    with torch.no_grad():
        one_pass = best(lambda: predict(x, torch.zeros(50, dtype=torch.long)), 3)
    seconds["report's"] = one_pass * THEIR_T * args.samples / 50

    table = {}
    for name, model in (("ours", ours), ("report's", theirs)):
        flops = forward_flops(model)
        table[name] = {
            "parameters / M": sum(p.numel() for p in model.parameters()) / 1e6,
            "forward / MFLOP": flops / 1e6,
            "training images/s": rates[name],
            "share of the peak in training": 3e-9 * flops * rates[name] / top,
            f"{args.samples} samples / s": seconds[name],
        }
    frame = pd.DataFrame(table)
    frame["ratio"] = frame["ours"] / frame["report's"]
    print(frame.round(3).to_string())


if __name__ == "__main__":
    main()
