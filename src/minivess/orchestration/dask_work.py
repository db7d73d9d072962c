"""The work of a Dask worker: run one cell in the shared run folder, under its own supervisor."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import dask
from distributed import Reschedule

from minivess.data.profiler import VolumeStats
from minivess.errors import RunError
from minivess.experiments.cell_process import supervise_cell
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.prepare import Prepared, compute_of, limited
from minivess.experiments.run_folder import CellFolder
from minivess.planning.cell_slots import cell_slots
from minivess.planning.hardware import detect_hardware
from minivess.supervision.outcome import Outcome

STOP_FILE = "stop"
"""File in the cell folder that asks the cell to save and stop. It is needed because a worker's thread cannot be interrupted."""


def work(folder: Path, spec: CellSpec, prepared: Prepared) -> Outcome | None:
    """Run the cell in ``folder`` to its end; may be called again on any worker if the first worker is lost.

    Args:
        folder: Absolute path of the cell folder; it exists.
        spec: The specification of the cell.
        prepared: The run, as prepared by the machine that started it; the limits follow from this machine instead.

    Returns:
        The outcome; None if the cell was already finished.

    Raises:
        RunError: The folder does not exist on this worker, or the plan needs a GPU and this worker has none.
        Reschedule: The cell was stopped on this worker, e.g. at the end of a batch job; Dask runs it again on some worker.
    """
    if not folder.is_dir():
        raise RunError(
            "one run folder that all workers share",
            f"no {folder} on {socket.gethostname()}",
            "give an --output-dir and a --data-dir that every worker has under the same path",
        )
    hardware = detect_hardware(visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    if prepared.plan.device == "cuda" and hardware.gpu is None:
        raise RunError(
            "a GPU on every worker", f"none on {socket.gethostname()}", "start workers only on machines with a GPU"
        )
    _unset_nanny_environment()
    threads = prepared.slots[0].environment.get("OMP_NUM_THREADS")  # those of a local run, for the same bits
    slot = cell_slots(limited(hardware, prepared.config), compute_of(prepared.plan), cells=1, threads=threads)
    cell = CellFolder(folder)
    outcome = supervise_cell(cell, spec, replace(prepared, slots=slot), StopFileObserver(cell), None)
    if outcome is not None and outcome.status == "stopped":
        raise Reschedule
    return outcome


class _StopRequestedError(Exception):
    """The run has asked the cell to stop."""


class StopFileObserver:
    """An observer that stops the cell when the stop file appears. The run reads the progress from the shared folder instead."""

    def __init__(self, cell: CellFolder) -> None:
        self._stop = cell.path / STOP_FILE

    def on_message(self, text: str) -> None:
        print(text)

    def on_volume_stored(self, volume: VolumeStats) -> None: ...

    def on_cell_start(self, name: str, number: int, total: int) -> None: ...

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        if self._stop.exists():
            raise _StopRequestedError

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None: ...

    def on_cells_dropped(self, names: Sequence[str]) -> None: ...


def _unset_nanny_environment() -> None:
    """Remove the thread limits that Dask's nanny sets in the environment, so that a cell uses as many threads as in a local run."""
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ", {}).items():
        if os.environ.get(name) == str(value):
            del os.environ[name]
