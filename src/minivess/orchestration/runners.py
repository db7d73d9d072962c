"""The runner of one machine: a cell at a time, since one cell is planned to fill the card and the memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from minivess.experiments.cells import Job
from minivess.experiments.prepare import Prepared
from minivess.experiments.supervise import Watcher, supervise_cell
from minivess.orchestration.flows import as_cell
from minivess.training.outcome import Outcome


def one_by_one(
    jobs: Sequence[Job], prepared: Prepared, watcher: Watcher, lock: int
) -> Iterator[tuple[Job, Outcome | None]]:
    """``experiments.run.Runner`` for this machine."""
    for job in jobs:
        watcher.cell_begins(job.name, job.number, job.total)
        outcome = as_cell(job.name, partial(supervise_cell, job.cell, job.spec, prepared, watcher, lock))
        watcher.cell_ends(job.name, outcome)
        yield job, outcome
