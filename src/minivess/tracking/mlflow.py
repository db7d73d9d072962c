"""Update MLflow from a run: add what MLflow does not have, add nothing twice; a sync may be repeated at any time.

The run folder is the source of truth. Each sync asks MLflow which runs have the run folder's key as a tag. So a deleted
database, a second server or a sync that was killed half-way need no special handling.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from minivess.atomic import atomic_path
from minivess.errors import MinivessError
from minivess.json_files import read_state, write_state
from minivess.locks import acquire
from minivess.tracking.run_record import CellRecord, RunRecord, flat_params, flat_tags, numbers, points

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

RUN_TAG = "minivess.run"
CELL_TAG = "minivess.cell"

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the next sync is the retry
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # MLflow prints the traceback of every error that it raises
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # keeps no handle to a deleted database
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # otherwise a model includes the uv.lock of the working directory
}
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_OPENING_S = 60.0  # another process may be creating the tables first
_SYNCING_S = 10.0
_LOCKED_S = 10.0


class TrackingError(MinivessError):
    """MLflow could not be updated; no result of the run is lost."""

    exit_code = 6

    def __init__(self, expected: str, got: str, cure: str = "run `minivess track sync RUN` later") -> None:
        super().__init__(expected, re.sub(r"//[^/@\s]+@", "//***@", got)[:500], cure)


@dataclass(frozen=True)
class SyncResult:
    """Where MLflow stores a run.

    Attributes:
        experiment_id: MLflow's id of the experiment.
        cell_run_ids: MLflow's run id of each cell, by the name of the cell.
    """

    experiment_id: str
    cell_run_ids: Mapping[str, str]


def sync(record: RunRecord, uri: str, artifacts_root: Path | None, ids: Path) -> SyncResult:
    """Update MLflow to ``record``: one experiment, one parent run, one nested run per cell.

    Sent first are metrics after the last step that was sent, parameters that MLflow does not have, tags and final metrics that
    differ, status and end time; then files whose size or modification time is new. MLflow cannot change a parameter: the first
    value stays.

    Args:
        record: The facts, read from the run folder.
        uri: MLflow's tracking URI; for SQLite ``sqlite:///`` and an absolute path.
        artifacts_root: Folder in which a new experiment in a SQLite database stores its artifacts; ignored for a server,
            which decides itself.
        ids: JSON file in the run folder. It has the key that marks the MLflow runs of this run folder, and what each has
            received. It is written here; without it, a sync creates new runs. The parent run gets the name of its folder.

    Returns:
        Where MLflow stores the run.

    Raises:
        TrackingError: MLflow is missing, cannot be reached or is locked, or another sync of this run is active. Raised within
            about 15 s; 20 s more if the database becomes locked during a sync, a minute if another process is creating it.
            What was sent before stays in MLflow.
    """
    location = artifacts_root.resolve().as_uri() if artifacts_root and _database(uri) else None
    with answering(uri), hold(ids, _SYNCING_S):
        return _sync(open_client(uri), record, location, ids.resolve())


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Raise every error from the body as a TrackingError, except a MinivessError, which is raised unchanged."""
    try:
        yield
    except MinivessError:
        raise
    except Exception as error:  # MLflow passes on the errors of a dozen libraries
        raise TrackingError("an MLflow store that can be written", f"{uri}: {error}") from error


def open_client(uri: str) -> MlflowClient:
    """Open a client without global state, telemetry or long retries; MLflow settings in the environment take precedence.

    A missing SQLite database is created under another name and renamed. Creating it takes seconds, and MLflow can neither share
    this work between processes nor continue it after a kill.

    Args:
        uri: MLflow's tracking URI.

    Raises:
        TrackingError: Another process holds the lock of the database for more than 60 s.
    """
    database = _database(uri)
    if database is None:
        return _connect(uri)
    with hold(database, _OPENING_S):
        for orphan in database.parent.glob(f".tmp-*{database.suffix}*"):  # of a process that was killed here
            orphan.unlink(missing_ok=True)
        if not database.exists() or database.stat().st_size == 0:
            with atomic_path(database) as temporary:
                _connect(f"sqlite:///{temporary}")
        _check_unlocked(database)
        return _connect(uri)


def _connect(uri: str) -> MlflowClient:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from SQLAlchemy, about MLflow's models, on first use
        from mlflow.tracking import MlflowClient

        return MlflowClient(uri)


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


def _check_unlocked(database: Path) -> None:
    """Raise within 10 s if the database is locked; MLflow would try for longer."""
    with closing(sqlite3.connect(database, timeout=_LOCKED_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


@contextmanager
def hold(path: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock file next to ``path``; the kernel releases the lock when the process that holds it ends.

    Args:
        path: The file to protect.
        patience_s: Seconds to wait for the lock.

    Raises:
        TrackingError: Another process still holds the lock after ``patience_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as file:
        if not acquire(file.fileno(), path, patience_s):
            raise TrackingError(f"exclusive use of {path.name}", "another sync is using it")
        yield


@dataclass(frozen=True)
class _Sent:
    """Content of the ledger file: the key of the run folder, and what each MLflow run has received, by run id."""

    key: str
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)


class _Ledger:
    """The key of a run folder, and what each of its MLflow runs has received."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sent = _Sent(uuid4().hex)
        if path.is_file():
            self._sent = read_state(path, _Sent, "delete this file; the next sync sends the run to MLflow as a new run")
        self.key = self._sent.key
        self.save()

    def of(self, run: Run) -> dict[str, Any]:
        """Return the entry of one run: its name, the last step sent, and size and modification time of each file sent."""
        new = {"name": run.info.run_name, "last_step": -1, "files": {}}
        entry: dict[str, Any] = self._sent.runs.setdefault(run.info.run_id, new)
        return entry

    def save(self) -> None:
        write_state(self._path, self._sent)


def _sync(client: MlflowClient, record: RunRecord, location: str | None, ids: Path) -> SyncResult:
    """Send the facts of all runs first and the files after, so that a full disk does not leave a finished run as "running"."""
    ledger = _Ledger(ids)
    experiment_id = _experiment(client, record.name, location)
    marks = {RUN_TAG: ledger.key}
    found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{ledger.key}'", max_results=10_000)
    known = {run.data.tags.get(CELL_TAG, ""): run for run in found}
    parent = known.get("") or client.create_run(experiment_id, record.started_ms, marks, ids.parent.name)
    _send_facts(client, parent, record, marks, ledger)
    cells = []
    for cell in record.cells:
        cell_marks = {**marks, CELL_TAG: cell.name, "mlflow.parentRunId": parent.info.run_id}
        run = known.get(cell.name) or client.create_run(experiment_id, cell.started_ms, cell_marks, cell.name)
        _send_facts(client, run, cell, cell_marks, ledger)
        cells.append((run, cell))
    _send_files(client, parent, record.artifacts, ledger)
    for run, cell in cells:
        _send_files(client, run, cell.artifacts, ledger)
    return SyncResult(experiment_id, {cell.name: run.info.run_id for run, cell in cells})


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
    client: MlflowClient, run: Run, facts: CellRecord | RunRecord, marks: dict[str, str], ledger: _Ledger
) -> None:
    """Send everything that is new except the files."""
    from mlflow.entities import Metric, Param, RunTag

    sent = ledger.of(run)
    cell = facts if isinstance(facts, CellRecord) else None
    what = {"method": cell.method, "fold": cell.fold} if cell else {}
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
        for key, value in numbers(cell.metrics if cell else {}).items()
        if not _same(value, run.data.metrics.get(key))
    ]
    client.log_batch(run.info.run_id, metrics, params, tags, synchronous=True)
    _send_status(client, run, facts)
    if new:
        sent["last_step"] = last_step
        ledger.save()


def _same(value: float, known: float | None) -> bool:
    return known is not None and (value == known or (math.isnan(value) and math.isnan(known)))


def _send_status(client: MlflowClient, run: Run, facts: CellRecord | RunRecord) -> None:
    status = _STATUS[facts.status]
    if run.info.status != status or facts.ended_ms not in (None, run.info.end_time):
        client.set_terminated(run.info.run_id, status, facts.ended_ms)


def _send_files(client: MlflowClient, run: Run, artifacts: Sequence[Path], ledger: _Ledger) -> None:
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
    """Yield each file and its artifact folder, without temporary files (``.tmp-``, see ``minivess.atomic``)."""
    for path in artifacts:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file() and not file.name.startswith(".tmp-"):
                yield file, "" if file == path else file.parent.relative_to(path.parent).as_posix()
