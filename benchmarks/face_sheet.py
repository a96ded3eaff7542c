"""The sheet of faces behind the book's page with sliders: every way, alpha and eta in one picture.

    python benchmarks/face_sheet.py        # writes book/_static/faces-walk.jpg

Rows: the ways (slerp, lerp, rescaled) and in each the etas; columns: alpha. The noise that eta > 0
adds is the same in all of them, so that along a row the starting noise alone changes.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hw2lib.datasets import faces
from hw2lib.datasets.digits import to_uint8
from hw2lib.errors import UserError
from hw2lib.experiments import ddim
from hw2lib.interpolation import WAYS, path
from hw2lib.io.paths import NOISE, ROOT, atomic_write
from hw2lib.models.face_unet import FaceUNet

SHEET = ROOT / "book" / "_static" / "faces-walk.jpg"
ALPHAS = tuple(k / 10 for k in range(11))
ETAS = (0.0, 0.25, 0.5, 0.75, 1.0)
LIMIT = 400_000  # bytes of the file, which every reader of the page loads


def draw(
    model: FaceUNet,
    header: dict,
    a: Tensor,
    b: Tensor,
    *,
    alphas: Sequence[float] = ALPHAS,
    etas: Sequence[float] = ETAS,
    steps: int = 50,
) -> Tensor:
    """uint8 (ways, etas, alphas, 3, H, W) of the faces between noises a and b (1, 3, H, W)."""
    sheet = []
    for how in WAYS:
        noise = path(a[0], b[0], list(alphas), how)
        for eta in etas:
            drawn = ddim.sample_faces(
                model, header, noise, ddim.Sampling(steps, eta), batch=len(alphas),
                numbers=[0] * len(alphas),
            )  # fmt: skip
            sheet.append(to_uint8(drawn))  # one scale of colours for all
    return torch.stack(sheet).unflatten(0, (len(WAYS), len(etas)))


def jpeg(sheet: Tensor, quality: int = 88) -> bytes:
    """The sheet as one picture, (ways * etas) rows of tiles without gaps."""
    rows = sheet.flatten(0, 1)  # (R, A, 3, H, W)
    r, a, _, h, w = rows.shape
    pixels = rows.permute(0, 3, 1, 4, 2).reshape(r * h, a * w, 3)
    stream = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(
        stream, "JPEG", quality=quality, subsampling=0, optimize=True
    )
    return stream.getvalue()


def main(out: Path = SHEET) -> None:
    model, header = ddim.load_face_unet()
    files = faces.noise_files(NOISE)[:2]
    content = jpeg(draw(model, header, *(faces.load_noise(file) for file in files)))
    if len(content) > LIMIT:
        raise UserError(f"{out.name} would have {len(content):,} bytes; {LIMIT:,} are the limit")
    with atomic_write(out) as part:
        part.write_bytes(content)
    print(f"{out}: {len(content):,} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
