"""Run the cells of a prepared run and compare the results. The same call again continues and skips finished cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from minivess.data.array_store import build_store
from minivess.errors import RunError
from minivess.experiments.best_model import find_best_model
from minivess.experiments.cell_process import RunObserver
from minivess.experiments.cell_selection import CellFilter, Job, cell_specs, select_cells
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.dry_start import run_dry_start
from minivess.experiments.final_model import model_folder
from minivess.experiments.prepare import Prepared, saved_profile, store_root
from minivess.experiments.race import rounds
from minivess.experiments.results import write_results
from minivess.experiments.resume import refuse_another_experiment
from minivess.experiments.run_folder import CellFolder, refuse_links
from minivess.json_files import write_state
from minivess.locks import hold
from minivess.supervision.outcome import Outcome
from minivess.tracking.provenance import describe_environment


class Runner(Protocol):
    """Runs cells to their end, or to the step at which a race pauses them, on this machine or elsewhere."""

    def __call__(
        self, jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, lock: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        """Run the jobs and yield each one as it ends, in any order, with its outcome.

        A race calls it once for each round, with the cells of that round. A job that fails does not stop the others.

        Args:
            jobs: The cells to run.
            prepared: The run.
            observer: Receives the start and the end of each cell.
            lock: File descriptor of the lock on the run folder. A process that may outlive this one inherits it.

        Yields:
            A job and its outcome; the outcome is None if the cell was finished already.
        """


def run(
    prepared: Prepared, observer: RunObserver, runner: Runner, only: Sequence[CellFilter] = ()
) -> dict[str, Outcome]:
    """Run every cell to its end, then compare and write the results.

    A cell that fails does not stop the others. The results are those of the cells that finished.

    Args:
        prepared: The run.
        observer: Receives the events of the run.
        runner: Runs the cells.
        only: Run only the cells that one of these filters matches; all cells if empty. The results always contain all
            finished cells.

    Returns:
        The outcome of each cell that did not finish, by name; empty if all finished.

    Raises:
        ConfigError: A filter matches no cell, or another process started the run with other settings in the meantime.
        RunError: Another process holds the run folder or has changed it in the meantime, or the run was interrupted.
    """
    folder = prepared.folder
    select_cells(prepared.config, only)
    folder.path.mkdir(parents=True, exist_ok=True)
    failures = {}
    with hold(folder.path / ".lock") as lock:
        refuse_links(folder.path)
        _refuse_changed_run(prepared)
        _write_decisions(prepared)
        store = build_store(prepared.profile, store_root(prepared.config), observer.on_volume_stored)
        write_state(saved_profile(prepared.config, prepared.splits.test), prepared.scanned)
        prepared = run_dry_start(prepared, store, observer, lock)
        jobs = _unfinished(prepared, cell_specs(prepared, store, only), observer)
        for now in rounds(jobs, prepared, observer, only):
            for job, outcome in runner(now, prepared, observer, lock):
                if outcome is not None and outcome.status == "stopped":
                    raise RunError(
                        "a run that ends by itself", f"an interrupt in {job.name}: {outcome.message}", outcome.cure
                    )
                if outcome is not None and outcome.status == "failed":
                    failures[job.name] = outcome
        if folder.read_rows():
            write_results(folder)
        found = find_best_model(folder)
        if found is not None and all(cell.trained for cell in found.members):
            model_folder(folder, found)
    return failures


def _unfinished(prepared: Prepared, specs: Sequence[CellSpec], observer: RunObserver) -> list[Job]:
    """Return the cells that are not finished; report the finished ones to ``observer``."""
    jobs = []
    for number, spec in enumerate(specs, start=1):
        job = Job(prepared.folder.cell(*spec.key), spec, number, len(specs))
        if _is_finished(job.cell, spec):
            observer.on_cell_start(job.name, job.number, job.total)
            observer.on_cell_end(job.name, None)
        else:
            jobs.append(job)
    return jobs


def _refuse_changed_run(prepared: Prepared) -> None:
    """Check that no other process started or changed the run between its preparation and the lock on its folder.

    Raises:
        ConfigError: The run was started with other settings.
        RunError: The run was started with another plan or other splits.
    """
    folder = prepared.folder
    if not folder.config.exists():
        return
    refuse_another_experiment(prepared.config, folder)
    if (folder.read_plan(), folder.read_splits()) != (prepared.plan, prepared.splits):
        raise RunError(
            "the run as it was when this command prepared it",
            f"{folder.path}, which another process has started or changed in the meantime",
            "run the same command again: it continues the run",
        )


def _write_decisions(prepared: Prepared) -> None:
    folder = prepared.folder
    write_state(folder.preflight, prepared.preflight.summary())
    if not folder.environment.exists():
        write_state(folder.environment, describe_environment())
    write_state(folder.profile, prepared.profile)
    write_state(folder.splits, prepared.splits)
    write_state(folder.plan, prepared.plan)
    # config.yaml is written last: if it exists, the other files exist too.
    folder.write_config(prepared.config)


def _is_finished(cell: CellFolder, spec: CellSpec) -> bool:
    """Whether the cell has its result.

    Raises:
        RunError: The folder contains files of a cell with another spec, which must never be mixed with this one.
    """
    if cell.spec.is_file():
        before = cell.read_spec()
        if not _trains_the_same(before, spec):
            raise RunError(
                f"the settings with which the cell in {cell.path} was started",
                "other settings",
                "start another run under a new name (--name)",
            )
    return cell.finished


def _trains_the_same(before: CellSpec, now: CellSpec) -> bool:
    """Whether both specs train the same network, apart from the code, which `refuse_changed_code` compares.

    The path of the store and the estimates of the plan (timed again after a loss was added) do not matter.
    """
    estimates = now.plan.model_dump(include={"step_seconds", "reasons"})
    plan = before.plan.model_copy(update=estimates)
    return before.model_copy(update={"store": now.store, "plan": plan, "code": now.code}) == now
