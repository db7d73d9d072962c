"""A prepared run, cell by cell, to its table. The same call again continues; finished cells are not redone."""

from __future__ import annotations

import json
from collections.abc import Callable

from minivess.atomic import write_text
from minivess.data.store import build_store
from minivess.errors import RunError
from minivess.experiments.cells import cell_specs
from minivess.experiments.folder import CellFolder, write_model
from minivess.experiments.lock import hold
from minivess.experiments.prepare import Prepared, saved_profile, store_root
from minivess.experiments.rehearsal import rehearse
from minivess.experiments.results import write_results
from minivess.experiments.spec import CellSpec
from minivess.experiments.supervise import Watcher
from minivess.tracking.provenance import describe_environment
from minivess.training.outcome import Outcome

Supervise = Callable[[CellFolder, CellSpec, Prepared, Watcher, int], Outcome]


def run(prepared: Prepared, watcher: Watcher, supervise: Supervise) -> dict[str, Outcome]:
    """Bring every cell to its end and compare.

    A cell that fails does not stop the others; the results are those of the cells that finished.

    Args:
        prepared: What to run.
        watcher: Who wants to see it.
        supervise: Runs one cell to its end: ``supervise_cell``, or something around it.

    Returns:
        The outcome of each cell that did not finish, by name; empty when all did.

    Raises:
        RunError: Another run holds the folder, or the run was interrupted.
    """
    folder = prepared.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    with hold(folder.path / ".lock") as lock:
        _write_decisions(prepared)
        store = build_store(prepared.profile, store_root(prepared.config), watcher.stored)
        write_model(saved_profile(prepared.config), prepared.profile)
        prepared = rehearse(prepared, store, watcher, lock)
        specs = cell_specs(prepared, store)
        failures = {}
        for number, spec in enumerate(specs, start=1):
            cell = folder.cell(spec.method, spec.fold)
            watcher.cell_begins(cell.path.name, number, len(specs))
            outcome = None if _is_finished(cell, spec) else supervise(cell, spec, prepared, watcher, lock)
            watcher.cell_ends(cell.path.name, outcome)
            if outcome is not None and outcome.status == "stopped":
                raise RunError("a run to its end", f"interrupted in {cell.path.name}: {outcome.message}", outcome.cure)
            if outcome is not None and outcome.status == "failed":
                failures[cell.path.name] = outcome
        write_results(folder, prepared.config.evaluation)
    return failures


def _write_decisions(prepared: Prepared) -> None:
    folder = prepared.folder
    write_text(folder.preflight, json.dumps(prepared.preflight.as_dict(), indent=2) + "\n")
    write_text(folder.environment, json.dumps(describe_environment(), indent=2) + "\n")
    write_model(folder.profile, prepared.profile)
    write_model(folder.splits, prepared.splits)
    write_model(folder.plan, prepared.plan)
    # Last: where config.yaml stands, the decisions stand.
    write_model(folder.config, prepared.config)


def _is_finished(cell: CellFolder, spec: CellSpec) -> bool:
    """Whether the cell has its result. What stands of a cell with another spec must never be mixed with this one."""
    if cell.spec.is_file():
        before = CellSpec.model_validate_json(cell.spec.read_bytes())
        if before.model_copy(update={"store": spec.store}) != spec:
            raise RunError(
                "the cell that was begun", f"another in {cell.path}", "begin another run with another name (--name)"
            )
    return cell.finished
