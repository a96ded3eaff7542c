"""face_sheet: every tile in its place, and a shipped sheet that fits the page's script."""

import io
import re

import face_sheet
import numpy as np
import torch
from PIL import Image

from hw2lib.datasets.digits import to_uint8
from hw2lib.experiments import ddim
from hw2lib.interpolation import WAYS, path
from hw2lib.io.paths import ROOT
from hw2lib.models.face_unet import TINY, FaceUNet

HEADER = {"schedule": "linear", "n_train_steps": 1000, "prediction": "v"}


def test_tiles_are_the_samplers_faces():
    model = FaceUNet(TINY).eval()
    a, b = torch.randn(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    some = {"alphas": (0.0, 0.4), "etas": (0.0, 1.0), "steps": 2}
    sheet = face_sheet.draw(model, HEADER, a, b, **some)
    assert sheet.shape == (3, 2, 2, 3, 16, 16) and sheet.dtype == torch.uint8
    noise = path(a[0], b[0], [0.4], "lerp")
    face = ddim.sample_faces(model, HEADER, noise, ddim.Sampling(2, 1.0))
    difference = sheet[1, 1, 1].int() - to_uint8(face[0]).int()
    assert difference.abs().max() <= 1  # another batch: rounding


def test_the_picture_has_rows_of_ways_and_etas():
    sheet = torch.zeros(3, 2, 4, 3, 8, 8, dtype=torch.uint8)
    sheet[1, 0, 3] = 255
    pixels = np.asarray(Image.open(io.BytesIO(face_sheet.jpeg(sheet, 95))))
    assert pixels.shape == (48, 32, 3)
    assert pixels[16:24, 24:32].min() > 200 and pixels[:16].max() < 60


def test_the_shipped_sheet_fits_the_page():
    """Its size in tiles is what the page's script counts with."""
    files = ("walk.html", "walk.js", "page.css")
    page = "".join((ROOT / "book" / "live" / name).read_text(encoding="utf-8") for name in files)
    with Image.open(face_sheet.SHEET) as image:
        assert image.size == (64 * len(face_sheet.ALPHAS), 64 * len(face_sheet.ETAS) * len(WAYS))
    assert face_sheet.SHEET.stat().st_size <= face_sheet.LIMIT
    for name, n in (("alpha", len(face_sheet.ALPHAS)), ("eta", len(face_sheet.ETAS))):
        assert re.search(rf'id="walk-{name}"[^>]*max="{n - 1}"', page)
    assert re.findall(r'data-way="(\d)"', page) == ["0", "1", "2"]
    rows, columns = 5 * len(WAYS), len(face_sheet.ALPHAS)
    assert f"{100 * columns}% {100 * rows}%" in page  # the sheet's size in tiles
    assert f"{100 // (columns - 1)} * alpha.value" in page and f"row / {rows - 1}" in page
