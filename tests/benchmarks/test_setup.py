"""setup: every step is timed in the state that it names; the README's table is the result's."""

import shutil
import subprocess

import pytest
import setup

from hw2lib.io.paths import RESULTS, WEIGHTS
from hw2lib.io.results import load, one, path_of
from hw2lib.io.weights import weights_header

MAKEFILE = """
report: .venv/.made
\t@test -e build || echo whole >> ../log
\t@mkdir -p build _build
test: .venv/.made
\t@test ! -e build && test -z "$$HW2_DATA" && echo test >> ../log
.venv/.made:
\t@mkdir -p .venv/bin && cd .venv/bin && echo '#!/bin/sh' > hw2 && chmod +x hw2 && cp hw2 python
\t@touch $@ && echo environment in $${UV_CACHE_DIR##*/} >> ../log
"""


@pytest.fixture
def repository(tmp_path):
    """One whose make targets do nothing but say in which state they found the clone."""
    top = tmp_path / "repository"
    top.mkdir()
    (top / "Makefile").write_text(MAKEFILE)
    git = ["git", "-C", str(top), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], check=True)
    return top


def test_every_step_begins_in_the_state_that_it_names(repository, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HW2_DATA", "/somewhere")
    found = setup.measure(repository, tmp_path)
    assert list(found) == list(setup.STEPS) and min(found.values()) > 0
    log = (tmp_path / "log").read_text().splitlines()
    assert log == ["environment in uv", "whole", "whole", "test"]  # the second run finds all there
    assert capsys.readouterr().out.count(" s\n") == len(setup.STEPS)


def test_a_failed_step_says_which_and_why(repository, tmp_path):
    shutil.move(repository / "Makefile", repository / "makefile.txt")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "-qam", "none"], check=True)
    with pytest.raises(SystemExit, match=r"No rule(.|\n)+make PYTHON=.+ \.venv/\.made failed in"):
        setup.measure(repository, tmp_path)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.3049, "0.3 s"), (2.94, "2.9 s"), (41.4, "41 s"), (59.7, "1 min 0 s"), (141, "2 min 21 s")],
)
def test_times_in_words(seconds, words):
    assert setup.in_words(seconds) == words


def test_the_readmes_table_is_the_recorded_result():
    table = setup.TABLE.search(setup.README.read_text(encoding="utf-8"))[0].splitlines()
    assert [line.split(" | ")[0] for line in table] == [f"| {n}" for n in setup.STEPS.values()]
    if not path_of("setup", RESULTS).is_file():
        assert {line.split(" | ")[1] for line in table} == {"not recorded yet |"}
        return
    for line, right in zip(table, setup.lines(load("setup", RESULTS)), strict=True):
        assert line == right, "python benchmarks/setup.py --record writes this line of the README"


def test_the_readmes_other_times_are_those_of_the_recorded_files():
    def trained(name):
        return weights_header(WEIGHTS / f"{name}.safetensors")["seconds"]

    speed = one(load("digits-speed", RESULTS)["records"], "ours", "seconds", samples=1000)
    rows = [trained(f"dann-{target}") / 60 for target in ("svhn", "usps", "mnistm")]
    times = {
        "papermill notebooks/ddim": f"{load('faces', RESULTS)['seconds'] / 60:.0f} minutes",
        "hw2 sample-digits": f"{speed['mean']:.0f} seconds",
        "hw2 train digits": f"{trained('digits') / 60:.0f} minutes",
        "hw2 train dann": f"{min(rows):.0f} to {max(rows):.0f} minutes",
        "hw2 train judge": f"{trained('judge') / 60:.0f} minutes",
        "hw2 train faces": f"{trained('faces') / 60:.0f} minutes",
    }
    lines = setup.README.read_text(encoding="utf-8").split("| run | time |\n")[1].splitlines()[1:]
    lines = lines[: lines.index("")]
    assert len(lines) == len(times)
    for line, (command, time) in zip(lines, times.items(), strict=True):
        assert line.startswith(f"| `{command}") and f" | {time} " in line
