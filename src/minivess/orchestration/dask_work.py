"""What a Dask worker does with a cell: it runs it in the shared run folder, under a supervisor of its own."""

from __future__ import annotations

import os
import socket
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
"""In the cell folder: the run wants the cell to save and stop. A thread of a worker cannot be interrupted."""


def work(folder: Path, spec: CellSpec, prepared: Prepared) -> Outcome | None:
    """Run the cell in ``folder`` to its end; may be called again, on any worker, after one was lost with it.

    Args:
        folder: Of the cell, absolute; it exists.
        spec: What the cell is told.
        prepared: The run as the machine that began it has prepared it; the limits here follow from this machine.

    Raises:
        RunError: This worker does not see the folder, or has no graphics card for a plan that is made for one.
        Reschedule: The cell was asked to stop here, as at the end of a batch job: it goes on wherever Dask puts it.
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
            "a graphics card on every worker", f"none on {socket.gethostname()}", "start workers where a card is"
        )
    _unset_nanny_environment()
    slot = cell_slots(limited(hardware, prepared.config), compute_of(prepared.plan), cells=1)
    cell = CellFolder(folder)
    outcome = supervise_cell(cell, spec, replace(prepared, slots=slot), StopFileObserver(cell), None)
    if outcome is not None and outcome.status == "stopped":
        raise Reschedule
    return outcome


class _AskedToStopError(Exception):
    """The run does not want the cell any more."""


class StopFileObserver:
    """Watches for the stop file in place of a person; who began the run reads the progress from the shared folder."""

    def __init__(self, cell: CellFolder) -> None:
        self._stop = cell.path / STOP_FILE

    def on_message(self, text: str) -> None:
        print(text)

    def on_volume_stored(self, volume: VolumeStats) -> None: ...

    def on_cell_start(self, name: str, number: int, total: int) -> None: ...

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        if self._stop.exists():
            raise _AskedToStopError

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None: ...


def _unset_nanny_environment() -> None:
    """Dask's nanny sets one thread a worker; a cell has the machine for itself and takes its threads as a local one does."""
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ", {}).items():
        if os.environ.get(name) == str(value):
            del os.environ[name]
