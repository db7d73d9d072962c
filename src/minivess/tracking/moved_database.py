"""Correct the absolute locations of artifacts in MLflow's database after its folder was moved or copied."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minivess.tracking.uris import ARTIFACTS_FOLDER

_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def correct_locations(connection: sqlite3.Connection, database: Path) -> Path | None:
    """Let a database that was moved or copied with the folder ``mlartifacts`` name that folder next to it.

    Locations that the user has chosen, in other folders, stay.

    Args:
        connection: An open transaction.
        database: Path of the database, resolved.

    Returns:
        None; if the database was copied without its artifacts, the folder of the original's artifacts.
    """
    here = database.parent / ARTIFACTS_FOLDER
    for before in _locations(connection):
        folder = _path_of(before)
        if folder == here:
            continue
        original = (folder.parent / database.name).exists()
        if folder.is_dir() and not original:
            continue
        if folder.is_dir() and not here.is_dir():
            return folder
        _replace(connection, before, here.as_uri())
    return None


def _locations(connection: sqlite3.Connection) -> list[str]:
    if not _columns(connection, "experiments"):
        return []
    query = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?"
    return [location for (location,) in connection.execute(query, (f"file://%/{ARTIFACTS_FOLDER}",))]


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def _path_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


def _replace(connection: sqlite3.Connection, before: str, now: str) -> None:
    for table, columns in _COLUMNS.items():
        for column in _columns(connection, table) & set(columns):
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
