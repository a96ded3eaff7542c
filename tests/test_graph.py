"""`make record` as processes, on a made-up recording in a clone of its own: what a changed module
makes again, a killed job, a failing one, two runs at once. Its jobs write texts and need no torch.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from hw2lib.io.paths import ROOT

MODULES = {  # a made-up library beside the real io.paths
    "device.py": "def device():\n    return 'cpu'\n\ndef precision():\n    return 'float32'\n\n"
                 "def device_name():\n    return 'a machine'\n",
    "io/results.py": "def commit():\n    return 'abc'\n\ndef versions():\n    return {}\n",
    "io/cache.py": "used = []\n",
    "rows.py": "ROWS = {'a': 1, 'b': 2}\n",
    "training.py": "import hw2lib.rows\nSTEP = 1\n",
    "drawing.py": "from hw2lib.io.paths import ROOT\nWIDTH = 1\n",
}  # fmt: skip
JOBS = """
import os
import signal
import time
from dataclasses import dataclass
from functools import partial

from hw2lib.io.paths import build_dir, runs_dir
from hw2lib.rows import ROWS


@dataclass
class Job:
    name: str
    work: object
    code: list
    settings: dict | None = None
    needs: tuple = ()
    weights: tuple = ()
    seconds: float = 1.0
    threads: int = 1
    mem_mb: int = 10
    runtime: int = 1
    gpu: bool = False
    keeps: str = ""


def train(begin, row):
    folder = begin(runs_dir() / row)
    checkpoint = folder / "checkpoint"
    done = checkpoint.read_text().splitlines() if checkpoint.exists() else []
    while len(done) < 4:
        done.append(str(os.getpid()))
        checkpoint.write_text("\\n".join(done))
        if len(done) == 2 and os.environ.get("KILL") == row:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("SLOW", 0)))
    if os.environ.get("FILL") == row:
        (build_dir() / "filler").write_bytes(bytes(1 << 22))
    if os.environ.get("FAIL") == row:
        raise ValueError("no such digit")
    return [checkpoint]


def draw(begin):
    file = build_dir() / "picture"
    file.write_text(str(time.time_ns()))
    return [file]


def jobs(preset):
    rows = [
        Job(f"row-{row}", partial(train, row=row), ["hw2lib/training.py"], {"value": value})
        for row, value in ROWS.items()
    ]
    picture = Job("picture", partial(draw), ["hw2lib/drawing.py"])
    table = Job("table", partial(draw), ["hw2lib/training.py"], {}, [row.name for row in rows])
    return [*rows, picture, table]


def weights():
    return []
"""


@pytest.fixture
def clone(tmp_path):
    """A clone with the real rules and runner, the made-up library and jobs."""
    folder = tmp_path / "clone"
    for name in ("Makefile", "Snakefile", "record.smk"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    (folder / "benchmarks").mkdir()
    for name in ("recording", "code_digest"):
        shutil.copy(ROOT / "benchmarks" / f"{name}.py", folder / "benchmarks")
    (folder / "benchmarks" / "jobs.py").write_text(JOBS)
    (folder / "hw2lib" / "io").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "io/__init__.py", "io/paths.py"):
        shutil.copy(ROOT / "hw2lib" / name, folder / "hw2lib" / name)
    for name, text in MODULES.items():
        (folder / "hw2lib" / name).write_text(text)
    digests = folder / "benchmarks" / "code_digest.py"
    tables = '"hw2lib/rows.py": ("ROWS",),\n    "hw2lib/studies/ddim.py"'
    digests.write_text(digests.read_text().replace('"hw2lib/studies/ddim.py"', tables))
    (folder / "pyproject.toml").touch()
    return folder


def command(clone, *more):
    return ["make", "--silent", f"BIN={os.path.dirname(sys.executable)}", "-o", ".venv/.made",
            "record", "PRESET=tiny", *more]  # fmt: skip


def how(clone, **variables):
    own = {"HW2_BUILD": str(clone / "build"), "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
    users = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return {"cwd": clone, "env": {**users, **own, **variables}, "text": True,
            "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}  # fmt: skip


def record(clone, *more, **variables):
    return subprocess.run(command(clone, *more), **how(clone, **variables), timeout=1200)


def ran(done):
    """The jobs that a run of make record ran."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {line.split(":")[0] for line in done.stdout.splitlines() if line.endswith(": runs")}


def change(file, old, new):
    text, before = file.read_text(), file.stat()
    assert old in text
    file.write_text(text.replace(old, new))
    # Python knows stale bytecode by size and whole seconds, which two runs here can be closer than.
    os.utime(file, (before.st_atime, before.st_mtime + 2))


def test_a_run_makes_what_is_missing_or_of_other_code(clone):
    assert ran(record(clone)) == {"row-a", "row-b", "picture", "table"}
    marker = json.loads((clone / "build/record/tiny/done/row-a.json").read_text())
    assert marker["device"] == "a machine" and marker["precision"] == "float32"
    assert list(marker["made"]) == ["build/runs/a/checkpoint"]
    first = (clone / "build/runs/a/checkpoint").read_text()
    change(clone / "hw2lib" / "training.py", "STEP = 1", "STEP = 2")
    assert ran(record(clone)) == {"row-a", "row-b", "table"}  # what imports it
    assert (clone / "build/runs/a.old/checkpoint").read_text() == first  # put aside
    assert (clone / "build/runs/a/checkpoint").read_text() != first
    assert "a was begun by other code" in (clone / "build/record/tiny/logs/row-a.log").read_text()
    assert ran(record(clone)) == set()


def test_a_plan_renews_the_inputs_of_what_changed_alone(clone):
    inputs, done = (clone / "build" / "record" / "tiny" / name for name in ("jobs", "done"))

    def renewed():
        """The jobs whose input a plan writes anew."""
        before = {file: file.stat().st_mtime_ns for file in inputs.glob("*.json")}
        program = [sys.executable, "benchmarks/recording.py", "plan", "tiny"]
        done = subprocess.run(program, **how(clone), timeout=600)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        return {f.stem for f in inputs.glob("*.json") if f.stat().st_mtime_ns != before.get(f)}

    said, library = [], clone / "hw2lib"
    assert renewed() == {"row-a", "row-b", "picture", "table"}
    change(library / "training.py", "STEP = 1", '"""Trains."""\nSTEP  =  1  # one')
    assert renewed() == set()  # words are no code
    change(library / "drawing.py", "WIDTH = 1", "WIDTH = 2")
    assert renewed() == {"picture"}
    change(library / "rows.py", "'b': 2", "'b': 3")
    assert renewed() == {"row-b"}
    change(library / "training.py", "STEP  =  1", "STEP = 2")
    assert renewed() == {"row-a", "row-b", "table"}
    done.mkdir()
    (done / "picture.json").write_text('{"made": ["build/picture"]}')
    assert renewed() == set() and not (done / "picture.json").exists()
    assert "picture: build/picture is gone, so it is made again" in said[-1]


def test_a_killed_job_goes_on_and_a_failing_one_stops_no_other(clone):
    done = record(clone, KILL="a", FAIL="b")
    assert done.returncode != 0
    log = clone / "build" / "record" / "tiny" / "logs" / "row-b.log"
    assert "ValueError: no such digit" in done.stdout and f"failed, see {log}" in done.stdout
    assert "ValueError: no such digit" in log.read_text()
    at = (clone / "build/runs/a/checkpoint").read_text().splitlines()
    assert len(at) == 4 and len(set(at)) == 2  # two processes, two steps each
    made = {file.stem for file in (clone / "build/record/tiny/done").iterdir()}
    assert made == {"row-a", "picture"}


def test_two_at_once_and_a_killed_run(clone):
    first = subprocess.Popen(command(clone), **how(clone, SLOW="900"))
    checkpoint = clone / "build" / "runs" / "a" / "checkpoint"
    try:
        deadline = time.monotonic() + 600
        while not checkpoint.is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        holder = int((clone / ".snakemake" / "running").read_text())
        second = record(clone)
        assert second.returncode != 0
        assert f"process {holder} makes the report here: wait for it" in second.stderr
        assert "Traceback" not in second.stderr
        os.kill(holder, signal.SIGKILL)
        first.wait(timeout=600)
    finally:
        first.kill()
    done = record(clone)
    assert "row-a" in ran(done)
    at = checkpoint.read_text().splitlines()
    assert len(at) == 4 and len(set(at)) == 2  # from where the killed one had come


def refused(done):
    """What a run of make record that ended at once said of it."""
    assert done.returncode == 2 and "Traceback" not in done.stderr
    of_others = ("make:", "usage:", "head:", "Using profile")
    return [text for text in done.stderr.splitlines() if not text.startswith(of_others)]


@pytest.fixture
def disk(clone):
    """A shell's line that makes the build folder a disk of its own."""
    (clone / "build").mkdir()
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(clone / "build")]
    if not shutil.which("unshare") or subprocess.call(mount):
        pytest.skip("no disk may be mounted here")
    return "mount -t tmpfs -o size=2m none build"


def shell(clone, *lines):
    """What lines of a shell print, with {make} for `make record`, in a room for mounts."""
    script = "\n".join(lines).format(make=shlex.join(command(clone)))
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], **how(clone), timeout=1200)
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout, done.stderr


def test_a_job_fills_the_disk_and_goes_on_when_there_is_room(clone, disk):
    out, _ = shell(clone, disk, "FILL=a {make}", "rm build/filler", "echo next", "{make}")
    first, second = out.split("next\n")
    line = f"record: error: {clone}/build: No space left on device; make room there"
    assert line in first and "row-a: failed, see" in first and "table" not in first
    assert "row-a: done" in second and "recorded: 4 jobs" in second
    assert ("row-b: done" in first) == ("row-b: runs" not in second)  # it met the full disk, or not


def test_a_folder_that_becomes_read_only_is_one_line_and_loses_nothing(clone, disk):
    again = "rm build/record/tiny/done/picture.json build/picture"
    lines = (disk, "{make}", again, "mount -o remount,ro none build && cd .", "{make}",
             "mount -o remount,rw none build && cd .", "echo next", "{make}")  # fmt: skip
    out, err = shell(clone, *lines)
    said = [line for line in err.splitlines() if "error" in line and not line.startswith("make:")]
    assert len(said) == 1 and "cannot be written (Read-only file system)" in said[0]
    second = out.split("next\n")[1]
    assert "picture: done" in second and "row-a" not in second and "recorded: 4 jobs" in second


@pytest.mark.parametrize("name", ["a{b}", "{", "}"])
def test_a_brace_in_the_build_folder_is_one_line(clone, name):
    done = record(clone, HW2_BUILD=str(clone / name))
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 2 and len(said) == 1 and "Traceback" not in done.stderr
    assert f"build folder {clone / name} has a brace in its name" in said[0]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("PROFILE=profiles/moon", "PROFILE=profiles/moon has no config.yaml"),
        ("PRESET=vast", "invalid choice: 'vast'"),
    ],
)
def test_a_wrong_word_is_said_in_one_line(clone, more, line):
    assert line in refused(record(clone, more))[-1]


@pytest.mark.parametrize(
    ("profile", "programs", "line"),
    [
        ("slurm", {}, "needs the command sbatch, which this machine does not have"),
        ("slurm", {"sbatch": 0, "sinfo": 1}, "finds no cluster; `sinfo` says why"),
        ("kubernetes", {}, "needs the command kubectl, which this machine does not have"),
        ("kubernetes", {"kubectl": 1}, "finds no cluster; `kubectl config current-context` says"),
        ("kubernetes", {"kubectl": 0}, "config.yaml is to be filled in: IMAGE and CLAIM"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(clone, profile, programs, line):
    """On a machine that has these programs alone, with their exit status."""
    (clone / "programs").mkdir()
    (clone / "programs" / "make").symlink_to(shutil.which("make"))
    for name, status in programs.items():
        (clone / "programs" / name).write_text(f"#!/bin/sh\nexit {status}\n")
        (clone / "programs" / name).chmod(0o755)
    done = record(clone, f"PROFILE=profiles/{profile}", PATH=str(clone / "programs"))
    (said,) = refused(done)
    assert said.startswith("record: error: ") and line in said
    assert not (clone / "build").exists()


def test_the_profile_of_kubernetes_is_understood(clone):
    """As far as that goes without a cluster: each of its options is one that Snakemake and the
    plugin know, and all it lacks is the storage that its first lines tell of."""
    assert ran(record(clone)) == {"row-a", "row-b", "picture", "table"}
    command = [os.path.join(os.path.dirname(sys.executable), "snakemake"), "-s", "record.smk", "-n",
               "--profile", "profiles/kubernetes", "--config", "preset=tiny"]  # fmt: skip
    dry = subprocess.run([*command, "--executor", "local"], **how(clone), timeout=600)
    assert dry.returncode == 0, dry.stderr
    lacking = subprocess.run(command, **how(clone), timeout=600)
    said = lacking.stdout + lacking.stderr
    assert lacking.returncode != 0 and "Traceback" not in said
    assert "Error: If no shared filesystem is assumed" in said


def test_a_profile_without_its_plugin_and_a_folder_that_cannot_be_written(clone, tmp_path):
    (clone / "profiles" / "other").mkdir()
    (clone / "profiles" / "other" / "config.yaml").write_text("executor: moon-base\n")
    (said,) = refused(record(clone, "PROFILE=profiles/other"))
    assert "profiles/other needs snakemake-executor-plugin-moon-base" in said
    (tmp_path / "file").touch()
    (said,) = refused(record(clone, HW2_BUILD=str(tmp_path / "file" / "build")))
    assert "file/build/record/tiny cannot be written" in said


def test_a_folder_that_is_full_from_the_start_is_one_line(clone, disk):
    _, err = shell(clone, disk, "head -c 3M /dev/zero >build/full", "{make}")
    said = [line for line in err.splitlines() if line.startswith("record: error: ")]
    assert len(said) == 1 and "No space left on device" in said[0]


ALL_JOBS = """
import json, recording
from hw2lib.io.cache import used
recording.plan("tiny")
for name in json.loads((recording.place("tiny") / "list.json").read_text())["jobs"]:
    recording.run("tiny", name)
    used.clear()  # as in a process of its own
"""


@pytest.mark.skipif(not os.environ.get("HW2_SLOW"), reason="half a minute of one core")
def test_the_real_recording_at_the_preset_tiny(tmp_path):
    """All kinds of jobs on the embedded data, here in one process; then `make record` finds nothing
    to do."""
    variables = {"HW2_BUILD": str(tmp_path / "build"), "HW2_DATA": str(ROOT / "data"),
                 "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])}  # fmt: skip
    where = {**how(ROOT, **variables), "cwd": ROOT}
    done = subprocess.run([sys.executable, "-c", ALL_JOBS], **where, timeout=3000)
    assert done.returncode == 0, done.stderr
    made = {file.stem for file in (tmp_path / "build" / "record" / "tiny" / "done").iterdir()}
    assert {"guidance-p10-s0", "dann-usps-dann-s0", "table-faces"} <= made
    assert ran(subprocess.run(command(ROOT), **where, timeout=600)) == set()
    results = {file.stem for file in (tmp_path / "build" / "results").iterdir()}
    assert results == {"digits-guidance", "faces", "dann-usps"}
