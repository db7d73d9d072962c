"""The runner for one machine: one cell at a time in each slot, because a cell is planned to use the slot's share of GPUs and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Event

from minivess.errors import RunError
from minivess.experiments.cell_process import RunObserver, supervise_cell
from minivess.experiments.cell_selection import Job
from minivess.experiments.prepare import Prepared
from minivess.orchestration.flows import as_cell
from minivess.planning.cell_slots import CellSlot
from minivess.supervision.outcome import Outcome


def on_this_machine(
    jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, lock: int
) -> Iterator[tuple[Job, Outcome | None]]:
    """Run the cells on this machine (an ``experiments.run.Runner``) and yield each with its outcome."""
    if len(prepared.slots) > 1:
        yield from _side_by_side(jobs, prepared, observer, lock)
        return
    for job in jobs:
        observer.on_cell_start(job.name, job.number, job.total)
        outcome = as_cell(job.name, partial(supervise_cell, job.cell, job.spec, prepared, observer, lock))
        observer.on_cell_end(job.name, outcome)
        yield job, outcome


def _side_by_side(
    jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, lock: int
) -> Iterator[tuple[Job, Outcome | None]]:
    """Run each cell in the first free slot. If the caller stops iterating, the running cells save and stop."""
    free: SimpleQueue[CellSlot] = SimpleQueue()
    for slot in prepared.slots:
        free.put(slot)
    stop = Event()
    stoppable = _StoppableObserver(stop, observer)

    def work(job: Job) -> Outcome | None:
        slot = free.get()
        try:
            observer.on_cell_start(job.name, job.number, job.total)
            return supervise_cell(job.cell, job.spec, replace(prepared, slots=(slot,)), stoppable, lock)
        finally:
            free.put(slot)

    pool = ThreadPoolExecutor(len(prepared.slots), "slot")
    waiting = {pool.submit(work, job): job for job in jobs}
    try:
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                job = waiting.pop(future)
                # The cell has ended. Prefect's task must run in this thread and only shows the outcome.
                outcome = as_cell(job.name, future.result)
                observer.on_cell_end(job.name, outcome)
                yield job, outcome
    except KeyboardInterrupt:
        raise RunError(
            "a run that ends by itself",
            "interrupted; the running cells save and stop",
            "run the same command again; it resumes",
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _StopError(Exception):
    """The run has ended, so its cells must stop."""


class _StoppableObserver:
    """An observer that passes everything on until ``stop`` is set; then each progress report raises, which stops that cell."""

    def __init__(self, stop: Event, observer: RunObserver) -> None:
        self._stop, self._observer = stop, observer
        self.on_message, self.on_volume_stored = observer.on_message, observer.on_volume_stored
        self.on_cell_start, self.on_cell_end = observer.on_cell_start, observer.on_cell_end
        self.on_cells_dropped = observer.on_cells_dropped

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _StopError
        self._observer.on_progress(name, stage, done, total)
