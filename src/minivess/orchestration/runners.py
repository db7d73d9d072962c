"""The runner of one machine: a cell a lane at a time, since one cell is planned to fill a lane's part of cards and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Event

from minivess.errors import RunError
from minivess.experiments.cells import Job
from minivess.experiments.prepare import Prepared
from minivess.experiments.supervise import Watcher, supervise_cell
from minivess.orchestration.flows import as_cell
from minivess.planning.lanes import Lane
from minivess.training.outcome import Outcome


def on_this_machine(
    jobs: Sequence[Job], prepared: Prepared, watcher: Watcher, lock: int
) -> Iterator[tuple[Job, Outcome | None]]:
    """``experiments.run.Runner`` for this machine."""
    if len(prepared.lanes) > 1:
        yield from _side_by_side(jobs, prepared, watcher, lock)
        return
    for job in jobs:
        watcher.cell_begins(job.name, job.number, job.total)
        outcome = as_cell(job.name, partial(supervise_cell, job.cell, job.spec, prepared, watcher, lock))
        watcher.cell_ends(job.name, outcome)
        yield job, outcome


def _side_by_side(
    jobs: Sequence[Job], prepared: Prepared, watcher: Watcher, lock: int
) -> Iterator[tuple[Job, Outcome | None]]:
    """Each cell in the first lane that is free; if the caller takes no more of them, those that run save and stop."""
    free: SimpleQueue[Lane] = SimpleQueue()
    for lane in prepared.lanes:
        free.put(lane)
    stop = Event()
    listening = _Until(stop, watcher)

    def work(job: Job) -> Outcome | None:
        lane = free.get()
        try:
            watcher.cell_begins(job.name, job.number, job.total)
            return supervise_cell(job.cell, job.spec, replace(prepared, lanes=(lane,)), listening, lock)
        finally:
            free.put(lane)

    pool = ThreadPoolExecutor(len(prepared.lanes), "lane")
    waiting = {pool.submit(work, job): job for job in jobs}
    try:
        while waiting:
            ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                job = waiting.pop(future)
                # The cell has ended: Prefect's task, which wants this thread, only says how.
                outcome = as_cell(job.name, future.result)
                watcher.cell_ends(job.name, outcome)
                yield job, outcome
    except KeyboardInterrupt:
        raise RunError(
            "a run to its end", "interrupted; its cells save and stop", "run the same command again; it resumes"
        ) from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _StopError(Exception):
    """The run is over."""


class _Until:
    """A watcher that ends, with its next word about a cell, the process of that cell."""

    def __init__(self, stop: Event, watcher: Watcher) -> None:
        self._stop, self._watcher = stop, watcher
        self.says, self.stored = watcher.says, watcher.stored
        self.cell_begins, self.cell_ends = watcher.cell_begins, watcher.cell_ends

    def cell_moves(self, name: str, stage: str, done: int, total: int) -> None:
        if self._stop.is_set():
            raise _StopError
        self._watcher.cell_moves(name, stage, done, total)
