"""Fits the mean path of trained face weights by least squares, the network held still.

    python benchmarks/face_mean_path.py WEIGHTS OUT.safetensors [--images 12288]

For weights that were trained without the path, as the shipped ones were. What is fitted is what the
network leaves of the mean of v over all patches of noisy training faces, as W(t) m; the mean of
each colour is left out on both sides: next to that of a photograph the noise's cannot be told.
Prints the power of those means, 1 being that of normal noise, before and after.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from hw2lib.datasets import faces
from hw2lib.datasets.digits import to_float
from hw2lib.diffusion import add_noise, draw_noise, draw_times, make_schedule, target, time_density
from hw2lib.experiments import ddim
from hw2lib.io.weights import save_weights
from hw2lib.models.face_unet import FaceUNet, in_mixed_precision

BATCH, RIDGE, SEED = 128, 10.0, 3


def patterns(images: Tensor, unfold: int) -> Tensor:
    """Means over all patches (N, 3 unfold^2) of images (N, 3, H, W), less that of their colour,
    times the root of the number of patches: normal noise has variance 1, nearly."""
    patches = F.pixel_unshuffle(images, unfold)
    m = patches.mean((2, 3)).unflatten(1, (3, -1))
    return (m - m.mean(2, keepdim=True)).flatten(1) * patches[0, 0].numel() ** 0.5


@torch.inference_mode()
def observe(model: FaceUNet, header: dict, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features of the time (N, K + 1), patterns of x_t (N, C), of what is left of v (N, C)."""
    g = torch.Generator().manual_seed(SEED)
    images, _ = faces.split(faces.load())
    schedule = make_schedule(header["schedule"], header["n_train_steps"])
    density = time_density(schedule, *header["log_snr"])
    predict, unfold = in_mixed_precision(model), model.config.unfold
    rows = []
    for _ in tqdm(range(0, n, BATCH), "looking"):
        x_0 = to_float(images[torch.randint(len(images), (BATCH,), generator=g)])
        x_0 = torch.where(torch.rand(BATCH, 1, 1, 1, generator=g) < 0.5, x_0.flip(3), x_0)
        t, eps = draw_times(density, BATCH, g), draw_noise(x_0, g)
        x_t = add_noise(schedule, x_0, eps, t)
        left = target(schedule, header["prediction"], x_0, eps, t) - predict(x_t, t)
        time = F.silu(model.time(t))  # as MeanPath has it
        time = torch.cat([time, torch.ones(BATCH, 1)], 1)
        rows.append((time, patterns(x_t, unfold), patterns(left, unfold)))
    return tuple(torch.cat(column).double() for column in zip(*rows, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=12_288)
    args = parser.parse_args()
    old, header = ddim.load_face_unet(args.weights)
    model = FaceUNet(replace(old.config, mean=True))
    model.load_state_dict(old.state_dict(), strict=False)
    linear = model.mean.matrix[1]
    torch.nn.init.zeros_(linear.weight)  # a path that is there already is fitted anew
    torch.nn.init.zeros_(linear.bias)
    time, m, left = observe(model, header, args.images)
    x = torch.einsum("nk,ni->nki", time, m).flatten(1)  # (N, (K + 1) C)
    k, c = time.shape[1], m.shape[1]
    solved = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(k * c), x.T @ left)
    w = solved.reshape(k, c, c).permute(2, 1, 0).reshape(c * c, k)  # rows: (to, from)
    with torch.no_grad():
        linear.weight.copy_(w[:, :-1])
        linear.bias.copy_(w[:, -1])
    after = left - x @ solved
    print(f"power {left.square().mean():.3f}, with the path {after.square().mean():.3f}")
    header["architecture"]["mean"] = True
    header["mean_path"] = {"images": args.images, "ridge": RIDGE, "seed": SEED}
    save_weights(args.out, model.state_dict(), header)


if __name__ == "__main__":
    main()
