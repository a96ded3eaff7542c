"""Folders of samples, digits and faces: written whole or not at all."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from zlib import crc32

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from hw2lib.datasets import faces
from hw2lib.errors import UserError
from hw2lib.experiments import cfdg, ddim
from hw2lib.io.paths import place, synced, temporary, writable_dir
from hw2lib.models.face_unet import in_mixed_precision


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A temporary folder that becomes `out` at the end; `out` must be new or empty.

    An empty folder, be it a link, a mount point or the current one, is filled at the end.
    """
    out = place(out)
    there = out.is_dir()
    if os.path.lexists(out) and not there:
        raise UserError(f"output folder {out} is no folder; name a new folder")
    parent = out if there else out.absolute().parent
    found = next(path for path in (parent, *parent.parents) if path.exists())
    with temporary(writable_dir(found), out.resolve().name, directory=True) as part:
        if there and any(file != part for file in out.iterdir()):
            raise UserError(f"output folder {out} is not empty; name a new folder")
        yield part
        files = sorted(part.iterdir())
        for file in files:
            synced(file)
        if there:
            for file in files:
                file.rename(out / file.name)
        else:
            parent.mkdir(parents=True, exist_ok=True)  # not before: an interrupted run leaves none
            part.rename(out)
        synced(out)


def digits_into(
    out: str | Path,
    per_digit: int = 100,
    how: cfdg.Sampling = cfdg.DEFAULT,
    weights: str | Path | None = None,
    confidence: float = 0.0,
) -> int:
    """Draw {digit}_{001..}.png, 28x28 RGB, into the new folder `out`; returns how many.

    A digit's k-th picture is the same whatever `per_digit` is. With a `confidence` above 0 they
    are drawn by rejection (`cfdg.sample_until_read`).
    """
    model, header = cfdg.load_digit_unet(weights)
    files = list(product(range(10), range(per_digit)))  # (digit, which of its samples)
    labels = torch.tensor([digit for digit, _ in files])
    noises = [10 * k + digit for digit, k in files]
    with new_folder(out) as folder:
        if confidence:
            images, _ = cfdg.sample_until_read(
                model, header, labels, noises, how, confidence, progress=True
            )
        else:
            images = cfdg.sample_digits(model, header, labels, noises, how, progress=True)
        for (digit, k), image in zip(files, images, strict=True):
            _save(image, folder / f"{digit}_{k + 1:03d}.png")
    return len(files)


def faces_into(
    out: str | Path,
    noise_dir: str | Path,
    how: ddim.Sampling = ddim.DEFAULT,
    *,
    batch: int | None = None,
    weights: str | Path | None = None,
) -> int:
    """Draw 00.png for 00.pt, .. of `noise_dir` into the new folder `out`; returns how many.

    weights: UNet.pt or ours, by default the shipped. UNet.pt draws one face at a time in float32,
    as there are reference faces; ours 32 of 64x64 pixels in mixed precision. The noise of eta > 0
    follows from the seed and the name of the file alone (`number_of`), not from what else lies in
    the folder; in another batch a face may differ by 1 of 255, as sums are rounded otherwise.
    Errors: UserError for noises that are none, and for a `batch` of noises of several sizes.
    """
    files = faces.noise_files(noise_dir)
    shapes = {file: faces.load_noise(file).shape for file in files}  # all are right, or none starts
    other = next((file for file in files if shapes[file] != shapes[files[0]]), None)
    if other and batch and batch > 1:
        sizes = [f"{file.name} {shapes[file][-2]}x{shapes[file][-1]}" for file in (files[0], other)]
        raise UserError(f"--batch {batch}: {' but '.join(sizes)}; --batch 1 is right")
    predict, header = ddim.load_face_unet(weights)
    ours = "architecture" in header
    if ours:
        predict = in_mixed_precision(predict)
    pixels = shapes[files[0]][-2] * shapes[files[0]][-1]
    batch = batch or (max(1, 32 * 64**2 // pixels) if ours and not other else 1)
    batch = min(batch, len(files))
    starts = range(0, len(files), batch)
    with (
        new_folder(out) as folder,
        tqdm(total=len(starts) * how.steps, desc="faces", unit="step", delay=2) as bar,
    ):
        for start in starts:
            some = files[start : start + batch]
            sampled = ddim.sample_faces(
                predict, header, torch.cat([faces.load_noise(file) for file in some]), how,
                batch=batch, numbers=[number_of(file) for file in some],
                on_step=lambda *_: bar.update(),
            )  # fmt: skip
            for file, face in zip(some, sampled, strict=True):
                _save(ddim.to_picture(face), folder / f"{file.stem}.png")
    return len(files)


def number_of(file: Path) -> int:
    """The number of a noise file: 1 for 01.pt, a checksum of another name."""
    name = file.stem
    return int(name) if re.fullmatch("[0-9]{1,9}", name) else crc32(os.fsencode(name))


def _save(image: Tensor, file: Path) -> None:
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
