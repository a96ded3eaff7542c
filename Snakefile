# The report as rules: the notebooks at the quick preset, then the book.
# `make report` calls it: notebooks side by side on all cores, as many as fit into the free memory.
# With an executor plugin (slurm, kubernetes) they run elsewhere.
import fcntl
import os
import sys
import time
from glob import glob
from pathlib import Path

import psutil

from hw2lib.errors import UserError
from hw2lib.io.paths import build_dir, data_dir, writable_dir  # no torch: starts at once

try:
    BUILD, FOUND = build_dir(), data_dir()  # HW2_BUILD, else build/; HW2_DATA, else data/
    if {*"{}"} & {*str(BUILD)}:
        raise UserError(
            f"build folder {BUILD} has a brace in its name, by which Snakemake marks wildcards; "
            "name another by HW2_BUILD"
        )
    writable_dir(BUILD)
except UserError as error:
    sys.exit(f"error: {error}")
LIBRARY = sorted(glob("hw2lib/**/*.py", recursive=True))
NOTEBOOKS = {
    "cfdg": "notebooks/cfdg.ipynb",
    "ddim": "notebooks/ddim.ipynb",
    "dann-svhn": "notebooks/dann.ipynb",
    "dann-usps": "notebooks/dann.ipynb",
    "dann-mnistm": "notebooks/dann.ipynb",
}
PARAMETERS = {f"dann-{target}": f"-p target {target}" for target in ("svhn", "usps", "mnistm")}
CLONE, BEGAN = str(Path.cwd()), time.time()

# An input of every notebook, written anew only where other data are at hand than the last time.
DATA = BUILD / "data.txt"
files = {path for depth in ("*", "*/*", "*/*/*") for path in FOUND.glob(depth)}
at_hand = "".join(f"{path.relative_to(FOUND)}\n" for path in sorted(files))
if not DATA.is_file() or DATA.read_text() != at_hand:
    DATA.write_text(at_hand)


# --- one run at a time -----------------------------------------------------------------------


def only_run():
    """Hold the clone's lock until this process ends, however it ends."""
    global LOCK
    Path(".snakemake").mkdir(exist_ok=True)
    LOCK = open(".snakemake/running", "a+")
    try:
        fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        LOCK.seek(0)
        sys.exit(f"process {LOCK.read()} makes the report here: wait for it, or stop it first")
    LOCK.truncate(0)
    LOCK.write(str(os.getpid()))
    LOCK.flush()


def sweep():
    """End the notebooks of a run that was killed, and remove files that were never finished."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("HW2_RUN") == CLONE:
                process.kill()
        except psutil.Error:  # it has ended, or is somebody else's
            continue
    for part in BUILD.rglob(".*.part*"):
        owner = part.name.split(".")[-2]
        if not (owner.isdecimal() and psutil.pid_exists(int(owner))):
            part.unlink(missing_ok=True)
    os.environ["HW2_RUN"] = CLONE  # marks all that this run starts


def say_times():
    """What was made in this run and how long each took, the longest first."""
    took = {}
    for table in (*BUILD.glob("papermill/*.tsv"), BUILD / "book.tsv"):
        if table.is_file() and table.stat().st_mtime > BEGAN:
            took[table.stem] = float(table.read_text().splitlines()[1].split()[0])
    lines = [f"{name} {took[name]:.0f} s" for name in sorted(took, key=took.get, reverse=True)]
    print(f"took {time.time() - BEGAN:.0f} s: {', '.join(lines)}", flush=True)


onstart:
    only_run()
    sweep()


onsuccess:
    say_times()


rule report:  # names the notebooks too: a book that was built without them is not enough
    input:
        expand("{build}/papermill/{name}.ipynb", build=BUILD, name=NOTEBOOKS),
        "_build/html/index.html",


rule other_targets:  # than the notebook's own, which the tests run by nbval
    input:
        [BUILD / "papermill" / f"dann-{target}.ipynb" for target in ("usps", "mnistm")],


rule book:
    input:
        expand("{build}/papermill/{name}.ipynb", build=BUILD, name=NOTEBOOKS),
        glob("book/**/*.*", recursive=True),
        "_config.yml",
        glob("data/results/*.json"),
        glob("data/report.json"),
    output:
        "_build/html/index.html",
    log:
        f"{BUILD}/book.log",
    benchmark:
        f"{BUILD}/book.tsv"
    resources:
        mem_mb=500,
    shell:
        "echo 'book: is built'; jupyter-book build book/ >{log:q} 2>&1"
        " || {{ tail -n 20 {log:q}; exit 1; }}"


# papermill leaves half a notebook where a cell fails: it becomes the output only when it is whole.
# What the notebooks print goes to a log of each: several run at once.
rule notebook:
    input:
        lambda wildcards: NOTEBOOKS[wildcards.name],
        LIBRARY,
        DATA,
    output:
        f"{BUILD}/papermill/{{name}}.ipynb",
    log:
        f"{BUILD}/papermill/{{name}}.log",
    benchmark:
        f"{BUILD}/papermill/{{name}}.tsv"
    threads: lambda wildcards: max(1, workflow.cores // len(NOTEBOOKS))
    resources:
        mem_mb=1500,  # measured: 1,250 at most
    params:
        part=lambda wildcards: BUILD / "papermill" / f".{wildcards.name}.part.ipynb",
        options=lambda wildcards: PARAMETERS.get(wildcards.name, ""),
    shell:
        "echo '{wildcards.name}: runs'; "
        "papermill {input[0]:q} {params.part:q} {params.options} >{log:q} 2>&1"
        " || {{ grep . {log:q} | tail -n 1; echo '{wildcards.name}: failed, see' {log:q}; exit 1; }}; "
        "mv {params.part:q} {output:q}; echo \"{wildcards.name}: done in $SECONDS s\""
