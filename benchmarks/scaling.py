"""How far the recording scales: its graph of jobs, simulated with recorded times.

    python benchmarks/scaling.py [--record]

Jobs are those of `jobs("full")`, their seconds those of the result files: where a file holds the
sum of many jobs, it is divided, evenly or by the passes of the network that a job takes. A worker
is one core. List scheduling: whenever cores are free, the ready job starts that has the longest
way still before it. What a job costs beside its work is measured here, in seconds of the processor:
starting Python with all that a job imports, and Snakemake, which a cluster's job starts twice.
--record writes data/results/scaling.json.
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import recording
from jobs import Job, jobs

from hw2lib.io import results
from hw2lib.io.paths import RESULTS, ROOT
from hw2lib.io.results import record
from hw2lib.metrics import metric

WORKERS = (1, 2, 8, 64, 512)
MACHINE = 2  # cores of the machine that the benchmarks of speed were recorded on
STARTS = 2  # of Snakemake for a job of a cluster
REPEATS = 2  # of each measurement


def wants(job: Job) -> int:
    """Cores that its seconds were recorded on."""
    return job.threads or MACHINE


def ways(found: Sequence[Job], overhead: float = 0.0) -> dict[str, float]:
    """Job -> seconds of the longest way from its start to the end of the recording."""
    after = defaultdict(list)
    for job in found:
        for need in job.needs:
            after[need].append(job.name)
    longest: dict[str, float] = {}
    for job in reversed(found):  # those that others need come first in the list
        rest = max((longest[name] for name in after[job.name]), default=0.0)
        longest[job.name] = job.seconds + overhead + rest
    return longest


def wall(found: Sequence[Job], workers: int, overhead: float = 0.0) -> float:
    """Seconds that the jobs take on so many cores, by list scheduling."""
    by_name, longest = {job.name: job for job in found}, ways(found, overhead)
    waits = {job.name: len(job.needs) for job in found}
    after = defaultdict(list)
    for job in found:
        for need in job.needs:
            after[need].append(job.name)
    ready = [(-longest[name], name) for name, n in waits.items() if not n]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now, free = 0.0, workers
    while ready or running:
        held = []
        while ready and free:
            first = heapq.heappop(ready)
            job = by_name[first[1]]
            taken = min(wants(job), workers)
            if taken > free:  # waits; others may pass it
                held.append(first)
                continue
            free -= taken
            seconds = job.seconds * wants(job) / taken + overhead
            heapq.heappush(running, (now + seconds, job.name))
        for first in held:
            heapq.heappush(ready, first)
        now, name = heapq.heappop(running)
        free += min(wants(by_name[name]), workers)
        for other in after[name]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, (-longest[other], other))
    return now


def processor_seconds(*command: str) -> float:
    """Seconds of the processor that a command takes, the best of REPEATS."""
    taken = []
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(taken)


def overheads() -> dict[str, float]:
    """Seconds of the processor that a job costs beside its work: here, and on a cluster."""
    os.environ["OMP_NUM_THREADS"] = "1"
    code = "import jobs, code_digest; jobs.jobs('full'); code_digest.digest(['benchmarks/jobs.py'])"
    benchmarks = ROOT / "benchmarks"
    start = processor_seconds(
        sys.executable, "-c", f"import sys; sys.path.insert(0, {str(benchmarks)!r}); {code}"
    )
    recording.plan("full")
    one = recording.place("full") / "done" / "benchmark-digits-clip.json"
    program = str(Path(sys.executable).with_name("snakemake"))
    again = processor_seconds(
        program, "-s", "record.smk", "--mode", "remote", "-n", "--cores", "1", "--", str(one)
    )
    return {"this machine": start, "a cluster": start + STARTS * again}


def kind(job: Job) -> str:
    return job.name.split("-")[0]


def records_of(found: Sequence[Job], overhead: Mapping[str, float]) -> list[dict]:
    """Records of the graph: jobs, hours and the longest job of each kind and of all; the critical
    path; what a job costs; wall time and speed-up by workers."""
    records = []

    def add(row: str, score: str, value: float, unit: str, **setting) -> None:
        records.append(record(row, score, metric([value], len(found), unit), **setting))

    kinds = dict.fromkeys(map(kind, found))
    for row, some in {
        **{k: [j for j in found if kind(j) == k] for k in kinds},
        "all": found,
    }.items():
        add(row, "jobs", len(some), "number")
        add(row, "hours", sum(j.seconds * wants(j) for j in some) / 3600, "h")
        add(row, "longest", max(j.seconds for j in some) / 60, "min")
    path = max(ways(found).values())
    add("all", "critical_path", path / 3600, "h")
    for where, seconds in overhead.items():
        add("all", "overhead", seconds, "s", on=where)
    alone = wall(found, 1)
    for workers in WORKERS:
        taken = wall(found, workers)
        add("all", "wall", taken / 3600, "h", workers=workers)
        add("all", "speed_up", alone / taken, "ratio", workers=workers)
        for where, seconds in overhead.items():
            add("all", "wall", wall(found, workers, seconds) / 3600, "h", workers=workers, on=where)
    return records


def critical(found: Sequence[Job]) -> list[str]:
    """The jobs of the critical path, the first first."""
    longest, by_name = ways(found), {job.name: job for job in found}
    name, path = max(longest, key=longest.get), []
    while name:
        path.append(name)
        rest = longest[name] - by_name[name].seconds
        after = [j.name for j in found if name in j.needs and math.isclose(longest[j.name], rest)]
        name = after[0] if after else ""
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    began, found = time.perf_counter(), jobs("full")
    records = records_of(found, overheads())
    print(results.frame(records).to_string())
    print("critical path:", " -> ".join(critical(found)))
    if args.record:
        results.write(
            "scaling", preset="full", data={"source": "none", "sha256": {}}, seeds=[0],
            records=records, seconds=time.perf_counter() - began, directory=RESULTS,
            settings={"critical path": critical(found)},
        )  # fmt: skip


if __name__ == "__main__":
    main()
