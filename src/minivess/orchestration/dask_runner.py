"""The runner for a Dask cluster: one cell per worker, in a run folder that all workers share.

If a worker is lost, Dask gives its cell to another worker. That worker continues from the cell's checkpoint as soon as the
supervisor on the lost worker's machine has ended the training process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial

from distributed import Client, Future
from distributed.comm import parse_address, parse_host_port

from minivess.errors import RunError
from minivess.experiments.cell_process import RunObserver, report_progress
from minivess.experiments.cell_selection import Job
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import CellFolder
from minivess.orchestration.dask_work import STOP_FILE, work
from minivess.orchestration.flows import as_cell
from minivess.supervision.exit_codes import HEARTBEAT_FILE
from minivess.supervision.outcome import Outcome, failure

_POLL_S = 0.2
_CONNECT_S = 10
_REPEAT = "run the same command again: it resumes"


class OnDask:
    """A runner (``experiments.run.Runner``) that runs cells on the workers of a Dask scheduler.

    Args:
        address: Address of the scheduler, e.g. "tcp://127.0.0.1:8786".
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def __call__(
        self, jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, lock: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        if not jobs:
            return
        with self._connect() as client:
            threads = _require_one_cell_a_worker(client)
            observer.on_message(
                f"Dask: {len(threads)} workers at {self._address}" + ("" if threads else "; waiting for the first one")
            )
            waiting = {_submit(client, job, prepared): job for job in jobs}
            try:
                yield from _until_all_ended(waiting, observer)
            except KeyboardInterrupt:
                raise RunError("a run that ends by itself", "interrupted; the workers save and stop", _REPEAT) from None
            finally:
                for job in waiting.values():
                    (job.cell.path / STOP_FILE).touch()

    def require(self) -> None:
        """Check that cells can run on the cluster, before the run starts.

        Raises:
            RunError: No scheduler answers at the address, or a worker would take several cells at a time.
        """
        try:
            with self._connect() as client:
                _require_one_cell_a_worker(client)
        except OSError as error:  # includes distributed's CommClosedError
            raise RunError(
                "a Dask scheduler that keeps running", f"{self._address}: {error}", "start it again"
            ) from error

    def _connect(self) -> Client:
        try:
            # Checked first: a Client with an invalid address takes 20 s and prints a traceback.
            parse_host_port(parse_address(self._address)[1])
            return Client(self._address, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise RunError(
                "a Dask scheduler", f"none at {self._address}: {error}", "start one, see docs/how-to/cluster.md"
            ) from error


def _require_one_cell_a_worker(client: Client) -> dict[str, int]:
    """Return the threads of each worker, by address.

    Raises:
        RunError: A worker has more than one thread, so it would run several cells at a time.
    """
    threads: dict[str, int] = client.nthreads()
    crowded = [f"{count} at {worker}" for worker, count in threads.items() if count != 1]
    if crowded:
        raise RunError(
            "workers that take one cell at a time", ", ".join(crowded), "start them with --nworkers 1 --nthreads 1"
        )
    return threads


def _submit(client: Client, job: Job, prepared: Prepared) -> Future:
    folder = job.cell.path.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP_FILE).unlink(missing_ok=True)
    return client.submit(work, folder, job.spec, prepared, key=f"{folder}-{time.time_ns()}", pure=False)


def _until_all_ended(waiting: dict[Future, Job], observer: RunObserver) -> Iterator[tuple[Job, Outcome | None]]:
    """Yield each cell with its outcome when it ends, and remove it from ``waiting``."""
    beats = {job.name: _beat_ns(job.cell) for job in waiting.values()}
    started: set[str] = set()

    def report_start(job: Job) -> None:
        if job.name not in started:
            started.add(job.name)
            observer.on_cell_start(job.name, job.number, job.total)

    while waiting:
        time.sleep(_POLL_S)
        for future, job in list(waiting.items()):
            if future.done():
                report_start(job)
                del waiting[future]
                outcome = as_cell(job.name, partial(_result, future, job))
                observer.on_cell_end(job.name, outcome)
                yield job, outcome
            elif _beat_ns(job.cell) != beats[job.name]:
                report_start(job)
                report_progress(job.cell.path, partial(observer.on_progress, job.name))


def _result(future: Future, job: Job) -> Outcome | None:
    """Return the outcome of a cell, or a failed one with the reason if Dask has none."""
    try:
        outcome: Outcome | None = future.result()
    except RunError as error:
        return failure(f"expected {error.expected}; got {error.got}", error.cure)
    except CancelledError as error:
        return failure(f"the scheduler was lost ({error})", _REPEAT)
    except Exception as error:  # the worker died several times with this cell, or a bug of minivess on the worker
        return failure(
            f"{type(error).__name__}: {error}", f"read {job.cell.path}/log.txt and the log of the worker; {_REPEAT}"
        )
    return outcome


def _beat_ns(cell: CellFolder) -> int:
    """Return when the cell's heartbeat was written, in ns by the clock of its machine; only a change is meaningful."""
    try:
        return (cell.path / HEARTBEAT_FILE).stat().st_mtime_ns
    except OSError:
        return 0
