"""Autoguidance for faces: the shipped model steered away from a worse one (Karras et al. 2024).

    python benchmarks/face_guides.py [--choose | --record]

There are no labels, so what is steered away from can only be a worse model: (1 + w) v - w v_guide.
A guide is trained as the shipped model, from random weights, for STEPS steps of 16 faces: "early"
with the same channels (an early checkpoint, as it were), "half" with half of them. Faces are drawn
by DPM-Solver++(2M).

--choose draws 256 faces a cell and compares them with training faces. The rest are 512 faces from
other noises against the held-out ones. All cells start from the same noises. Records:

    tried  frechet, kernel   of --choose, by steps, and guide, w, interval where there is a guide
    drawn  frechet, kernel   of the cells that were chosen, and in as many evaluations without guide
    drawn  worse             what the guide adds to the Frechet distance without it
    drawn  evaluations       passes of a network for one face, of the guide or the model
    drawn  near, nearest_ratio            see `studies.ddim.copies`
    guide  frechet, kernel, images_seen, seconds  of a guide by itself

All networks compute in bfloat16, on machines without fast units for it too. Trainings and faces are
kept in the build folder and taken up again. --record writes data/results/faces-guides.json.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from hw2lib import device
from hw2lib.datasets import faces
from hw2lib.diffusion import Predict
from hw2lib.evaluators import face_features
from hw2lib.evaluators.face_features import FaceFeatures
from hw2lib.experiments import ddim, recipe
from hw2lib.experiments.ddim import FACE_PRESETS
from hw2lib.experiments.recipe import Preset
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS, sha256
from hw2lib.io.results import record
from hw2lib.metrics import metric
from hw2lib.models.face_unet import SMALL, in_mixed_precision
from hw2lib.samplers import Denoiser, sample_dpmpp, time_steps
from hw2lib.studies.ddim import Sampler, added, copies, quality

STEPS, SEED = 2000, 0
NETWORKS = {"early": SMALL, "half": replace(SMALL, widths=(32, 64, 80, 80), groups=16)}
BLOCK = 64  # faces that are drawn at once, and kept in one file
CHOICE, N = range(10_000, 10_256), range(512)
REAL = 1000  # training faces to choose by


@dataclass(frozen=True)
class Cell:
    """In how many steps faces are drawn; what steers them, how strongly, between which times."""

    steps: int
    guide: str | None = None
    w: float | None = None
    interval: tuple[int, int] | None = None

    def setting(self) -> dict:
        """As in the records; without what is None."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def evaluations(self) -> int:
        """Passes of a network for one face."""
        first, last = self.interval or (0, recipe.N_TRAIN_STEPS)
        times = time_steps(recipe.N_TRAIN_STEPS, self.steps)
        return self.steps + sum(first <= t <= last for t in times if self.guide)


LATE = (0, 500)  # the less noisy half of the time steps
PLAIN = tuple(Cell(steps) for steps in (10, 15, 20, 30))
TRIED = (
    *PLAIN,
    *(Cell(10, guide, w) for guide in NETWORKS for w in (0.25, 0.5, 1.0)),
    Cell(10, "early", 0.1),
    Cell(10, "early", 0.25, (500, 1000)),
    *(Cell(10, "early", w, LATE) for w in (0.25, 0.5, 1.0)),
    *(Cell(20, "early", w, LATE) for w in (0.25, 0.5)),
)
CHOSEN = tuple(Cell(steps, "early", 0.5, LATE) for steps in (10, 20))  # least Frechet distance


def guide_preset(guide: str) -> Preset:
    """The settings of a guide: small batches, since it is trained without a GPU."""
    cores = FACE_PRESETS["cores"]
    train = replace(cores.train, steps=STEPS, seed=SEED)
    return replace(cores, model=NETWORKS[guide], train=train)


@cache
def trained_guide(guide: str) -> Path:
    """The weights of a guide, trained if they are not there yet."""
    preset = guide_preset(guide)
    out = recipe.run_folder("face-guides/guide", preset, faces.load())
    if not (out / "weights.safetensors").exists():
        ddim.train_faces(preset, out=out, resume=True)
    return out / "weights.safetensors"


def steered(model: Predict, guide: Predict, w: float, interval: tuple[int, int] | None) -> Predict:
    """(1 + w) model - w guide at the time steps of the interval, else the model."""
    first, last = interval or (0, recipe.N_TRAIN_STEPS)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if not first <= t[0] <= last:
            return model(x, t)
        return (1 + w) * model(x, t) - w * guide(x, t)

    return predict


class Faces:
    """Faces of cells, as features; kept."""

    def __init__(self, draw: Sampler, eye: FaceFeatures) -> None:
        self.draw, self.eye = draw, eye

    def block(self, cell: Cell, numbers: range) -> Tensor:
        """Faces (N, 3, 64, 64) of the starting noises `numbers`."""
        draw, noise = self.draw, self.draw.starts(numbers)
        weights = trained_guide(cell.guide) if cell.guide else None

        def sample() -> Tensor:
            predict = draw.predict
            if weights:
                guide = in_mixed_precision(ddim.load_face_unet(weights)[0])
                predict = steered(predict, guide, cell.w, cell.interval)
            model = Denoiser(predict, draw.schedule, draw.header["prediction"])
            return sample_dpmpp(model, noise.to(device.device()), cell.steps).cpu()

        what = ("dpmpp", cell.steps, cell.w, cell.interval, weights and sha256(weights))
        return draw.kept(what, noise, sample)

    def __call__(self, cell: Cell, numbers: range) -> Tensor:
        """Features (N, D)."""
        parts = [numbers[a : a + BLOCK] for a in range(0, len(numbers), BLOCK)]
        return torch.cat([self.eye.embed(self.block(cell, part)) for part in parts])


def tried(cells: Faces, images: Tensor) -> list[dict]:
    """Records of TRIED against features (M, D) of training faces; printed as they come."""
    records = []
    for cell in TRIED:
        records += quality("tried", cells(cell, CHOICE), images, **cell.setting())
        print(results.table(records[-2:]).to_string(header=False), flush=True)
    return records


def chosen(cells: Faces, held_out: Tensor, training: Tensor) -> list[dict]:
    """Records of CHOSEN, each beside as many evaluations without a guide, against features (M, D)
    of held-out faces; copies are looked for among those (K, D) of all training faces."""
    records = []
    for cell in CHOSEN:
        plain = Cell(cell.evaluations())
        features = {one: cells(one, N) for one in (plain, cell)}
        for one, x in features.items():
            setting = one.setting()
            records += quality("drawn", x, held_out, **setting)
            passes = metric([one.evaluations()], len(x), "number")
            records.append(record("drawn", "evaluations", passes, **setting))
            records += [{**r, "setting": setting} for r in copies(x, held_out, training)[0]]
        worse = added(features[cell], features[plain], held_out)
        records.append(record("drawn", "worse", worse, **setting))
        print(results.table(records).to_string(), flush=True)
    return records


def of_guides(cells: Faces, held_out: Tensor) -> list[dict]:
    """Records of what the guides are themselves."""
    records = []
    for guide in NETWORKS:
        model, header = ddim.load_face_unet(trained_guide(guide))
        alone = Faces(Sampler(model, header), cells.eye)
        found = quality("guide", alone(Cell(10), CHOICE), held_out, guide=guide)
        for score, unit in (("images_seen", "number"), ("seconds", "s")):
            found.append(record("guide", score, metric([header[score]], 1, unit), guide=guide))
        records += found
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--choose", action="store_true")
    what.add_argument("--record", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device.fast_bfloat16 = lambda where: True
    began, data = time.perf_counter(), faces.load()
    eye = face_features.load()
    cells = Faces(Sampler(*ddim.load_face_unet()), eye)
    training, held_out = (eye.embed(images) for images in faces.split(data))
    records = tried(cells, training[:REAL])
    if args.choose:
        return
    records += of_guides(cells, held_out)
    records += chosen(cells, held_out, training)
    if args.record:
        spared = cells.draw.spared + sum(
            record["mean"] for record in results.select(records, "guide", "seconds")
        )
        results.write(
            "faces-guides", preset="full", seeds=[SEED], records=records, directory=RESULTS,
            seconds=spared + time.perf_counter() - began,
            weights=[WEIGHTS / "faces.safetensors", WEIGHTS / "face-features.safetensors"],
            data={"source": data.data, "sha256": data.sha256},
            settings={"solver": "dpmpp", "precision": "bfloat16", "training faces": REAL,
                      "steps of a guide": STEPS, "first noise of the choice": CHOICE.start},
        )  # fmt: skip


if __name__ == "__main__":
    main()
