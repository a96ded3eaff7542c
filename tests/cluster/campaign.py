"""The recording through a Slurm of two nodes, with what goes wrong on a cluster; and locally.

    PYTHONPATH=tests:. python -m cluster.campaign [--record]      # `make cluster` tests the same

The graph at its preset tiny runs once on this machine and once through Slurm, where one job is
killed half-way, one is cancelled half-way, one cannot write its folder, and the controller is
restarted. The first pass ends with that one failure, its log is left and all others have finished;
the second makes what is missing. Then both must have made the same. --record keeps what Slurm says
of its jobs in data/results/cluster.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from cluster.slurm import Slurm, wait
from safetensors import safe_open

from hw2lib.io import results
from hw2lib.metrics import metric

ROOT = Path(__file__).resolve().parents[2]
KILLED, CANCELLED, FAILING = "guidance-p10-s0", "dann-usps-dann-s0", "dann-usps-source_only-s0"
STEPS = 6  # of a training at this preset
FOLDERS = {  # below build/runs, of their trainings
    KILLED: "guidance-*/p10-s0",
    CANCELLED: "dann-usps-tiny/seed-0/dann",
    FAILING: "dann-usps-tiny/seed-0/source_only",
}
PROFILES = ROOT / "profiles"
LIMIT = 3600  # seconds of one pass; far more than it takes on an idle machine
MAY_DIFFER = ("seconds", "device", "commit")  # in a result file; commits may go on meanwhile


@dataclass
class Seen:
    """What happened."""

    local: Path  # its build folder
    build: Path  # the cluster's
    first: str = ""  # what the first pass said
    status: list[int] = field(default_factory=list)  # exit status of the passes
    steps: dict[str, int] = field(default_factory=dict)  # of a checkpoint when its job was ended
    after_first: set[str] = field(default_factory=set)  # jobs that were done then
    jobs: list[dict] = field(default_factory=list)  # what Slurm says of each
    seconds: float = 0.0


def make(build: Path, profile: Path, environment: dict[str, str]) -> subprocess.Popen:
    """`make record` at the preset tiny, on stand-ins, into `build`."""
    (build / "no-data").mkdir(parents=True, exist_ok=True)
    environment = {**environment, "HW2_BUILD": str(build), "HW2_DATA": str(build / "no-data")}
    with open(build / "make.log", "a") as log:
        return subprocess.Popen(
            ["make", "record", "PRESET=tiny", f"PROFILE={profile}"],
            cwd=ROOT, env=environment, stdout=log, stderr=log,
        )  # fmt: skip


def run(folder: Path) -> Seen:
    """Both recordings, in `folder`, whose path is short."""
    began = time.monotonic()
    seen = Seen(folder / "local", folder / "build")
    if make(seen.local, PROFILES / "local", dict(os.environ)).wait(LIMIT):
        raise RuntimeError((seen.local / "make.log").read_text()[-3000:])
    with Slurm(folder) as slurm:
        on_cluster(seen, slurm)
    seen.seconds = time.monotonic() - began
    return seen


def on_cluster(seen: Seen, slurm: Slurm) -> None:
    """The recording through Slurm, in two passes."""
    obstacle = seen.build / "runs" / FOLDERS[FAILING]
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("in the way of a folder")
    profile = slurm.folder / "slurm"
    profile.mkdir()
    text = (PROFILES / "slurm" / "config.yaml").read_text()
    (profile / "config.yaml").write_text(f"{text}slurm-init-seconds-before-status-checks: 3\n")
    recording = make(seen.build, profile, slurm.environment)
    try:
        ends = {CANCELLED: slurm.cancel, KILLED: None}
        while ends:  # whichever comes first
            wait(lambda: any(checkpoints(seen.build, name) for name in ends), LIMIT, every=0.01)
            name = next(name for name in ends if checkpoints(seen.build, name))
            seen.steps[name] = end_half_way(seen.build, name, ends.pop(name))
        slurm.stop_controller()
        time.sleep(5)
        slurm.start_controller()
        seen.status.append(recording.wait(LIMIT))
        seen.first = (seen.build / "make.log").read_text()
        seen.after_first = done(seen.build)
        obstacle.unlink()
        recording = make(seen.build, profile, slurm.environment)
        seen.status.append(recording.wait(LIMIT))
        seen.jobs = slurm.accounts()
    finally:
        recording.terminate()
        recording.wait()


def checkpoints(build: Path, name: str) -> list[Path]:
    """That of a job's training, once it is there: at this preset after the first step."""
    return [*(build / "runs").glob(f"{FOLDERS[name]}/checkpoint.pt")]


def end_half_way(build: Path, name: str, cancel: Callable[[str], None] | None) -> int:
    """End a job in the middle of its training: by `cancel`, given its name, else by SIGKILL.

    Returns the step that its checkpoint is at. The process is halted where it is caught, so that
    it cannot come to its end meanwhile.
    """
    process = next(p for p in psutil.process_iter(["cmdline"]) if _runs(p, name))
    process.suspend()
    if cancel:
        cancel(name)
        time.sleep(2)
        process.resume()
    else:
        process.kill()
    psutil.wait_procs([process], timeout=60)
    (checkpoint,) = checkpoints(build, name)
    return torch.load(checkpoint, map_location="cpu", weights_only=True)["step"]


def _runs(process: psutil.Process, name: str) -> bool:
    return (process.info["cmdline"] or [])[-3:] == ["run", "tiny", name]


def done(build: Path) -> set[str]:
    """Names of the jobs that have finished."""
    return {file.stem for file in (build / "record" / "tiny" / "done").glob("*.json")}


# --- what was made --------------------------------------------------------------------------------


def made(build: Path) -> dict[str, str | dict]:
    """Result files but for times, machine and commit, and the tensors of the weights, by file."""
    found: dict[str, str | dict] = {}
    for file in sorted((build / "results").glob("*.json")):
        content = json.loads(file.read_text())
        for key in MAY_DIFFER:
            del content[key]
        records = [r for r in content["records"] if r["unit"] != "s"]
        found[file.name] = json.dumps(content | {"records": records}, indent=1)
    for file in sorted((build / "runs").rglob("*.safetensors")):
        with safe_open(file, "np") as tensors:
            name = str(file.relative_to(build))
            found[name] = {key: tensors.get_tensor(key).tobytes() for key in tensors.keys()}  # noqa: SIM118
    return found


def report(seen: Seen) -> list[dict]:
    """What happened, as records of a result file."""
    ours, theirs = made(seen.local), made(seen.build)
    equal = sum(ours[name] == theirs.get(name) for name in ours)
    states = [job["state"] for job in seen.jobs]
    counts = {
        "planned": len(done(seen.local)),
        "submitted": len(seen.jobs),
        **{state.lower(): states.count(state) for state in ("COMPLETED", "FAILED", "CANCELLED")},
    }
    records = [results.record("files", "equal", metric([equal], len(ours), "number"))]
    for what, n in counts.items():
        records.append(results.record("jobs", "count", metric([n], 1, "number"), what=what))
    for what, name in (("killed", KILLED), ("cancelled", CANCELLED)):
        step = metric([seen.steps[name]], STEPS, "number")
        records.append(results.record("ended", "step", step, what=what))
    for job in seen.jobs:
        of = {key: job[key] for key in ("number", "job", "state", "node")}
        records.append(results.record("job", "seconds", metric([job["seconds"]], 1, "s"), **of))
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="write data/results/cluster.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hw2-") as name:
        seen = run(Path(name))
        records = report(seen)
    for entry in records:
        setting = " ".join(f"{value}" for value in entry["setting"].values())
        print(f"{entry['row']:<6} {entry['score']:<8} {setting:<60} {entry['mean']:>6g}")
    if args.record:
        results.write("cluster", preset="full", data={"source": "none", "sha256": {}}, seeds=[0],
                      seconds=seen.seconds, records=records,
                      directory=results.RESULTS)  # fmt: skip


if __name__ == "__main__":
    main()
