"""Speed of our DANN training beside the reference's shapes, and of `hw2 classify`, in one run.

    python benchmarks/dann_speed.py [--threads 2] [--steps 40] [--to 0.59] [--record]

Ours: the `dann` row of SVHN at the full preset, one step with all that belongs to it: drawing and
handling both batches, label and domain loss, backward, clipping, AdamW, the average.
Reference: five convolutions 64-128-256-256-512 with batch norm on 28x28 grey, not pooled before the
mean over the whole image, heads 512-256-10 and 512-256-128-1, alternating steps (domain head, then
extractor and label head); its batches lie ready in memory, which favours it. Both take 64 images
of each domain a step, all of which are counted. The peak is that of products of square matrices in
the same type, best of several sizes.

--to trains ours until its accuracy on SVHN's test images reaches that share, and prints the seconds
of training, without those of the evaluations. Test labels stop the clock and do nothing else: no
weights are kept, no setting is chosen. --record writes data/results/dann-speed.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from digits_speed import SHARE, SHIPPED, TRAINING, best, peak, records_of
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from hw2lib import device, training
from hw2lib.commands.classify import classify
from hw2lib.datasets.pairs import Problem, load_problem
from hw2lib.experiments import dann
from hw2lib.experiments.dann_rows import row_for
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import record
from hw2lib.metrics import metric
from hw2lib.models.dann_net import classify_tensor

TARGET = "svhn"
EACH = 64  # images of each domain a step, ours and the reference's
PICTURES = 2000  # for `hw2 classify`
FLOPS = "mflop_per_image"


@contextmanager
def precision(dtype: torch.dtype):
    """Our training in `dtype`, whatever this processor would choose."""
    chosen, device.fast_bfloat16 = device.fast_bfloat16, lambda _: dtype == torch.bfloat16
    try:
        yield
    finally:
        device.fast_bfloat16 = chosen


# --- ours --------------------------------------------------------------------------------------


def ours(problem: Problem):
    """(model, loss for `training.fit`, settings of its loop) of the shipped `dann` row."""
    row = row_for("dann")
    return *dann.learner(row, problem), row.train()


def our_rate(problem: Problem, steps: int) -> float:
    """Training images a second of `training.fit`; the best of three runs."""
    model, loss, config = ours(problem)
    seconds = []
    for n in (5, steps, steps, steps):  # the first to warm up
        with tempfile.TemporaryDirectory() as folder:
            some = replace(config, steps=n, warmup=1)
            seconds.append(training.fit(model, loss, some, folder).seconds / n)
    return 2 * EACH / min(seconds[1:])


def our_flops(problem) -> float:
    """FLOPs of one step for each of its images, forward and backward (multiply and add are two)."""
    model, loss, config = ours(problem)
    model.train()
    with FlopCounterMode(display=False) as counter:
        loss(model, config.steps // 2, torch.Generator().manual_seed(0)).backward()
    return counter.get_total_flops() / (2 * EACH)


class Reached(Exception):
    pass


def seconds_to(problem: Problem, goal: float, every: int = 20) -> float | None:
    """Seconds of training until the test images are read as well as `goal`, if they ever are."""
    model, loss, config = ours(problem)
    test, began, away = problem.test, time.perf_counter(), 0.0

    def watched(model: nn.Module, step: int, generator: torch.Generator) -> Tensor:
        nonlocal away
        if step and step % every == 0:
            stopped = time.perf_counter()
            right = classify_tensor(model.student, test.images) == test.labels
            model.train()
            if right.float().mean().item() >= goal:
                raise Reached(stopped - began - away)
            away += time.perf_counter() - stopped
        return loss(model, step, generator)

    with tempfile.TemporaryDirectory() as folder:
        try:
            training.fit(model, watched, config, folder, label=f"to {goal:g}")
        except Reached as reached:
            return reached.args[0]
    return None


# --- the reference -----------------------------------------------------------------------------


class Reference(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers, channels = [], 1
        for width in (64, 128, 256, 256, 512):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.extractor = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.label_head = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
        self.domain_head = nn.Sequential(
            nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1)
        )


def reference_step(each: int, dtype: torch.dtype) -> Callable[[], None]:
    """One alternating step on `each` images of each domain; the features are computed once."""
    torch.manual_seed(0)
    net = Reference().to(memory_format=torch.channels_last)
    parts = (net.extractor, net.label_head, net.domain_head)
    extractor, labeller, critic = (torch.optim.Adam(p.parameters(), 1e-4) for p in parts)
    x = torch.randn(2 * each, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(each) % 10
    domain = torch.cat([torch.ones(each, 1), torch.zeros(each, 1)])

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", dtype, enabled=dtype != torch.float32)

    def step() -> None:
        with autocast():
            f = net.extractor(x)
            d = F.binary_cross_entropy_with_logits(net.domain_head(f.detach()).float(), domain)
        critic.zero_grad()
        d.backward()
        critic.step()
        with autocast():
            d = F.binary_cross_entropy_with_logits(net.domain_head(f).float(), domain)
            loss = F.cross_entropy(net.label_head(f[:each]).float(), labels) - 0.31 * d
        extractor.zero_grad()
        labeller.zero_grad()
        loss.backward()
        extractor.step()
        labeller.step()

    return step


def reference_rate(dtype: torch.dtype) -> float:
    reference_step(4, dtype)()  # to warm up: a whole step takes seconds
    return 2 * EACH / best(reference_step(EACH, dtype), 1)


def reference_flops() -> float:
    with FlopCounterMode(display=False) as counter:
        reference_step(4, torch.float32)()
    return counter.get_total_flops() / 8


# --- reading images ----------------------------------------------------------------------------


def classify_rate(test: Tensor) -> float:
    """Images a second of `hw2 classify`, from PNG files of 32x32 pixels to the csv."""
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for k in range(PICTURES):
            pixels = test[k % len(test)].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).resize((32, 32)).save(images / f"{k:05d}.png")
        out = Path(folder) / "out.csv"
        return PICTURES / best(lambda: classify(images, out, TARGET), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--steps", type=int, default=40, help="of ours, timed")
    parser.add_argument("--to", type=float, metavar="ACCURACY", help="also train ours up to it")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    problem, began = load_problem(TARGET), time.perf_counter()
    print(f"{args.threads} threads", *problem.domains, sep="\n")
    read = classify_rate(problem.test.images)
    print(f"hw2 classify: {read:,.0f} images/s", flush=True)

    dtypes = [torch.float32]
    if device.fast_bfloat16(torch.device("cpu")):
        dtypes.append(torch.bfloat16)
    flops = {"ours": our_flops(problem), "reference": reference_flops()}
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for dtype in dtypes:
        kind, top = str(dtype).removeprefix("torch."), peak(dtype)
        print(f"{kind}: peak of matrix products {top:.0f} GFLOP/s", flush=True)
        with precision(dtype):
            rates = {"ours": our_rate(problem, args.steps)}
        rates["reference"] = reference_rate(dtype)
        for name, rate in rates.items():
            rows[name, kind] = {
                FLOPS: flops[name] / 1e6,
                TRAINING: rate,
                SHARE: 1e-9 * flops[name] * rate / top,
            }
        rows["ratio", kind] = {TRAINING: rates["ours"] / rates["reference"]}
    shipped = rows["ours", kind][TRAINING] / rows["reference", "float32"][TRAINING]
    rows["ratio", SHIPPED] = {TRAINING: shipped}
    records = records_of(rows)
    print(results.table(records).to_string(), flush=True)
    records.append(record("classify", "images_per_s", metric([read], PICTURES, "number")))
    if args.to is not None:
        seconds = seconds_to(problem, args.to)
        if seconds is None:
            parser.error(f"--to {args.to:g} was not reached, so nothing is recorded")
        print(f"to {args.to:g} of SVHN's test images: {seconds:.0f} s of training")
        entry = metric([seconds], len(problem.test.images), "s")
        records.append(record("ours", "seconds", entry, accuracy=args.to))
    if args.record:
        results.write(
            "dann-speed", preset="full", seeds=[0], records=records, directory=RESULTS,
            seconds=time.perf_counter() - began, weights=[WEIGHTS / f"dann-{TARGET}.safetensors"],
            data={"source": problem.data, "sha256": problem.sha256},
            settings={"threads": args.threads},
        )  # fmt: skip


if __name__ == "__main__":
    main()
