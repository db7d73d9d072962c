"""Masks on disk scored beside the prediction of the next: large cases in processes of their own, small ones at once.

Run as ``python -m minivess.evaluation.scoring JOB`` for one case; without torch.
"""

from __future__ import annotations

import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict

from minivess.atomic import atomic_path
from minivess.data.formats.nifti import read_volume
from minivess.json_files import write_state
from minivess.machine.processes import worker_command
from minivess.metrics.case import score_case
from minivess.metrics.reference import Reference
from minivess.planning.resources import SCORING_WORTH_A_PROCESS_VOXELS


class ScoringJob(BaseModel):
    """One case to score.

    Attributes:
        prediction: The mask, NIfTI.
        label: The label, an array of NumPy's own format.
        prepared: Where what scoring needs of the label is kept for the next prediction of the same volume.
        record: Where the scores go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction: Path
    label: Path
    prepared: Path
    spacing_um: tuple[float, float, float]
    tolerance_um: float
    record: Path

    def run(self) -> None:
        """Score the case and write its record."""
        scores = score_case(read_volume(self.prediction), self._reference(), tolerance_um=self.tolerance_um)
        write_state(self.record, scores)

    def _reference(self) -> Reference:
        label = np.load(self.label, mmap_mode="r")
        try:
            with np.load(self.prepared) as arrays:
                return Reference.from_arrays(label, self.spacing_um, arrays)
        except (OSError, ValueError, KeyError, BadZipFile):
            reference = Reference.of(label, self.spacing_um)
        with atomic_path(self.prepared) as temporary, temporary.open("wb") as file:
            np.savez(file, **reference.as_arrays())  # type: ignore[arg-type]  # its stub takes the arrays for its switch
        return reference


class Scoring:
    """Scores jobs while the ``with`` block goes on; its end waits for all of them, and raises what one raised.

    Args:
        processes: How many cases at a time; 1 scores each at once, in this process.
    """

    def __init__(self, processes: int) -> None:
        self._pool = ThreadPoolExecutor(processes, "scoring") if processes > 1 else None
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> Scoring:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)
        if error is None:
            for scored in self._waiting:
                scored.result()

    def add(self, job: ScoringJob) -> None:
        """Score a case, now or soon."""
        if self._pool is None:
            job.run()
        else:
            self._waiting.append(self._pool.submit(_in_process, job))


def cases_at_a_time(planned: int, largest_voxels: int, cases: int) -> int:
    """As many as are planned for; 1 for few or small cases."""
    return 1 if largest_voxels < SCORING_WORTH_A_PROCESS_VOXELS else max(1, min(planned, cases))


def _in_process(job: ScoringJob) -> None:
    command = worker_command("score", job.model_dump_json())
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode == -9:
        raise MemoryError(f"the process that scored {job.record.stem} was killed")
    if done.returncode:
        raise RuntimeError(f"scoring {job.record.stem} failed:\n{done.stderr}")


def main(job: str) -> int:
    """Score the case that the JSON text ``job`` describes, in a process of its own; returns the exit code."""
    ScoringJob.model_validate_json(job).run()
    return 0
