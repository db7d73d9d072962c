"""Run an experiment on a Slurm cluster: one job per worker, one cell at a time. Not tested on a real cluster.

    python slurm_run.py --config study.yaml --data-dir /shared/data --output-dir /shared/runs

Needs ``pip install dask-jobqueue`` in the environment of minivess. Submit this script as a separate job on a node of
the same kind as the workers, because the run is planned for the machine that the script runs on.
"""

from __future__ import annotations

import subprocess
import sys

from dask_jobqueue import SLURMCluster

WORKERS = 4

if __name__ == "__main__":
    cluster = SLURMCluster(
        cores=1,  # threads per worker: one cell at a time
        processes=1,
        job_cpu=8,  # cores that Slurm gives to the job, and so to the cell
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
