"""Run an experiment on a Slurm cluster: one job a worker, one cell a worker at a time. Untested on a real cluster.

    python slurm_run.py --config study.yaml --data-dir /shared/data --output-dir /shared/runs

Needs ``pip install dask-jobqueue`` in minivess's environment. Submit it as a job of its own on a node like the workers': it plans for the
machine that it is on.
"""

from __future__ import annotations

import subprocess
import sys

from dask_jobqueue import SLURMCluster

WORKERS = 4

if __name__ == "__main__":
    cluster = SLURMCluster(
        cores=1,  # threads a worker: one cell at a time
        processes=1,
        job_cpu=8,  # what Slurm gives the job, and so the cell
        memory="32GB",
        walltime="12:00:00",
        job_extra_directives=["--gres=gpu:1"],
        scheduler_options={"dashboard": False},
    )
    cluster.scale(jobs=WORKERS)
    try:
        command = [sys.executable, "-m", "minivess.cli.main", "run", "--dask", cluster.scheduler_address, *sys.argv[1:]]
        sys.exit(subprocess.run(command, check=False).returncode)
    finally:
        cluster.close()
