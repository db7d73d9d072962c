"""A run as a Prefect flow with one task a cell; without Prefect the same functions, plain."""

from __future__ import annotations

from minivess.experiments.folder import CellFolder
from minivess.experiments.prepare import Prepared
from minivess.experiments.run import run
from minivess.experiments.spec import CellSpec
from minivess.experiments.supervise import Watcher, supervise_cell
from minivess.orchestration._prefect_compat import flow, get_run_logger, task
from minivess.training.outcome import Outcome


def run_experiment(prepared: Prepared, watcher: Watcher) -> dict[str, Outcome]:
    """``experiments.run.run``, shown in Prefect where a server is configured. Returns the cells that failed."""

    # Prefect inspects and serialises the arguments of flows and tasks; there is nothing in ours that it should keep.
    @flow(name="minivess", flow_run_name=prepared.config.name, validate_parameters=False)
    def experiment() -> dict[str, Outcome]:
        return run(prepared, watcher, _as_task)

    failures: dict[str, Outcome] = experiment()
    return failures


def _as_task(cell: CellFolder, spec: CellSpec, prepared: Prepared, watcher: Watcher, lock: int) -> Outcome:
    @task(task_run_name=cell.path.name)
    def train_and_score() -> Outcome:
        outcome = supervise_cell(cell, spec, prepared, watcher, lock)
        get_run_logger().info("%s: %s", outcome.status, outcome.message)
        return outcome

    outcome: Outcome = train_and_score()
    return outcome
