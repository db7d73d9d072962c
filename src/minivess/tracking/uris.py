"""Addresses of MLflow's databases: build the URI of a SQLite file, and find the file of a URI."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

DATABASE_FILE, ARTIFACTS_FOLDER = "mlflow.db", "mlartifacts"
"""The default database of an output folder, and the folder of its artifacts next to it."""

_SQLITE = "sqlite:///"


def sqlite_uri(database: Path) -> str:
    """Return the URI of a SQLite file. SQLAlchemy decodes ``%`` in it and ends the path at ``?``."""
    quoted = str(database.absolute()).replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    return f"{_SQLITE}{quoted}"


def database_of(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for any other URI."""
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])) if uri.startswith(_SQLITE) else None
