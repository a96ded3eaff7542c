"""Speed of the face sampler, and memory and speed of the course's 256x256 network.

    python benchmarks/faces_speed.py [--threads 2] [--course-steps 3] [--record]

Of the shipped model: faces a second at 50 steps and eta 0, and the share of the time that is not
the network's own, measured around each of its calls. Of the course's network, with random weights
in the format of UNet.pt (the file need not be there): the peak memory of a process that loads the
file and samples one face, seconds a step, and the error of its picture to the recipe written out
in float64 by numpy. --record writes data/results/faces-speed.json.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hw2lib.commands.verify import course_network, recipe
from hw2lib.diffusion import Predict
from hw2lib.experiments import ddim
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.metrics import metric
from hw2lib.models.face_unet import in_mixed_precision

STEPS = ddim.DEFAULT.steps


class Timed:
    """A network that sums the seconds of its calls."""

    def __init__(self, predict: Predict):
        self.predict, self.seconds = predict, 0.0

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        began = time.perf_counter()
        output = self.predict(x, t)
        self.seconds += time.perf_counter() - began
        return output


def shipped(batch: int, repeats: int = 3) -> dict[str, float]:
    """Fastest of several runs of `batch` faces, after one to warm up."""
    model, header = ddim.load_face_unet()
    inside = Timed(in_mixed_precision(model))  # as `hw2 sample-faces` has it
    noise = torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    runs = []
    for _ in range(repeats + 1):
        inside.seconds, began = 0.0, time.perf_counter()
        ddim.sample_faces(inside, header, noise, batch=batch)
        total = time.perf_counter() - began
        runs.append((total, 1 - inside.seconds / total))
    total, share = (min(values) for values in zip(*runs[1:], strict=True))
    return {"faces_per_s": batch / total, "sampler_share": share}


def course(weights: Path, steps: int) -> None:
    """One 256x256 face; prints peak memory, seconds a step, sampler's share, error."""
    model, header = ddim.load_face_unet(weights)
    inside = Timed(model)
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    ddim.sample_faces(inside, header, noise, ddim.Sampling(1))  # the layout is settled once
    inside.seconds, began = 0.0, time.perf_counter()
    face = ddim.sample_faces(inside, header, noise, ddim.Sampling(steps))[0]
    total = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux: in KiB
    share = 1 - inside.seconds / total
    ours = ddim.to_picture(face).numpy().astype(np.float64)
    error = ((ours - recipe(model, noise[0].numpy(), steps)) ** 2).mean()
    print(f"{peak} {total / steps} {share} {error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--course-steps", type=int, default=3)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--course-weights", type=Path, help=argparse.SUPPRESS)  # the child's
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.course_weights:
        course(args.course_weights, args.course_steps)
        return
    began = time.perf_counter()
    rows = [("shipped", 64, b, shipped(b)) for b in (1, 32)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "UNet.pt"
        torch.save(course_network().state_dict(), path)
        # a process of its own, whose peak holds nothing but loading and sampling
        command = [sys.executable, __file__, "--course-weights", str(path)]
        command += ["--threads", str(args.threads), "--course-steps", str(args.course_steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, seconds, share, error = map(float, done.stdout.split())
    of_course = {
        "faces_per_s": 1 / (STEPS * seconds),
        "sampler_share": share,
        "seconds_per_step": seconds,
        "peak_memory_gib": peak,
        "squared_error": error,  # of pictures, 0..255, to the recipe
    }
    records = [
        results.record(row, score, metric([value], 1, "number"), pixels=pixels, batch=batch)
        for row, pixels, batch, scores in (*rows, ("course", 256, 1, of_course))
        for score, value in scores.items()
    ]
    print(f"{args.threads} threads, {STEPS} steps, eta 0")
    print(results.table(records).to_string())
    if args.record:
        results.write(
            "faces-speed", preset="full", seeds=[0], records=records, directory=RESULTS,
            seconds=time.perf_counter() - began, weights=[WEIGHTS / "faces.safetensors"],
            data={"source": "none", "sha256": {}}, settings={"threads": args.threads},
        )  # fmt: skip


if __name__ == "__main__":
    main()
