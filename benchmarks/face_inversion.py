"""Faces turned back to noise and drawn again, in float32 on every machine.

    python benchmarks/face_inversion.py [--record]

The notebook does so in the precision that is fast, and the error of the noise depends on it.
--record writes data/results/faces-inversion.json, which `hw2 verify` holds its own numbers against.
"""

from __future__ import annotations

import argparse
import time

from hw2lib import device
from hw2lib.experiments import ddim
from hw2lib.io import results
from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.studies.ddim import PLANS, Sampler
from hw2lib.studies.walks import inversion, inversion_records

STEPS = (10, 20, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    device.fast_bfloat16 = lambda _: False
    began, plan = time.perf_counter(), PLANS["full"]
    draw = Sampler(*ddim.load_face_unet())
    records = inversion_records(inversion(draw, plan.encoded, STEPS))
    print(results.table(records).to_string())
    if args.record:
        results.write(
            "faces-inversion", preset="full", seeds=[0], records=records, directory=RESULTS,
            seconds=draw.spared + time.perf_counter() - began,
            weights=[WEIGHTS / "faces.safetensors"], data={"source": "none", "sha256": {}},
            settings={"steps of the faces": plan.steps},
        )  # fmt: skip


if __name__ == "__main__":
    main()
