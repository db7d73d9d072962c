"""A prepared run, cell by cell, to its table. The same call again continues; finished cells are not redone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from minivess.data.array_store import build_store
from minivess.errors import RunError
from minivess.experiments.cell_process import RunObserver
from minivess.experiments.cell_selection import CellFilter, Job, cell_specs, select_cells
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.dry_start import run_dry_start
from minivess.experiments.prepare import Prepared, refuse_another_experiment, saved_profile, store_root
from minivess.experiments.results import write_results
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import write_state
from minivess.locks import hold
from minivess.supervision.outcome import Outcome
from minivess.tracking.provenance import describe_environment


class Runner(Protocol):
    """Who brings cells to their end, and where."""

    def __call__(
        self, jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, lock: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        """Yield each job as it ends, in any order, with its outcome: None where it turns out to be finished already.

        A job that fails does not stop the others. ``observer`` is told when each begins and ends. ``lock`` is held on the
        run folder; whatever may outlive this process inherits it.
        """


def run(
    prepared: Prepared, observer: RunObserver, runner: Runner, only: Sequence[CellFilter] = ()
) -> dict[str, Outcome]:
    """Bring every cell to its end and compare.

    A cell that fails does not stop the others; the results are those of the cells that finished.

    Args:
        prepared: What to run.
        observer: Who wants to see it.
        runner: Who runs the cells.
        only: Run the cells that one of these matches, in place of all; the results are of all that have finished.

    Returns:
        The outcome of each cell that did not finish, by name; empty when all did.

    Raises:
        ConfigError: A filter matches no cell, or the folder was begun with other settings meanwhile.
        RunError: Another run holds the folder or has changed it meanwhile, or the run was interrupted.
    """
    folder = prepared.folder
    select_cells(prepared.config, only)
    folder.path.mkdir(parents=True, exist_ok=True)
    failures = {}
    with hold(folder.path / ".lock") as lock:
        _refuse_what_came_between(prepared)
        _write_decisions(prepared)
        store = build_store(prepared.profile, store_root(prepared.config), observer.on_volume_stored)
        write_state(saved_profile(prepared.config), prepared.scanned)
        prepared = run_dry_start(prepared, store, observer, lock)
        jobs = _unfinished(prepared, cell_specs(prepared, store, only), observer)
        for job, outcome in runner(jobs, prepared, observer, lock):
            if outcome is not None and outcome.status == "stopped":
                raise RunError("a run to its end", f"interrupted in {job.name}: {outcome.message}", outcome.cure)
            if outcome is not None and outcome.status == "failed":
                failures[job.name] = outcome
        if folder.read_rows():
            write_results(folder)
    return failures


def _unfinished(prepared: Prepared, specs: Sequence[CellSpec], observer: RunObserver) -> list[Job]:
    """The cells that are left to do; ``observer`` is told of the others."""
    jobs = []
    for number, spec in enumerate(specs, start=1):
        job = Job(prepared.folder.cell(spec.method, spec.fold), spec, number, len(specs))
        if _is_finished(job.cell, spec):
            observer.on_cell_start(job.name, job.number, job.total)
            observer.on_cell_end(job.name, None)
        else:
            jobs.append(job)
    return jobs


def _refuse_what_came_between(prepared: Prepared) -> None:
    """Another process may have begun or changed the run since it was prepared, which nobody held then.

    Raises:
        ConfigError: It was begun with other settings.
        RunError: It was begun with other decisions.
    """
    folder = prepared.folder
    if not folder.config.exists():
        return
    refuse_another_experiment(prepared.config, folder)
    if (folder.read_plan(), folder.read_splits()) != (prepared.plan, prepared.splits):
        raise RunError(
            "the run as it was when this command prepared it",
            f"{folder.path} was begun or changed by another process meanwhile",
            "run the same command again: it continues",
        )


def _write_decisions(prepared: Prepared) -> None:
    folder = prepared.folder
    write_state(folder.preflight, prepared.preflight.summary())
    if not folder.environment.exists():
        write_state(folder.environment, describe_environment())
    write_state(folder.profile, prepared.profile)
    write_state(folder.splits, prepared.splits)
    write_state(folder.plan, prepared.plan)
    # Last: where config.yaml stands, the decisions stand.
    folder.write_config(prepared.config)


def _is_finished(cell: CellFolder, spec: CellSpec) -> bool:
    """Whether the cell has its result. What stands of a cell with another spec must never be mixed with this one."""
    if cell.spec.is_file():
        before = cell.read_spec()
        if not _the_same(before, spec):
            raise RunError(
                "the cell that was begun", f"another in {cell.path}", "begin another run with another name (--name)"
            )
    return cell.finished


def _the_same(before: CellSpec, now: CellSpec) -> bool:
    """Whether both train the same. Where the store lies, and what was foreseen (timed anew with an added loss), changes nothing."""
    foreseen = now.plan.model_dump(include={"step_seconds", "reasons"})
    plan = before.plan.model_copy(update=foreseen)
    return before.model_copy(update={"store": now.store, "plan": plan}) == now
