"""Score masks on disk while the next case is predicted: large cases in other processes, small cases in this process.

``main`` is the entry point of such a process. It scores one case and does not import torch.
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
from minivess.data.label_values import UNKNOWN
from minivess.json_files import write_state
from minivess.machine.processes import worker_command
from minivess.metrics.case import score_case
from minivess.metrics.reference import Reference
from minivess.planning.resources import SCORING_WORTH_A_PROCESS_VOXELS


class ScoringJob(BaseModel):
    """One case to score.

    Attributes:
        prediction: NIfTI file of the predicted mask.
        label: NumPy file (.npy) of the label, as the store has it.
        prepared: File with the data that scoring computes from the label. It is kept for the next prediction of this
            volume.
        spacing_um: Spacing of the voxels along X, Y and Z, in micrometres.
        tolerance_um: Tolerance of the normalised surface distance, in micrometres.
        record: JSON file for the scores.
        has_unknown: Whether some voxels of the label are unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prediction: Path
    label: Path
    prepared: Path
    spacing_um: tuple[float, float, float]
    tolerance_um: float
    record: Path
    has_unknown: bool = False

    def run(self) -> None:
        """Score the case and write the scores to ``record``."""
        scores = score_case(read_volume(self.prediction), self._reference(), tolerance_um=self.tolerance_um)
        write_state(self.record, scores)

    def _reference(self) -> Reference:
        label = np.load(self.label, mmap_mode="r")
        known = label != UNKNOWN if self.has_unknown else None
        try:
            with np.load(self.prepared) as arrays:
                return Reference.from_arrays(label, self.spacing_um, arrays, known)
        except (OSError, ValueError, KeyError, BadZipFile):
            reference = Reference.of(label, self.spacing_um, known)
        with atomic_path(self.prepared) as temporary, temporary.open("wb") as file:
            np.savez(file, **reference.as_arrays())  # type: ignore[arg-type]  # the stub checks them as allow_pickle
        return reference


class Scoring:
    """Score jobs in the background while a ``with`` block runs. Its end waits for all jobs and raises the first error.

    Args:
        processes: Number of cases that are scored at a time. With 1, ``add`` scores each case in this process before it
            returns.
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
        """Score a case, or queue it if there are scoring processes."""
        if self._pool is None:
            job.run()
        else:
            self._waiting.append(self._pool.submit(_in_process, job))


def cases_at_a_time(planned: int, largest_voxels: int, cases: int) -> int:
    """Return how many cases to score at a time: the planned number, at most ``cases``; 1 if all cases are small.

    Args:
        planned: The planned number of scoring processes.
        largest_voxels: Number of voxels of the largest case.
        cases: Number of cases.
    """
    return 1 if largest_voxels < SCORING_WORTH_A_PROCESS_VOXELS else max(1, min(planned, cases))


def _in_process(job: ScoringJob) -> None:
    command = worker_command("score", job.model_dump_json())
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if done.returncode == -9:
        raise MemoryError(f"the scoring process of {job.record.stem} was killed (SIGKILL)")
    if done.returncode:
        raise RuntimeError(f"scoring {job.record.stem} failed:\n{done.stderr}")


def main(job: str) -> int:
    """Score one case in a separate process.

    Args:
        job: A ``ScoringJob`` as JSON text.

    Returns:
        The exit code.
    """
    ScoringJob.model_validate_json(job).run()
    return 0
