"""training: two processes of `torchrun` train one model as one process would, on the CPU."""

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers.lines import fails, one_line
from helpers.networks import network
from helpers.processes import CONFIG, grouped, loss_of, state
from helpers.runs import CFG, loss

from hw2lib.device import precision
from hw2lib.errors import UserError
from hw2lib.io.paths import ROOT
from hw2lib.training import fit

ENVIRONMENT = {
    **os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
}  # fmt: skip


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What the two processes saw."""
    if not os.environ.get("HW2_SLOW"):
        pytest.skip("two new processes: set HW2_SLOW=1")
    out = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               "-m", "helpers.processes", str(out)]  # fmt: skip
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return [json.loads((out / f"{rank}.json").read_text()) for rank in "01"]


def test_two_processes_train_as_one(processes, tmp_path):
    rounding = {"float32": 1e-5, "bfloat16": 5e-3}[precision()]
    one = fit(grouped(), loss_of(), CONFIG, tmp_path)
    assert processes[0]["losses"] == pytest.approx(one.losses, abs=rounding)
    for ours, theirs in zip(state(one), processes[0]["state"], strict=True):
        assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), atol=rounding)


def test_all_processes_end_with_the_same_model(processes):
    assert processes[0] == processes[1]


def test_a_signal_to_one_process_stops_all_at_the_same_step(processes):
    for seen in processes:
        assert "interrupted after step 5 of 9" in seen["line"]


def test_processes_resume_to_the_same_bytes(processes):
    for seen in processes:
        assert seen["resumed"] == {key: seen[key] for key in ("losses", "state")}


# --- mistakes ------------------------------------------------------------------------------------


def test_a_network_with_batch_statistics_is_for_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started, but this") as caught:
        fit(network(), loss, CFG, tmp_path / "run")
    assert "one process is right, a job for each seed" in one_line(caught)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="batch_size=8 for 3 processes; a multiple is") as caught:
        fit(grouped(), loss_of(), CONFIG, tmp_path / "run", shared=True)
    one_line(caught)


@pytest.mark.parametrize("what", ["dann", "judge"])
def test_adaptation_and_the_judge_are_one_job_a_seed(what, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    line = fails(capsys, "train", what, "--data", "embedded", "--out", tmp_path / "run")
    assert "one process is right, a job for each seed" in line
