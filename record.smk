# The recording as rules: `make record` calls it, with a profile for this machine or a cluster.
# What the jobs are stands in benchmarks/jobs.py, how one runs in benchmarks/recording.py. The list
# of them is a file: nothing here imports torch, since each job of a cluster reads this file again.
import json
import subprocess

from snakemake_interface_executor_plugins.settings import ExecMode


include: "Snakefile"


PRESET = config.get("preset", "full")
RECORD = BUILD / "record" / PRESET
RECORDING = Path(workflow.basedir) / "benchmarks" / "recording.py"

if workflow.exec_mode == ExecMode.DEFAULT:  # the call of a user, not of one of its jobs
    only_run()
    if subprocess.run([sys.executable, RECORDING, "plan", PRESET]).returncode:
        sys.exit(1)
JOBS = json.loads((RECORD / "list.json").read_text())["jobs"]


onstart:
    if workflow.local_exec:  # what a cluster still runs is not ours to end
        sweep()


onsuccess:
    print(f"recorded: {len(JOBS)} jobs, see {RECORD}/done", flush=True)


onerror:
    for name in JOBS:  # a job on a node cannot say it here itself
        log = RECORD / "logs" / f"{name}.log"
        made = (RECORD / "done" / f"{name}.json").exists()
        if not workflow.local_exec and not made and log.is_file() and log.stat().st_mtime > BEGAN:
            print(f"{name}: failed, see {log}", flush=True)


rule record:
    input:
        [RECORD / "done" / f"{name}.json" for name in JOBS],


# Its output is a small marker, for Snakemake deletes outputs before a retry: the checkpoint stays.
rule job:
    input:
        lambda wildcards: RECORD / "jobs" / f"{wildcards.job}.json",
        lambda wildcards: [RECORD / "done" / f"{n}.json" for n in JOBS[wildcards.job]["needs"]],
    output:
        RECORD / "done" / "{job}.json",
    log:
        RECORD / "logs" / "{job}.log",
    threads: lambda wildcards: JOBS[wildcards.job]["threads"] or workflow.cores or 2
    resources:
        mem_mb=lambda wildcards: JOBS[wildcards.job]["mem_mb"],
        runtime=lambda wildcards: JOBS[wildcards.job]["runtime"],
        gpu=lambda wildcards: int(JOBS[wildcards.job]["gpu"] and "gpus" in config),
    params:
        python=sys.executable,
        preset=PRESET,
        program=RECORDING,
    shell:
        "echo '{wildcards.job}: runs'; "
        "{params.python:q} {params.program:q} run {params.preset} {wildcards.job} >>{log:q} 2>&1"
        " || {{ grep . {log:q} | tail -n 1; echo '{wildcards.job}: failed, see {log}'; exit 1; }}; "
        "echo \"{wildcards.job}: done in $SECONDS s\""
