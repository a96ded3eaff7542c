"""The live page's folder: book/live copied beside the pages, with the shipped models as scripts.

A page opened by double click may load scripts and nothing else, so everything that the page asks
for later is a script `hw2live.give(name, value)` in live/data, made of what the library ships:

- engine       live/network.js, as text for workers, and live/kernels.wasm
- digits       the digit model, its schedule, and the noises of the report's grid
- readers-T    the adapted networks of target T that lie in data/weights
- examples     ten digits of each target's stand-in (hw2lib.datasets.embedded)
- maps         live/maps.json, which benchmarks/feature_maps.py writes

Nothing goes to _static: the theme puts every script there on every page.
"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from hw2lib.datasets import embedded
from hw2lib.diffusion import make_schedule
from hw2lib.experiments.dann_rows import ROWS
from hw2lib.io.weights import weights_header
from hw2lib.samplers import individual_noise, sample_generators

PAGE = ("page.js", "page.css", "digits.js", "reading.js", "maps.js", "forgetting.js")  # at once
TARGETS = ("svhn", "usps", "mnistm")  # whose networks are shipped
ORDER = [row.title for row in ROWS.values()]  # of the readers; unknown titles stand last
GRID_NOISES, SIDE, SEED = 10, 28, 0  # of the report's grid


def text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def engine(sources: Path) -> dict:
    return {
        "network": (sources / "network.js").read_text(encoding="utf-8"),
        "wasm": text_of((sources / "kernels.wasm").read_bytes()),
    }


def digits(file: Path) -> dict:
    header = weights_header(file)
    generators = sample_generators(SEED, range(GRID_NOISES))
    noises = individual_noise((3, SIDE, SIDE), generators)
    return {
        "file": file.name,
        "weights": text_of(file.read_bytes()),
        "alphaBar": make_schedule(header["schedule"], header["n_train_steps"]).alpha_bar.tolist(),
        "noises": text_of(noises.numpy().astype("<f4").tobytes()),
    }


def readers(folder: Path) -> dict[str, list[dict]]:
    """target -> its networks, in the order of ROWS."""
    found = {target: [] for target in TARGETS}
    for file in sorted(folder.glob("*.safetensors")):
        header = weights_header(file)
        if header.get("kind") == "dann":
            reader = {"file": file.name, "title": header.get("title", file.stem),
                      "weights": text_of(file.read_bytes())}  # fmt: skip
            found[header["target"]].append(reader)
    for networks in found.values():
        networks.sort(key=lambda one: [*ORDER, one["title"]].index(one["title"]))
    return found


def examples() -> dict[str, list[str]]:
    """The first test image of each digit, uint8 (3, 28, 28), of each target's stand-in."""
    found = {}
    for target in TARGETS:
        images, labels, _ = embedded.digits(target)[1]
        firsts = [images[(labels == digit).argmax()] for digit in range(10)]
        found[target] = [text_of(image.tobytes()) for image in firsts]
    return found


def give(data: Path, name: str, value: object) -> None:
    """Write the script data/NAME.js."""
    script = f"hw2live.give({json.dumps(name)}, {json.dumps(value)});\n"
    (data / f"{name}.js").write_text(script, encoding="utf-8")


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
    if (weights / "digits.safetensors").is_file():
        give(data, "digits", digits(weights / "digits.safetensors"))
    for target, networks in readers(weights).items():
        give(data, f"readers-{target}", networks)


def on_finished(app: Sphinx, error: Exception | None) -> None:
    sources = Path(app.srcdir) / "live"
    if error is None and app.builder.format == "html" and sources.is_dir():
        write(sources, Path(app.srcdir).parent / "data" / "weights", Path(app.outdir) / "live")
        for source_map in Path(app.outdir, "_static").rglob("*.map"):  # the theme's: 3.4 MB that
            source_map.unlink()  # only its developers' tools read; the book may have 40


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", on_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
