"""The live page's folder: book/live copied beside the pages, with the shipped models as scripts.

A page opened by double click may load scripts and nothing else, so everything that the page asks
for later is a script `hw2live.give(name, value)` in live/data, made of what the library ships:

- engine       live/worker/*.js as one script for workers, and live/kernels.wasm
- digits       the digit model, its schedule, and the noises of the report's grid
- student      the same for the student, which draws in few evaluations: its differences to digits
- faces        the face model with most weights rounded to 8 bits, its schedule, the report's noises
- readers-T    the adapted networks of target T that lie in data/weights
- examples     ten digits of each target's stand-in (hw2lib.datasets.embedded)
- walk         norms of the noises on the arc and on the line from 00 to 01
- maps         live/maps.json, which benchmarks/feature_maps.py writes

Bytes stand in the scripts as letters of 15 bits each. The scripts are UTF-16, so that a letter
takes two bytes, 7 % more than the bytes themselves (base64: 33 %); they begin with a byte order
mark, which a browser follows whatever a server says of them. Weights are compressed by zlib before.

Nothing goes to _static: the theme puts every script there on every page.
"""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, load_file, save
from sphinx.application import Sphinx

from hw2lib.datasets import embedded
from hw2lib.datasets.faces import load_noise
from hw2lib.diffusion import make_schedule
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.interpolation import path
from hw2lib.io.weights import weights_header
from hw2lib.samplers import individual_noise, sample_generators

PAGE = ("page.js", "page.css", "digits.js", "faces.js", "reading.js", "maps.js", "forgetting.js",
        "walk.js")  # fmt: skip
WORKER = ("arithmetic", "weights", "samplers", "digits", "faces", "reading", "tasks")  # one script
TARGETS = ("svhn", "usps", "mnistm")  # whose networks are shipped
ORDER = [row.title for row in ROWS.values()]  # of the readers; unknown titles stand last
GRID_NOISES, SIDE, SEED = 10, 28, 0  # of the report's grid
FACE_NOISES = 4  # of data/noise
ZERO, BITS = 0x5000, 15  # letters from here on, all of one UTF-16 unit each


def text_of(content: bytes) -> str:
    """Letters of 15 bits; the first tells how many bytes were added to make whole letters."""
    added = -len(content) % BITS
    bits = np.unpackbits(np.frombuffer(content + bytes(added), np.uint8)).reshape(-1, BITS)
    letters = np.full(len(bits), ZERO, "<u2")
    for column in bits.T:
        letters = (letters - ZERO) * 2 + column + ZERO
    return chr(ZERO + added) + letters.astype("<u2").tobytes().decode("utf-16-le")


def weights_of(content: bytes) -> str:
    return text_of(zlib.compress(content, 9))


def engine(sources: Path) -> dict:
    return {
        "worker": "".join((sources / "worker" / f"{name}.js").read_text() for name in WORKER),
        "wasm": text_of((sources / "kernels.wasm").read_bytes()),
    }


def digits(file: Path, weights: bytes) -> dict:
    """What the page needs of a digit model; `weights` may be other bytes than those of its file."""
    header = weights_header(file)
    generators = sample_generators(SEED, range(GRID_NOISES))
    noises = individual_noise((3, SIDE, SIDE), generators)
    return {
        "file": file.name,
        "weights": weights_of(weights),
        "alphaBar": make_schedule(header["schedule"], header["n_train_steps"]).alpha_bar.tolist(),
        "noises": text_of(noises.numpy().astype("<f4").tobytes()),
    }


def rounded(file: Path) -> bytes:
    """A face model's file, its wide 3x3 kernels as whole numbers times NAME.scale, one a channel.

    Half as many bytes; what it does to faces stands in data/results/live.json. With all kernels
    rounded the faces would be others: those of the first and last resolution are not.
    """
    state = load_file(file)
    for name, weight in list(state.items()):
        if weight.ndim == 4 and weight.shape[-1] == 3 and len(weight) >= 128:
            scale = weight.float().abs().amax((1, 2, 3)) / 127
            state[name] = (weight / by_channel(scale, weight)).round().to(torch.int8)
            state[f"{name}.scale"] = scale
    return save(state, {"config": json.dumps(weights_header(file))})


def differences(file: Path, base: Path) -> bytes:
    """A student's file as differences to the weights `base` that it began with: a third of the
    bytes, as they fit into five bits each. What it does to digits stands in digits-student.json.
    """
    state, before = load_file(file), load_file(base)
    for name in before:
        apart = state[name].float() - before[name].float()
        if apart.ndim > 1:
            scale = apart.flatten(1).abs().amax(1).clamp(min=1e-12) / 15
            apart = (apart / by_channel(scale, apart)).round().to(torch.int8)
            state[f"{name}.scale"] = scale
        state[name] = apart
    return save(state, {"config": json.dumps(weights_header(file))})


def by_channel(scale: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return scale.view(-1, *[1] * (weight.ndim - 1))


def read(*files: bytes) -> dict[str, torch.Tensor]:
    """The state dict that the page makes of files, float32: whole numbers times their scale, and
    what a later file holds added to an earlier one's."""
    total: dict[str, torch.Tensor] = {}
    for content in files:
        state = {name: weight.float() for name, weight in load(content).items()}
        for name in [name.removesuffix(".scale") for name in state if name.endswith(".scale")]:
            state[name] *= by_channel(state.pop(f"{name}.scale"), state[name])
        total |= {name: total.get(name, 0) + weight for name, weight in state.items()}
    return total


def faces(file: Path, noises: Path) -> dict:
    header = weights_header(file)
    four = [load_noise(noises / f"{k:02d}.pt") for k in range(FACE_NOISES)]
    return {
        "file": file.name,
        "weights": weights_of(rounded(file)),
        "alphaBar": make_schedule(header["schedule"], header["n_train_steps"]).alpha_bar.tolist(),
        "noises": text_of(torch.cat(four).numpy().astype("<f4").tobytes()),
    }


def walk(noises: Path) -> dict[str, list[float]]:
    """way -> norms at alpha 0, .1, .., 1, as a share of the first noise's."""
    a, b = (load_noise(noises / f"0{k}.pt") for k in range(2))
    ways = {way: path(a, b, [k / 10 for k in range(11)], way) for way in ("slerp", "lerp")}
    return {way: (x.flatten(1).norm(dim=1) / a.norm()).tolist() for way, x in ways.items()}


def readers(folder: Path) -> dict[str, list[dict]]:
    """target -> its networks, in the order of ROWS."""
    found = {target: [] for target in TARGETS}
    for file in sorted(folder.glob("*.safetensors")):
        header = weights_header(file)
        if header.get("kind") == "dann":
            reader = {"file": file.name, "title": header.get("title", file.stem),
                      "weights": weights_of(file.read_bytes())}  # fmt: skip
            found[header["target"]].append(reader)
    for networks in found.values():
        networks.sort(key=lambda one: [*ORDER, one["title"]].index(one["title"]))
    return found


def examples() -> dict[str, list[str]]:
    """The first test image of each digit, uint8 (3, 28, 28), of each target's stand-in."""
    found = {}
    for target in TARGETS:
        ((images, labels, _),) = embedded.digits(target, ("test",))
        firsts = [images[(labels == digit).argmax()] for digit in range(10)]
        found[target] = [text_of(image.tobytes()) for image in firsts]
    return found


def give(data: Path, name: str, value: object) -> None:
    """Write the script data/NAME.js."""
    script = f"hw2live.give({json.dumps(name)}, {json.dumps(value, ensure_ascii=False)});\n"
    (data / f"{name}.js").write_text("\ufeff" + script, encoding="utf-16-le")


def write(sources: Path, weights: Path, out: Path) -> None:
    """Make the folder `out` of the page's sources and the weights files."""
    shutil.rmtree(out, ignore_errors=True)  # of an earlier build
    data = out / "data"
    data.mkdir(parents=True)
    for name in PAGE:
        shutil.copyfile(sources / name, out / name)
    give(data, "engine", engine(sources))
    give(data, "examples", examples())
    give(data, "maps", json.loads((sources / "maps.json").read_text(encoding="utf-8")))
    if (model := weights / "digits.safetensors").is_file():
        give(data, "digits", digits(model, model.read_bytes()))
        if (student := weights / "digits-student.safetensors").is_file():
            needed = digits(student, differences(student, model))
            give(data, "student", {**needed, "base": "digits"})
    noises = weights.parent / "noise"
    if noises.is_dir():
        give(data, "walk", walk(noises))
    if (weights / "faces.safetensors").is_file():
        give(data, "faces", faces(weights / "faces.safetensors", noises))
    for target, networks in readers(weights).items():
        give(data, f"readers-{target}", networks)


def on_finished(app: Sphinx, error: Exception | None) -> None:
    sources = Path(app.srcdir) / "live"
    if error is None and app.builder.format == "html" and sources.is_dir():
        write(sources, Path(app.srcdir).parent / "data" / "weights", Path(app.outdir) / "live")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", on_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
