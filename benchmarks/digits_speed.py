"""Speed of the digit model beside the report's network and sampler, on this machine in one run.

    python benchmarks/digits_speed.py [--threads 2] [--samples 1000] [--record]

Ours: the shipped weights' network and the default sampler. Theirs: the report's network, T = 400
steps of DDPM, each with a guided and an unguided pass. Theirs would take hours for 1,000 samples,
so one pass of 100 images is timed and scaled up, which favours it: nothing else is counted. Both
run in float32, and in bfloat16 where the processor has units for it; the peak is that of products
of square matrices in the same type, best of several sizes. The last ratio is that of ours as
`hw2` runs it to theirs as their code has it, in float32. --record writes
data/results/digits-speed.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hw2lib import device, diffusion
from hw2lib.experiments import cfdg
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.metrics import metric
from hw2lib.models.digit_unet import DigitUNet, ReportUNet
from hw2lib.studies import cfdg as study

THEIR_T = 400
TRAINING, SAMPLING, SHARE = "training_images_per_s", "samples_per_s", "peak_share"
SHIPPED = "each as shipped"  # ours in the fastest type, theirs in float32


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several runs, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def peak(dtype: torch.dtype) -> float:
    """GFLOP/s of the best matrix product."""
    rates = []
    for n in (512, 1024, 2048):
        a, b = (torch.rand(n, n).to(dtype) for _ in range(2))
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


def training_rate(
    model: nn.Module, b: int, prediction: str, schedule, dtype, repeats: int
) -> float:
    """Training images a second: loss, backward, clipping, AdamW."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    g, (x, labels) = torch.Generator().manual_seed(0), batch(b)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = diffusion.diffusion_loss(
                lambda x_t, t: model(x_t, t, labels), x, schedule, g, prediction, 0.0
            )
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return b / best(step, repeats)


def sampling_seconds(model: nn.Module, passes: float, n: int, dtype: torch.dtype) -> float:
    """Seconds for n samples of `passes` passes each, from the time of one pass of 100 images."""
    x, labels = batch(100)
    t = torch.zeros(100, dtype=torch.long)
    model.eval()

    def one_pass() -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            model(x, t, labels)

    return best(one_pass, 3) * passes * n / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shipped, header = cfdg.load_digit_unet()
    nets = {
        "ours": DigitUNet(shipped.config).to(memory_format=torch.channels_last),
        "report": ReportUNet().to(memory_format=torch.channels_last),
    }
    recipes = {
        "ours": ("v", diffusion.cosine_schedule(), 10),
        "report": ("eps", diffusion.linear_schedule(THEIR_T), 3),
    }
    passes = {
        "ours": study.evaluations(header["n_train_steps"], cfdg.DEFAULT.steps, cfdg.DEFAULT.w),
        "report": 2 * THEIR_T,
    }
    labels = torch.arange(args.samples) % 10
    began = time.perf_counter()
    cfdg.sample_digits(shipped, header, labels, range(args.samples))
    taken = time.perf_counter() - began
    print(f"{args.threads} threads; {args.samples} samples as `hw2 sample-digits` draws them: "
          f"{taken:.1f} s", flush=True)  # fmt: skip

    dtypes = [torch.float32]
    if device.fast_bfloat16(torch.device("cpu")):
        dtypes.append(torch.bfloat16)
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for dtype in dtypes:
        kind, top = str(dtype).removeprefix("torch."), peak(dtype)
        print(f"{kind}: peak of matrix products {top:.0f} GFLOP/s", flush=True)
        for name, net in nets.items():
            prediction, schedule, repeats = recipes[name]
            rate = training_rate(net, 64, prediction, schedule, dtype, repeats)
            rows[name, kind] = {
                TRAINING: rate,
                SAMPLING: 1 / sampling_seconds(net, passes[name], 1, dtype),
                SHARE: 3e-9 * forward_flops(net) * rate / top,
            }
        rows["ratio", kind] = ratio(rows["ours", kind], rows["report", kind])
    rows["ratio", SHIPPED] = ratio(rows["ours", kind], rows["report", "float32"])
    records = records_of(rows)
    print(results.table(records).to_string(), flush=True)
    if args.record:
        seconds = metric([taken], args.samples, "s")
        results.write(
            "digits-speed", preset="full", seeds=[0], directory=RESULTS,
            records=[*records, results.record("ours", "seconds", seconds, samples=args.samples)],
            seconds=time.perf_counter() - began, weights=[WEIGHTS / "digits.safetensors"],
            data={"source": "none", "sha256": {}}, settings={"threads": args.threads},
        )  # fmt: skip


def records_of(rows: dict[tuple[str, str], dict[str, float]]) -> list[dict]:
    """(row, precision) -> score -> number, as records."""
    return [
        results.record(row, score, metric([value], 1, "number"), precision=precision)
        for (row, precision), scores in rows.items()
        for score, value in scores.items()
    ]


def ratio(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """How many times as fast ours is, in training and in sampling."""
    return {score: ours[score] / theirs[score] for score in (TRAINING, SAMPLING)}


if __name__ == "__main__":
    main()
