"""Open MLflow: a SQLite file that several processes may create at once, or a server that may never answer."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivess.atomic import atomic_path
from minivess.errors import MinivessError
from minivess.locks import acquire, open_lock
from minivess.machine.time_limit import within
from minivess.masking import mask_uri
from minivess.tracking.moved_database import correct_locations
from minivess.tracking.uris import database_of, sqlite_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the next sync is the retry
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "12",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # MLflow prints the traceback of every error that it raises
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",  # keeps no handle to a deleted database
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # otherwise a model includes the uv.lock of the working directory
}
"""MLflow's settings in every process of minivess; those that the user has set take precedence."""
_OPENING_S = 120.0  # another process may be creating the tables first, on a busy machine
_LOCKED_S = 10.0
_ANSWER_S = 13.0
"""Seconds for one answer of a server. MLflow's own limit is for one part of it: one address, or one piece of the answer."""
_CONNECT_S = 60.0
_UPLOADS = ("log_artifact", "log_model_artifacts")
"""Calls that may take longer, because they send whole files."""


class TrackingError(MinivessError):
    """MLflow could not be updated; no result of the run is lost."""

    exit_code = 6

    def __init__(self, expected: str, got: str, cure: str = "run `minivess track sync RUN` later") -> None:
        super().__init__(expected, mask_uri(got)[:500], cure)


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
    """Open a client without global state, telemetry or long waits; MLflow settings in the environment take precedence.

    A missing SQLite database is created under another name and renamed. Creating it takes seconds, and MLflow can neither share
    this work between processes nor continue it after a kill. If a database was moved with its artifacts, its locations are
    corrected.

    Args:
        uri: MLflow's tracking URI.

    Raises:
        TrackingError: Another process holds the lock of the database for more than two minutes, or a database was copied
            without its artifacts.
    """
    database = database_of(uri)
    if database is None:
        if uri.startswith("http"):
            return _Answering(_connect(uri))  # type: ignore[return-value]
        return within(_CONNECT_S, partial(_connect, uri))
    with hold(database, _OPENING_S):
        for orphan in database.parent.glob(f".tmp-*{database.suffix}*"):  # of a process that was killed here
            orphan.unlink(missing_ok=True)
        if not database.exists() or database.stat().st_size == 0:
            with atomic_path(database) as temporary:
                _connect(sqlite_uri(temporary))
        _prepare(database)
        return _connect(uri)


class _Answering:
    """An MLflow client whose calls raise TimeoutError if the server does not answer."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name in _UPLOADS:
            return call
        return lambda *arguments, **options: within(_ANSWER_S, partial(call, *arguments, **options))


def _connect(uri: str) -> MlflowClient:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from SQLAlchemy, about MLflow's models, on first use
        from mlflow.tracking import MlflowClient

        return MlflowClient(uri)


def _prepare(database: Path) -> None:
    """Correct the locations in the database; raise within 10 s if it is locked, because MLflow would try for longer."""
    with closing(sqlite3.connect(database, timeout=_LOCKED_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        orphaned = correct_locations(connection, database.resolve())
        connection.execute("COMMIT")
    if orphaned is not None:
        here = database.resolve().parent
        raise TrackingError(
            "a database with its artifacts next to it",
            f"{database}, a copy whose artifacts are in {orphaned}",
            f"copy {orphaned} to {here} too",
        )


@contextmanager
def hold(path: Path, patience_s: float) -> Iterator[None]:
    """Hold the lock file next to ``path``; the kernel releases the lock when the process that holds it ends.

    Args:
        path: The file to protect.
        patience_s: Seconds to wait for the lock.

    Raises:
        TrackingError: Another process still holds the lock after ``patience_s``.
        RunError: The lock file cannot be opened, or is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f"{path.name}.lock")
    descriptor = open_lock(lock)
    try:
        if not acquire(descriptor, path, patience_s):
            raise TrackingError(f"exclusive use of {path.name}", "another sync is using it")
        yield
    finally:
        os.close(descriptor)
