"""Plans the recording for Snakemake, and runs one of its jobs.

    python benchmarks/recording.py check full profiles/slurm
    python benchmarks/recording.py plan full          # build/record/full/list.json
    python benchmarks/recording.py run full JOB

plan writes, for each job, build/record/PRESET/jobs/JOB.json: its settings and the digest of its
code (`code_digest`). It is the job's input, written anew only where it changes. The list is what
record.smk reads. Nothing is done where the code is that of the last plan: torch is not imported.

run makes what the job makes and then build/record/PRESET/done/JOB.json: seconds, memory, device,
precision, versions, commit, and the digests of the files that were made. A job that was killed goes
on from its checkpoint; a folder begun by other code or by hand is put aside as FOLDER.old, a kept
file that is older than the job's input is made again. Only one process at a time runs a job: a
second waits. check looks for what a profile needs before Snakemake starts.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import importlib.util
import inspect
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from code_digest import ROOT, digest

from hw2lib.errors import UserError
from hw2lib.io.paths import WEIGHTS, atomic_write, build_dir, data_dir, sha256, writable_dir

if TYPE_CHECKING:
    from jobs import Job

NEEDED = {  # without which an executor can do nothing: its command, and what finds its cluster
    "slurm": ("sbatch", "sinfo"),
    "kubernetes": ("kubectl", "kubectl config current-context"),
}
PRESETS = ("full", "quick", "tiny", "weights")


def place(preset: str) -> Path:
    """Where all about a recording lies."""
    return build_dir() / "record" / preset


def write(path: Path, content: dict) -> None:
    """JSON, whole or not at all; left alone where the file says the same."""
    text = json.dumps(content, indent=1) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def read(path: Path) -> dict:
    """A JSON file; {} where there is none, or half of one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def hash_of(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


# --- check ---------------------------------------------------------------------------------------


def check(preset: str, profile: str) -> None:
    """UserError where the profile's plugin, the cluster or its commands are missing, where the
    profile is not filled in, or where nothing can be written."""
    file = Path(profile) / "config.yaml"
    if not file.is_file():
        raise UserError(f"PROFILE={profile} has no config.yaml; profiles/local is right")
    options = yaml.safe_load(file.read_text(encoding="utf-8"))
    executor = options.get("executor", "local")
    plugin = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    if executor != "local" and not importlib.util.find_spec(plugin):
        name = plugin.replace("_", "-")
        raise UserError(f"{profile} needs {name}; `make lock` and `make .venv/.made` install it")
    command, asking = NEEDED.get(executor, ("", "true"))
    if command and not shutil.which(command):
        raise UserError(f"{profile} needs the command {command}, which this machine does not have")
    if subprocess.run(asking.split(), capture_output=True).returncode:
        raise UserError(f"{profile} finds no cluster; `{asking}` says why")
    if options.get("container-image") == "IMAGE":
        raise UserError(f"{file} is to be filled in: IMAGE and CLAIM, as its first lines say")
    for folder in (place(preset), Path(".snakemake")):
        writable_dir(folder)


# --- plan ----------------------------------------------------------------------------------------


def plan(preset: str) -> None:
    """Write the list of jobs and their inputs, if anything changed that they follow from; forget
    the jobs whose files are gone."""
    folder = place(preset)
    follows = planned_by()
    if read(folder / "list.json").get("follows") != follows:
        from jobs import jobs, weights

        found = list(weights()) if preset == "weights" else jobs(preset)
        for job in found:
            source, marker = (folder / part / f"{job.name}.json" for part in ("jobs", "done"))
            write(source, input_of(job))
            if read(marker).get("input") == hash_of(read(source)):  # as it was when it was made
                os.utime(source, 2 * (marker.stat().st_mtime - 1,))
        listed = {job.name: declared(job) for job in found}
        write(folder / "list.json", {"follows": follows, "jobs": listed})
    for marker in sorted((folder / "done").glob("*.json")):
        gone = [file for file in read(marker).get("made", ["it"]) if not (ROOT / file).exists()]
        if gone:
            print(f"{marker.stem}: {gone[0]} is gone, so it is made again", flush=True)
            marker.unlink()


def planned_by() -> list[str]:
    """What the plan follows from: the code, the shipped weights and the data at hand."""
    kinds = ("hw2lib/**/*.py", "benchmarks/*.py", "notebooks/*.ipynb")
    names = [file.relative_to(ROOT).as_posix() for kind in kinds for file in ROOT.glob(kind)]
    sizes = [f"{file.name} {file.stat().st_mtime_ns}" for file in sorted(WEIGHTS.glob("*"))]
    return [digest(names), hash_of(sizes), *map(data_of, (False, True))]


@cache
def shipped(name: str) -> str:
    return sha256(WEIGHTS / f"{name}.safetensors")


@cache
def data_of(faces: bool) -> str:
    """Digest of the names of the data files at hand: those of faces, or all others."""
    home = data_dir()
    found = [path.relative_to(home) for depth in ("*", "*/*", "*/*/*") for path in home.glob(depth)]
    return hash_of(sorted(str(path) for path in found if ("face" in str(path)) == faces))


def input_of(job: Job) -> dict:
    """What a job's result follows from: where it changes, the job is made again."""
    return {
        "settings": job.settings,
        "code": digest(job.code, tables=job.settings is None),
        "work": hash_of(ast.dump(ast.parse(inspect.getsource(job.work.func)))),
        "needs": list(job.needs),
        "weights": {name: shipped(name) for name in job.weights},
        "data": data_of("faces" in job.weights),
    }


def declared(job: Job) -> dict:
    """What Snakemake and `scaling` read of a job."""
    names = ("needs", "threads", "mem_mb", "runtime", "gpu", "seconds", "code")
    return {name: getattr(job, name) for name in names}


# --- run -----------------------------------------------------------------------------------------


def run(preset: str, name: str) -> None:
    """Run a job of the plan and leave its marker."""
    folder = place(preset)
    source, marker = (folder / part / f"{name}.json" for part in ("jobs", "done"))
    planned = read(source)
    with turn(folder / "locks" / name):
        if read(marker).get("input") == hash_of(planned):
            return  # the one that was waited for made it
        began = time.perf_counter()
        from jobs import jobs, weights

        from hw2lib.device import device_name, precision
        from hw2lib.io.cache import used
        from hw2lib.io.results import commit, versions

        found = list(weights()) if preset == "weights" else jobs(preset)
        job = next((job for job in found if job.name == name), None)
        if job is None or input_of(job)["code"] != planned.get("code"):
            raise UserError(f"the code of {name} changed after the plan; start make record again")
        print(f"{name}: on {device_name()}", flush=True)
        work = partial(job.work, partial(begun_by, planned))
        made = work() or []
        kept = [file for file in used if job.keeps and file.name.startswith(job.keeps)]
        older = [file for file in kept if file.stat().st_mtime < source.stat().st_mtime]
        if older:
            print(f"{name}: {len(older)} kept files are older than its code: again", flush=True)
            for file in older:
                file.unlink(missing_ok=True)
            made = work() or []
        made = sorted({*made, *kept})
        write(marker, {
            "job": name, "input": hash_of(planned), "seconds": time.perf_counter() - began,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "device": device_name(), "precision": precision(), "versions": versions(),
            "commit": commit(), "made": {relative(file): sha256(file) for file in made},
        })  # fmt: skip


def relative(file: Path) -> str:
    """From the clone where it lies in it, so that another machine finds it."""
    return os.path.relpath(file, ROOT) if file.is_relative_to(ROOT) else str(file)


@contextmanager
def turn(lock: Path) -> Iterator[None]:
    """Wait until no other process runs the job: one of a run that was killed may still be at it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{lock.name}: another process is at it; waits for its end", flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def begun_by(planned: dict, folder: Path) -> Path:
    """The folder of a training, which goes on there; put aside where other code or settings began
    it."""
    stamp = folder / "job.json"
    ours = {key: planned[key] for key in ("settings", "code")}
    if folder.is_dir() and any(folder.iterdir()) and read(stamp) != ours:
        old = folder.with_name(f"{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        print(f"{folder} was begun by other code: it is {old.name} now", flush=True)
    write(stamp, ours)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("preset", choices=PRESETS)
    parser.add_argument("what", nargs="*", help="check: the profile; run: the job")
    args = parser.parse_args()
    try:
        COMMANDS[args.command](args.preset, *args.what)
    except UserError as error:
        sys.exit(f"record: error: {error}")
    except OSError as error:  # that of a full disk does not say where it is
        where, what = error.filename or build_dir(), error.strerror or error
        sys.exit(f"record: error: {where}: {what}; make room there or name another by HW2_BUILD")


COMMANDS = {"check": check, "plan": plan, "run": run}

if __name__ == "__main__":
    main()
