"""A Slurm of two nodes on this machine, to test the recording on: nothing is left of it.

    with Slurm(folder) as slurm:
        subprocess.run(["sinfo"], env=slurm.environment)

Needs root and Debian's slurmctld, slurmd, slurm-client and munge; no systemd, cgroups or database.
Each node has one core, and the first says that it has a GPU, for those who ask for one. Without
accounting a job's state is asked of `squeue`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "sinfo")
NODES = ("n1", "n2")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
MinJobAge=3600
KillWait=20
SchedulerParameters=sched_interval=1,bf_interval=1
GresTypes=gpu
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000 Gres=gpu:1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=main Nodes=ALL Default=YES MaxTime=60 DefMemPerCPU=1000
"""


def missing() -> list[str]:
    """What this machine lacks."""
    programs = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    return programs + ([] if os.geteuid() == 0 else ["the rights of root"])


_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


class Slurm:
    """Its files are in `folder`, whose path is short: that of a socket has at most 107 bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        srun = shutil.which("srun", path=_PATH)
        for name, mode in {"": 0o755, "munge": 0o700, "bin": 0o755, "state": 0o755}.items():
            (folder / name).mkdir(mode=mode, exist_ok=True)
            (folder / name).chmod(mode)
        self.config = folder / "slurm.conf"
        self.config.write_text(
            CONFIG.format(host=socket.gethostname().split(".")[0], folder=folder, ports=_ports())
        )
        gpu = "AutoDetect=off\nNodeName=n1 Name=gpu File=/dev/null\n"
        (folder / "gres.conf").write_text(gpu)
        # The executor's job steps drop SLURM_CONF: a srun that knows it comes first.
        wrapper = folder / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec {srun} "$@"\n')
        wrapper.chmod(0o755)
        path = os.pathsep.join([str(folder / "bin"), _PATH])
        self.environment = {**os.environ, "PATH": path, "SLURM_CONF": str(self.config)}

    def __enter__(self) -> Slurm:
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        try:
            self.run(
                "munged", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
                f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munge/log",
                f"--seed-file={self.folder}/munge/seed",
            )  # fmt: skip
            self.start_controller("-c")
            for node in NODES:
                self.run("slurmd", "-c", "-N", node)
            wait(lambda: self.run("sinfo", "-hN", "-o", "%T").split() == ["idle"] * 2, 60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all that was started here, and what jobs started: they know it by their PATH."""
        ours = [process for process in psutil.process_iter() if self._started(process)]
        for process in ours:
            process.kill()
        psutil.wait_procs(ours, timeout=10)

    def _started(self, process: psutil.Process) -> bool:
        try:
            return str(self.folder / "bin") in process.environ().get("PATH", "")
        except psutil.Error:  # it has ended, or is somebody else's
            return False

    def run(self, *command: str) -> str:
        """What one of Slurm's programs prints; CalledProcessError where it fails."""
        return subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def start_controller(self, *options: str) -> None:
        self.run("slurmctld", *options)
        ping = ["scontrol", "ping"]
        wait(lambda: not subprocess.run(ping, env=self.environment, **QUIET).returncode, 60)

    def stop_controller(self) -> None:
        daemon = psutil.Process(int((self.folder / "slurmctld.pid").read_text()))
        daemon.terminate()
        daemon.wait(60)

    def cancel(self, name: str) -> None:
        """Cancel the running jobs of that name."""
        for job in self.accounts("RUNNING"):
            if job["job"] == name:
                self.run("scancel", str(job["number"]))

    def accounts(self, states: str = "all") -> list[dict]:
        """number, job (the name that Snakemake gives it), state, node, seconds of each job."""
        lines = self.run("squeue", "-ht", states, "-o", "%i|%k|%T|%N|%M").splitlines()
        parts = [line.split("|") for line in lines]
        return sorted(
            ({"number": int(number), "job": comment.split("wildcards_")[-1], "state": state,
              "node": node, "seconds": _seconds(took)}
             for number, comment, state, node, took in parts),
            key=lambda job: job["number"],
        )  # fmt: skip


def wait(met: Callable[[], bool], seconds: float, every: float = 0.2) -> None:
    """Until `met()`; TimeoutError after so many seconds."""
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s in vain")
        time.sleep(every)


def _seconds(took: str) -> int:
    """Of "1:02:03" or "2:03"."""
    total = 0
    for part in took.split(":"):
        total = 60 * total + int(part)
    return total


def _ports() -> list[int]:
    """Three free ports in a row."""
    for first in range(16817, 17817, 3):
        ports = [first, first + 1, first + 2]
        if not any(_taken(port) for port in ports):
            return ports
    raise RuntimeError("no free ports")


def _taken(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
