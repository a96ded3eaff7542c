"""The recording through a Slurm of two nodes equals that of one machine, whatever goes wrong.

`make cluster` runs it; it needs some minutes, root, and Debian's slurmctld, slurmd, slurm-client
and munge (apt-get install --no-install-recommends).
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from cluster import campaign, slurm

pytestmark = pytest.mark.skipif(
    not os.environ.get("HW2_CLUSTER"), reason="minutes on a Slurm of its own: make cluster"
)


@pytest.fixture(scope="module")
def seen():
    if lacking := slurm.missing():
        pytest.skip(f"no Slurm here: {', '.join(lacking)} missing")
    folder = Path(tempfile.mkdtemp(prefix="hw2-"))  # a short path
    yield campaign.run(folder)
    shutil.rmtree(folder)


def test_a_failing_job_leaves_its_log_and_lets_the_others_finish(seen):
    assert seen.status[0] != 0 and campaign.FAILING in seen.first
    log = seen.build / "record" / "tiny" / "logs" / f"{campaign.FAILING}.log"
    assert "cannot be written" in log.read_text()
    planned = json.loads((seen.build / "record" / "tiny" / "list.json").read_text())["jobs"]
    waiting = {name for name, job in planned.items() if campaign.FAILING in job["needs"]}
    assert seen.after_first == planned.keys() - waiting - {campaign.FAILING}


def test_the_next_call_makes_what_is_missing(seen):
    assert seen.status[1:] == [0]
    assert campaign.done(seen.build) == campaign.done(seen.local)


@pytest.mark.parametrize("name", [campaign.CANCELLED, campaign.KILLED])
def test_a_job_that_ended_half_way_went_on_from_its_checkpoint(seen, name):
    assert 0 < seen.steps[name] < campaign.STEPS
    assert [job["job"] for job in seen.jobs].count(name) >= 2


def test_both_nodes_worked(seen):
    assert {job["node"] for job in seen.jobs} >= set(slurm.NODES)


def test_the_results_equal_those_of_one_machine(seen):
    ours, theirs = campaign.made(seen.local), campaign.made(seen.build)
    assert ours.keys() == theirs.keys() and any(name.endswith(".json") for name in ours)
    for name in ours:
        assert ours[name] == theirs[name], name
