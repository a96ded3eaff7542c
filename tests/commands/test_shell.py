"""Commands as real processes: papermill with wrong parameters, a training that is interrupted."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import torch

from hw2lib.commands import cli
from hw2lib.io.paths import ROOT, writable_dir
from hw2lib.io.weights import load_weights


def environment(folder):
    """Of a user's shell, which is not that of `make test`: no variable of an outer make."""
    users = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return {**users, "HW2_BUILD": str(folder / "build"), "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1"}  # fmt: skip


@pytest.mark.parametrize(
    ("notebook", "name", "value", "line"),
    [
        ("dann", "targte", "usps", "parameter 'targte' is unknown; there are target, preset"),
        ("cfdg", "preset", "fast", "parameter preset=fast is not allowed; quick or full"),
    ],
)
def test_papermill_stops_at_a_wrong_parameter_in_any_folder(tmp_path, notebook, name, value, line):
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks" / f"{notebook}.ipynb"),
               "out.ipynb", "-p", name, value]  # fmt: skip
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"UserError: {line}")
    assert "hw2lib/io/parameters.py" not in done.stderr  # no traceback into the library


def test_a_terminated_training_goes_on_to_the_same_bytes(tmp_path):
    """`hw2 train digits` as a process that gets SIGTERM; the whole run and the rest run here."""
    few = ["train", "digits", "--data", "embedded", "--set", "steps=60", "batch_size=4"]
    cut = tmp_path / "cut"
    process = subprocess.Popen(
        [sys.executable, "-m", "hw2lib.commands.cli", *few, "save_every_s=0", "--out", str(cut)],
        env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not (cut / "checkpoint.pt").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 2
    assert "of 60; the checkpoint is" in err.splitlines()[-1] and "--resume" in err
    assert not (cut / "weights.safetensors").exists()
    assert cli.main([*few, "--out", str(tmp_path / "whole")]) == 0
    assert cli.main([*few, "--out", str(cut), "--resume"]) == 0
    a, b = (load_weights(tmp_path / n / "weights.safetensors", "digit_unet")[0]
            for n in ("whole", "cut"))  # fmt: skip
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_the_report_follows_hw2_build_and_the_data_at_hand(tmp_path):
    """A dry run names outputs in HW2_BUILD; data.txt is written anew for other data only.
    Ten cores are shared by five notebooks, whose memory is declared."""
    (tmp_path / "data").mkdir()
    variables = {**environment(tmp_path), "HW2_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "snakemake", "--cores", "10", "-n", "--directory", str(ROOT),
               "-s", str(ROOT / "Snakefile"), "--", "report"]  # fmt: skip

    def dry_run():
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    said = dry_run()
    assert f"{tmp_path}/build/papermill/dann-svhn.ipynb" in said
    assert said.count("threads: 2") == 5 and said.count("mem_mb=") >= 5
    at_hand = tmp_path / "build" / "data.txt"
    first = at_hand.stat().st_mtime_ns
    dry_run()
    assert at_hand.stat().st_mtime_ns == first
    (tmp_path / "data" / "faces").mkdir()
    (tmp_path / "data" / "faces" / "celeba64.tar").touch()
    dry_run()
    assert at_hand.stat().st_mtime_ns > first
    assert at_hand.read_text() == "faces\nfaces/celeba64.tar\n"


def test_a_book_that_was_built_before_does_not_stand_for_the_report(tmp_path):
    """After `jupyter-book build book/` or `make test`, `make report` runs the notebooks still."""
    clone = tmp_path / "clone"
    (clone / "_build" / "html").mkdir(parents=True)
    for name in ("notebooks", "book", "_config.yml", "data"):
        (clone / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-n", "--rerun-triggers", "mtime",
               "--directory", str(clone), "-s", str(ROOT / "Snakefile")]  # fmt: skip

    def planned() -> str:
        how = {"env": environment(tmp_path), "capture_output": True, "text": True}
        done = subprocess.run([*command, "--", "report"], **how, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    planned()  # notes which data are at hand
    (clone / "_build" / "html" / "index.html").write_text("built by hand, later than all else")
    said = planned()
    assert all(f"papermill/{name}.ipynb" in said for name in ("cfdg", "ddim", "dann-usps"))


def notebook(folder, *lines):
    """notebooks/cfdg.ipynb of one cell, in a clone that has no other."""
    cell = nbformat.v4.new_code_cell("\n".join(lines))
    book = nbformat.v4.new_notebook(cells=[cell])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    (folder / "notebooks").mkdir(exist_ok=True)
    nbformat.write(book, folder / "notebooks" / "cfdg.ipynb")


def test_one_run_at_a_time_and_a_killed_one_stops_no_other(tmp_path):
    """The Makefile's call of Snakemake: a second run says who is at work; after SIGKILL the next
    one ends what was left running, sweeps what was left half-written, and makes the notebook."""
    for name in ("Makefile", "Snakefile"):
        shutil.copy(ROOT / name, tmp_path)
    made = tmp_path / "build" / "papermill" / "cfdg.ipynb"
    command = ["make", "--silent", f"BIN={Path(sys.executable).parent}", "one",
               "--eval", f"one: ; $(SNAKEMAKE) -- {made}"]  # fmt: skip
    how = {"cwd": tmp_path, "env": environment(tmp_path), "text": True,
           "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}  # fmt: skip

    sleeper = ("import os, pathlib, time", "pathlib.Path('pid').write_text(f'{os.getpid()}')",
               "time.sleep(300)")  # fmt: skip
    notebook(tmp_path, *sleeper)
    first = subprocess.Popen(command, **how)
    try:
        deadline = time.monotonic() + 100
        while not (tmp_path / "pid").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        holder = int((tmp_path / ".snakemake" / "running").read_text())
        second = subprocess.run(command, **how, timeout=100)
        assert second.returncode != 0
        said = [line for line in second.stderr.splitlines() if not line.startswith("make:")]
        assert said == [f"process {holder} makes the report here: wait for it, or stop it first"]
        os.kill(holder, signal.SIGKILL)
        first.wait(timeout=100)
    finally:
        first.kill()
    kernel = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(kernel) and list(made.parent.glob(".*.part.*"))
    dead, alive = (made.parent / f".a.json.{pid}.part" for pid in (first.pid, os.getpid()))
    dead.touch()
    alive.touch()
    notebook(tmp_path, "1 + 1")
    third = subprocess.run(command, **how, timeout=100)
    assert third.returncode == 0, third.stderr
    assert re.fullmatch(r"cfdg: runs\ncfdg: done in \d+ s\ntook \d+ s: cfdg \d+ s\n", third.stdout)
    assert made.is_file() and alive.is_file() and not dead.is_file()
    assert list(made.parent.glob(".*.part*")) == [alive]
    assert not psutil.pid_exists(kernel) or psutil.Process(kernel).status() == "zombie"


def test_one_make_at_a_time_makes_the_environment_and_a_killed_one_stops_no_other(tmp_path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "--silent", "PYTHON=true", "UV=true", ".venv/.made"]
    making = tmp_path / ".venv" / ".making"
    making.parent.mkdir()
    making.write_text(f"{os.getpid()}")
    how = {"cwd": tmp_path, "env": environment(tmp_path), "capture_output": True, "text": True}
    done = subprocess.run(command, **how)
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("make:")]
    assert said == [
        f"process {os.getpid()} makes the environment here: wait for it, or stop it first"
    ]
    ended = subprocess.Popen(["true"])
    ended.wait()
    making.write_text(f"{ended.pid}")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert (tmp_path / ".venv" / ".made").is_file() and not making.is_file()


STRANGE = ("$(touch made)", "`touch made`", "$HOME", "a 'b' c", "~")


def clone(folder):
    """The Makefile and the part of the library that it calls, in a folder of a strange name."""
    (folder / "hw2lib").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for part in ("__init__.py", "errors.py", "io"):
        (folder / "hw2lib" / part).symlink_to(ROOT / "hw2lib" / part)
    return folder


def made(folder, *argv, **variables):
    """`make` in a folder; gives what it printed."""
    command = ["make", "--silent", f"PYTHON={sys.executable}", *argv]
    env = {**environment(folder), **variables}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert not list(folder.rglob("made")) and not list(folder.parent.glob("made"))
    return done


@pytest.mark.parametrize("name", STRANGE)
def test_make_runs_no_name_of_a_folder(tmp_path, name):
    folder = clone(tmp_path / name)
    (folder / "bin").mkdir()
    for program in ("python", "snakemake"):
        (folder / "bin" / program).write_text("#!/bin/sh\ncommand -v snakemake >>calls\n")
        (folder / "bin" / program).chmod(0o755)
    (folder / ".venv").mkdir()
    for file in (folder / "requirements.lock", folder / "pyproject.toml", folder / ".venv/.made"):
        file.touch()
    done = made(folder, "BIN=bin", "report")
    said = f"The report: file://{folder}/_build/html/index.html"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, said)
    assert (folder / "calls").read_text().splitlines()[-1] == f"{folder}/bin/snakemake"


@pytest.mark.parametrize("name", STRANGE)
def test_make_clean_removes_what_was_made_here_and_no_more(tmp_path, name):
    """From the folder that the library uses, whatever it is called."""
    folder = clone(tmp_path / "clone")
    variables = {"HW2_BUILD": name, "HOME": str(tmp_path / "home")}
    code = "from hw2lib.io import paths; paths.writable_dir(paths.runs_dir())"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env={**os.environ, **variables,
                   "PYTHONPATH": str(folder)}, check=True)  # fmt: skip
    build = tmp_path / "home" if name == "~" else folder / name
    assert (build / "runs").is_dir() and (build / ".hw2lib").is_file()
    (build / "mine.txt").touch()
    assert made(folder, "clean", **variables).returncode == 0
    assert [path.name for path in build.iterdir()] == ["mine.txt"]


def test_make_clean_leaves_a_folder_that_was_there_before(tmp_path, monkeypatch):
    folder = clone(tmp_path / "clone")
    monkeypatch.setenv("HW2_BUILD", str(tmp_path / "mine"))
    (tmp_path / "mine" / "results").mkdir(parents=True)
    writable_dir(tmp_path / "mine" / "runs")
    done = made(folder, "clean", HW2_BUILD=os.environ["HW2_BUILD"])
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path}/mine was not made here: remove from it yourself")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["results", "runs"]
