"""What a reader of the live page waits for, in each browser that is here, and what it shows.

    python benchmarks/live.py [--repeats 5] [--record]

In headless Chromium and Firefox, from a file, each with a profile of its own:

    first_digit   from the click to the picture, the model's loading included
    digit, row    the next ones: a digit, and a row of ten (w = 1.25, ten steps)
    student_row   a row of ten by the student in four evaluations, its network loaded
    faces         three faces of 20 steps, the model loaded; first_faces with its loading
    reading       an image by all networks of a target, in milliseconds
    frames        pictures a second that the page keeps up while it draws the row of ten

And, without regard to time: the share of MNIST's test digits (black ink on white paper) that each
network reads correctly as they are and after each change of the page (HW2_DATA); and how far a face
of 50 steps moves, of 255, by the rounding of the page's weights. --record writes
data/results/live.json. Times want an idle machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from hw2lib.datasets.digits import to_uint8
from hw2lib.datasets.faces import load_noise
from hw2lib.datasets.pairs import load_problem
from hw2lib.experiments.ddim import load_face_unet, sample_faces
from hw2lib.io import results
from hw2lib.io.paths import NOISE, RESULTS, ROOT, WEIGHTS
from hw2lib.metrics import accuracy_metric, metric
from hw2lib.models.face_unet import FaceUNet

sys.path.insert(0, str(ROOT / "tests"))

from helpers.livepage import MODULES, hw2live, make

CHANGES = ("none", "neighbours", "photograph", "blurred", "inverted")
DIGITS = 500  # of MNIST's test digits
PAUSE = "new Promise(done => setTimeout(done, 5))"
DRAW = f"""(async (part, label) => {{
  const live = document.querySelector('#live-' + part), form = live.querySelector('form');
  if (form.label) form.label.value = label;
  const line = live.querySelector('[role=status]'), start = performance.now();
  let frames = 0, drawing = true;
  const count = () => drawing && (frames++, requestAnimationFrame(count));
  form.requestSubmit();
  count();
  line.textContent = '';
  while (!/ seconds/.test(line.textContent)) await {PAUSE};
  drawing = false;
  const seconds = (performance.now() - start) / 1000;
  return [seconds, frames / seconds];
}})"""
CHOOSE = """(solver => {
  const chosen = document.querySelector('#live-digits [name=solver]');
  chosen.value = solver;
  chosen.dispatchEvent(new Event('change', {bubbles: true}));
})"""
READ = """(async (target, n) => {
  const pixels = Uint8Array.from({length: 2352}, (_, i) => i * 7919 % 256), times = [];
  for (let i = 0; i < n; i++) {
    const start = performance.now();
    await hw2live.read(target, pixels);
    times.push(performance.now() - start);
  }
  return times;
})"""
READ_ALL = """(async (target, change, images) => {
  const found = [];
  for (const image of images) {
    const pixels = Uint8ClampedArray.from({length: 2352}, (_, i) => image[i % 784]);
    const all = await hw2live.read(target, (hw2live.CHANGES[change] ?? (x => x))(pixels));
    found.push(all.map(({title, probabilities}) =>
      [title, probabilities.indexOf(Math.max(...probabilities))]));
  }
  return found;
})"""


def call(window: object, function: str, *arguments: object) -> object:
    return window.evaluate(f"{function}(...{json.dumps(arguments)})")


def waits(window: object, page: Path, repeats: int) -> dict[str, tuple[list[float], str]]:
    """score -> (one value a repeat, unit) in one browser."""
    first, digit, row, frames, student, first_faces, faces = [], [], [], [], [], [], []
    for _ in range(repeats):
        window.open(page.as_uri())
        first.append(call(window, DRAW, "digits", "0")[0])
        digit.append(call(window, DRAW, "digits", "1")[0])
        seconds, rate = call(window, DRAW, "digits", "all ten")
        row.append(seconds)
        frames.append(rate)
        call(window, CHOOSE, "student")
        call(window, DRAW, "digits", "0")
        student.append(call(window, DRAW, "digits", "all ten")[0])
        first_faces.append(call(window, DRAW, "faces", "")[0])
        faces.append(call(window, DRAW, "faces", "")[0])
    reading = call(window, READ, "svhn", repeats + 3)[3:]
    return {
        "first_digit": (first, "s"), "digit": (digit, "s"), "row": (row, "s"),
        "student_row": (student, "s"),
        "first_faces": (first_faces, "s"), "faces": (faces, "s"),
        "reading": (reading, "ms"), "frames": (frames, "number"),
    }  # fmt: skip


def readings(window: object, page: Path, images: np.ndarray, labels: list[int]) -> list[dict]:
    """Accuracy of each network of each target on images (N, 28, 28), after each change."""
    records = []
    window.open(page.as_uri())
    for target in hw2live.TARGETS:
        for change in CHANGES:
            flat = images.reshape(len(images), -1).tolist()
            found = call(window, READ_ALL, target, change, flat)
            for k, (title, _) in enumerate(found[0]):
                right = sum(one[k][1] == label for one, label in zip(found, labels, strict=True))
                share = accuracy_metric([right], len(labels))
                record = results.record(title, "accuracy", share, target=target, change=change)
                records.append(record)
    return records


def face_unet(rounded: bool) -> FaceUNet:
    model, _ = load_face_unet()
    if rounded:
        model.load_state_dict(hw2live.read(hw2live.rounded(WEIGHTS / "faces.safetensors")))
    return model


def rounding() -> list[dict]:
    """How far the rounded weights move the report's four faces, of 255; one value a face."""
    header = load_face_unet()[1]
    noise = torch.cat([load_noise(NOISE / f"0{k}.pt") for k in range(hw2live.FACE_NOISES)])
    exact, moved = (
        to_uint8(sample_faces(face_unet(rounded), header, noise, batch=len(noise))).float()
        for rounded in (False, True)
    )
    apart = (exact - moved).abs().flatten(1)
    found = {"mean_difference": apart.mean(1), "largest_difference": apart.amax(1)}
    return [results.record("rounded", score, metric(values.tolist(), 1, "number"))
            for score, values in found.items()]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    began, records, shares = time.perf_counter(), [], []
    problem = load_problem("mnistm")
    digits = problem.source_test
    images, labels = 255 - digits.images[:DIGITS, 0].numpy(), digits.labels[:DIGITS].tolist()
    with tempfile.TemporaryDirectory() as folder:
        page = make(Path(folder))
        for name, module in MODULES.items():
            (Path(folder) / name).mkdir()
            window = import_module(module).Browser(Path(folder) / name)
            for score, (values, unit) in waits(window, page, args.repeats).items():
                records.append(results.record(name, score, metric(values, 1, unit)))
            shares = shares or readings(window, page, images, labels)  # the tests: alike in both
            window.close()
    records += [*shares, *rounding()]
    print(results.table(records).to_string(), flush=True)
    if args.record:
        files = [*WEIGHTS.glob("dann-*.safetensors"), *WEIGHTS.glob("digits*.safetensors")]
        results.write(
            "live", preset="full", seeds=list(range(args.repeats)), records=records,
            directory=RESULTS, seconds=time.perf_counter() - began,
            data={"source": problem.data, "sha256": problem.sha256},
            weights=sorted([*files, WEIGHTS / "faces.safetensors"]),
        )  # fmt: skip


if __name__ == "__main__":
    main()
