"""How long a new user waits: from the clone to the page, as timed commands.

    python benchmarks/setup.py [--record]

In a fresh clone of this repository's last commit, in a temporary folder, without data:

    cold      git clone, the environment from empty caches, make report: the page
    warm      make report with the environment there, and nothing else
    second    make report again
    import    python -c 'import hw2lib'; help: hw2 --help; the best of five each
    test      make test with the environment there, and nothing else

A quarter of an hour on two idle cores; beside other work the times are those of a busy machine.
--record writes data/results/setup.json and the README's table of it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hw2lib.io import results
from hw2lib.io.paths import RESULTS, ROOT
from hw2lib.metrics import metric

README = ROOT / "README.md"
TABLE = re.compile(r"(?<=\| from nothing to the report \| time \|\n\|---\|---\|\n)(?:\|.+\n)+")
STEPS = {  # as the README names them
    "clone": "`git clone`, of what lies on the same disk",
    "environment": "the environment, from a package mirror nearby",
    "cold": "`make report` after that: the page",
    "warm": "`make report`, all of it again",
    "second": "`make report`, nothing to do",
    "import": "`import hw2lib`",
    "help": "`hw2 --help`",
    "test": "`make test`",
}


def users_environment(folder: Path) -> dict[str, str]:
    """Variables of a user who has no environment, no data and no package on disk."""
    kept = {key: value for key, value in os.environ.items()
            if not key.startswith("HW2_") and key not in ("PYTHONPATH", "VIRTUAL_ENV")}  # fmt: skip
    own = str(Path(sys.prefix) / "bin")
    path = os.pathsep.join(p for p in kept["PATH"].split(os.pathsep) if p != own)
    return {**kept, "PATH": path, "UV_CACHE_DIR": str(folder / "uv"), "PIP_NO_CACHE_DIR": "1"}


def measure(repository: Path, folder: Path) -> dict[str, float]:
    """Step -> seconds, of a clone of `repository` made in the empty `folder`."""
    clone, environment = folder / "clone", users_environment(folder)
    python = f"PYTHON={getattr(sys, '_base_executable', sys.executable)}"
    found: dict[str, float] = {}

    def timed(step: str, *command: str, cwd: Path = clone, best_of: int = 1) -> None:
        seconds = []
        for _ in range(best_of):
            began = time.perf_counter()
            done = subprocess.run(
                command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            seconds.append(time.perf_counter() - began)
            if done.returncode:
                tail = done.stdout.decode(errors="replace")[-2000:]
                sys.exit(f"{tail}\n{' '.join(command)} failed in {cwd}")
        found[step] = min(seconds)
        print(f"{STEPS[step]}: {in_words(found[step])}", flush=True)

    def as_new() -> None:
        for made in ("build", "_build", ".snakemake"):
            shutil.rmtree(clone / made, ignore_errors=True)

    timed("clone", "git", "clone", "--quiet", str(repository), str(clone), cwd=folder)
    timed("environment", "make", python, ".venv/.made")
    timed("cold", "make", python, "report")
    as_new()
    timed("warm", "make", python, "report")
    timed("second", "make", python, "report")
    programs = clone / ".venv" / "bin"
    timed("import", str(programs / "python"), "-c", "import hw2lib", best_of=5)
    timed("help", str(programs / "hw2"), "--help", best_of=5)
    as_new()
    timed("test", "make", python, "test")
    return found


def in_words(seconds: float) -> str:
    """ "0.31 s", "41 s", "2 min 21 s"."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def lines(result: dict) -> list[str]:
    """The README's lines of a result file."""
    times = {step: results.one(result["records"], step, "seconds")["mean"] for step in STEPS}
    return [f"| {name} | {in_words(times[step])} |" for step, name in STEPS.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(ROOT, Path(folder))
    if not args.record:
        return
    records = [results.record(step, "seconds", metric([s], 1, "s")) for step, s in found.items()]
    path = results.write(
        "setup", preset="full", data={"source": "none", "sha256": {}}, seeds=[0], records=records,
        seconds=sum(found.values()), settings={"cores": os.cpu_count()}, directory=RESULTS,
    )  # fmt: skip
    table = "".join(f"{line}\n" for line in lines(results.load("setup", RESULTS)))
    README.write_text(TABLE.sub(lambda _: table, README.read_text(encoding="utf-8")), "utf-8")
    print(f"written: {path}, and the table in {README}")


if __name__ == "__main__":
    main()
