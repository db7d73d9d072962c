"""Update MLflow from a run: add what MLflow does not have, add nothing twice; a sync may be repeated at any time.

The run folder is the source of truth. Each sync asks MLflow which runs have the run folder's key as a tag. So a deleted
database, a second server or a sync that was killed half-way need no special handling.
"""

from __future__ import annotations

import hashlib
import math
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minivess.locks import is_held
from minivess.tracking.client import TrackingError, answering, hold, open_client
from minivess.tracking.ledger import Ledger
from minivess.tracking.run_record import CellRecord, RunRecord, flat_params, flat_tags, numbers, points
from minivess.tracking.uris import ARTIFACTS_FOLDER, database_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

RUN_TAG, CELL_TAG = "minivess.run", "minivess.cell"
FOLDER_TAG, MACHINE_TAG = "run_folder", "minivess.machine"
LOCK_FILE = ".lock"
"""Name of the lock file of a run folder and of a cell: a process holds it while the run or the cell is active."""
_STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_SYNCING_S = 120.0
"""Seconds to wait for other syncs of a run; each of them ends within seconds, or by its own limits."""


@dataclass(frozen=True)
class SyncResult:
    """Where MLflow stores a run.

    Attributes:
        experiment_id: MLflow's id of the experiment.
        cell_run_ids: MLflow's run id of each cell, by the name of the cell.
    """

    experiment_id: str
    cell_run_ids: Mapping[str, str]


def sync(record: RunRecord, uri: str, ids: Path) -> SyncResult:
    """Update MLflow to ``record``: one experiment, one parent run, one nested run per cell.

    Sent first are metrics after the last step that was sent, parameters that MLflow does not have, tags and final metrics that
    differ, status and end time; then files whose size or modification time is new. MLflow cannot change a parameter: the first
    value stays. At the end, runs of other run folders that a kill left as RUNNING become KILLED.

    Args:
        record: The facts, read from the run folder.
        uri: MLflow's tracking URI, for SQLite from ``sqlite_uri``. A new experiment in a SQLite database stores its artifacts
            in ``mlartifacts`` next to it; a server decides itself.
        ids: JSON file in the run folder. It has the key that marks the MLflow runs of this run folder, and what each has
            received. It is written here; without it, a sync creates new runs. The parent run gets the name of its folder.

    Returns:
        Where MLflow stores the run.

    Raises:
        TrackingError: MLflow is missing, cannot be reached or is locked. Raised within about 15 s; two minutes if other syncs
            of this run are active or another process is creating the database. What was sent before stays in MLflow.
    """
    with answering(uri), hold(ids, _SYNCING_S):
        return _sync(open_client(uri), record, database_of(uri), ids.resolve())


def _sync(client: MlflowClient, record: RunRecord, database: Path | None, ids: Path) -> SyncResult:
    """Send the facts of all runs first and the files after, so that a full disk does not leave a finished run as "running"."""
    ledger = Ledger(ids)
    location = None if database is None else (database.resolve().parent / ARTIFACTS_FOLDER).as_uri()
    experiment_id = _experiment(client, record.name, location)
    if ledger.former is not None:
        _adopt(client, experiment_id, ledger, database, ids)
    marks = {RUN_TAG: ledger.key, MACHINE_TAG: _machine(), FOLDER_TAG: str(ids.parent)}
    known = {run.data.tags.get(CELL_TAG, ""): run for run in _runs_of(client, experiment_id, ledger.key)}
    parent = known.get("") or client.create_run(experiment_id, record.started_ms, marks, ids.parent.name)
    _send_facts(client, parent, record, marks, ledger)
    cells = []
    for cell in record.cells:
        cell_marks = {**marks, CELL_TAG: cell.name, "mlflow.parentRunId": parent.info.run_id}
        run = known.get(cell.name) or client.create_run(experiment_id, cell.started_ms, cell_marks, cell.name)
        _send_facts(client, run, cell, cell_marks, ledger)
        cells.append((run, cell))
    _settle_killed_runs(client, ledger.key)
    _send_files(client, parent, record.artifacts, ledger)
    for run, cell in cells:
        _send_files(client, run, cell.artifacts, ledger)
    return SyncResult(experiment_id, {cell.name: run.info.run_id for run, cell in cells})


def find_experiment(uri: str, name: str) -> str | None:
    """Return MLflow's id of an experiment; None if there is none.

    Raises:
        TrackingError: MLflow cannot be reached or is locked.
    """
    with answering(uri):
        found = open_client(uri).get_experiment_by_name(name)
        return None if found is None else str(found.experiment_id)


def _machine() -> str:
    """A name of this machine that does not contain its host name."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=8).hexdigest()


def _runs_of(client: MlflowClient, experiment_id: str, key: str) -> list[Run]:
    return list(client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{key}'", max_results=10_000))


def _adopt(client: MlflowClient, experiment_id: str, ledger: Ledger, database: Path | None, ids: Path) -> None:
    """Take over the MLflow runs of the original, if its database was copied along with the run folder."""
    if ledger.former is not None and database is not None and database.resolve().parent == ids.parent.parent:
        for run in _runs_of(client, experiment_id, ledger.former):
            client.set_tag(run.info.run_id, RUN_TAG, ledger.key)
        ledger.adopt()


def _settle_killed_runs(client: MlflowClient, own_key: str) -> None:
    """Set runs of other run folders to KILLED if MLflow shows them as running and no process holds their locks any more."""
    experiments = [found.experiment_id for found in client.search_experiments()]
    running = (
        f"attributes.status = 'RUNNING' and tags.`{MACHINE_TAG}` = '{_machine()}' and tags.`{RUN_TAG}` != '{own_key}'"
    )
    for run in client.search_runs(experiments, running, max_results=1000):
        tags = run.data.tags
        folder = Path(tags.get(FOLDER_TAG, ""))
        locks = (folder / LOCK_FILE, folder / "cells" / tags.get(CELL_TAG, "") / LOCK_FILE)
        if FOLDER_TAG in tags and not any(map(is_held, locks)):
            client.set_terminated(run.info.run_id, "KILLED")


def _experiment(client: MlflowClient, name: str, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, location))
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:  # otherwise another process has created it first
                raise
    if found.lifecycle_stage != "active":
        restore = f"restore it (`mlflow experiments restore --experiment-id {found.experiment_id}`)"
        raise TrackingError(
            "an experiment that can be written",
            f"{name!r}, which is deleted in MLflow",
            f"{restore} or use another name",
        )
    return str(found.experiment_id)


def _send_facts(
    client: MlflowClient, run: Run, facts: CellRecord | RunRecord, marks: dict[str, str], ledger: Ledger
) -> None:
    """Send everything that is new except the files."""
    from mlflow.entities import Metric, Param, RunTag

    sent = ledger.of(run)
    cell = facts if isinstance(facts, CellRecord) else None
    what = {"method": cell.method, "fold": cell.fold, "repeat": cell.repeat} if cell else {}
    known = run.data.params
    params = [Param(key, text) for key, text in flat_params({**what, **facts.params}).items() if key not in known]
    texts = {**flat_tags(facts.tags), **marks}
    tags = [RunTag(key, text) for key, text in texts.items() if run.data.tags.get(key) != text]
    new = points(cell.history if cell else (), after=sent["last_step"])
    last_step = max([sent["last_step"], *(step for _, _, step in new)])
    metrics = [
        Metric(key, value, facts.started_ms, step) for key, value, step in new
    ]  # MLflow ignores an identical metric that is sent again
    metrics += [
        Metric(key, value, time.time_ns() // 1_000_000, max(last_step, 0))
        for key, value in numbers(facts.metrics).items()
        if not _same(value, run.data.metrics.get(key))
    ]
    if metrics or params or tags:
        client.log_batch(run.info.run_id, metrics, params, tags, synchronous=True)
    _send_status(client, run, facts)
    if new:
        sent["last_step"] = last_step
        ledger.save()


def _same(value: float, known: float | None) -> bool:
    return known is not None and (value == known or (math.isnan(value) and math.isnan(known)))


def _send_status(client: MlflowClient, run: Run, facts: CellRecord | RunRecord) -> None:
    status = _STATUS[facts.status]
    if facts.status == "running":
        if run.info.status != status:
            client.update_run(run.info.run_id, status)
    elif run.info.status != status or facts.ended_ms not in (None, run.info.end_time):
        client.set_terminated(run.info.run_id, status, facts.ended_ms)


def _send_files(client: MlflowClient, run: Run, artifacts: Sequence[Path], ledger: Ledger) -> None:
    """Send the files that are new or have changed since they were last sent."""
    known, new = ledger.of(run)["files"], False
    try:
        for file, folder in _files(artifacts):
            state = file.stat()
            mark = [state.st_size, state.st_mtime_ns]
            if known.get(f"{folder}/{file.name}") != mark:
                client.log_artifact(run.info.run_id, str(file), folder or None)
                known[f"{folder}/{file.name}"] = mark
                new = True
    finally:
        if new:
            ledger.save()


def _files(artifacts: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file and its artifact folder, without links and temporary files (``.tmp-``, see ``minivess.atomic``)."""
    for path in artifacts:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and not file.is_symlink() and not file.name.startswith(".tmp-"):
                yield file, "" if file == path else file.parent.relative_to(path.parent).as_posix()
