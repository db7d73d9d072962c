"""Digests of the array files of a store, so that damage is seen before a run trains on it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from minivess.digests import digest_of_file
from minivess.errors import RunError
from minivess.json_files import read_state, write_state

_FILE = "digests.json"


class FileState(NamedTuple):
    """Size, times and inode of a file. While they stay the same, its content is taken to be the same."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class FileRecord(BaseModel):
    """What is known of one file: its digest, and its state when the digest was computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    state: FileState


class _Records(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, FileRecord]


def record_file(path: Path) -> FileRecord:
    """Return the record of a file that was just written."""
    return FileRecord(digest=digest_of_file(path), state=_state(path))


def write_records(folder: Path, records: dict[str, FileRecord]) -> None:
    """Write the records of the files of a store, by file name."""
    write_state(folder / _FILE, _Records(files=records))


def write_record(path: Path) -> None:
    """Write the record of a file that was added to a finished store, next to it."""
    write_state(_record_path(path), record_file(path))


def is_intact(path: Path) -> bool:
    """Whether a file that was added to a finished store exists and has the content that it was written with."""
    try:
        known = read_state(_record_path(path), FileRecord, "")
        return known.state == _state(path) or known.digest == digest_of_file(path)
    except (RunError, OSError):
        return False


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def is_damaged(folder: Path) -> bool:
    """Whether a file of a store is missing or has another content than when it was written.

    Only files whose size, times or inode differ are read. A store of version 0.1 has no records; this call writes them.
    """
    if not (folder / _FILE).is_file():
        write_records(folder, _records_of(folder.glob("*.npy")))
        return False
    try:
        known = read_state(folder / _FILE, _Records, "").files
        changed = [folder / name for name, record in known.items() if record.state != _state(folder / name)]
        if any(record_file(path).digest != known[path.name].digest for path in changed):
            return True
    except (RunError, OSError):
        return True
    if changed:  # the same content, such as in a copy of the store: it need not be read again
        write_records(folder, {**known, **_records_of(changed)})
    return False


def _records_of(paths: Iterable[Path]) -> dict[str, FileRecord]:
    return {path.name: record_file(path) for path in paths}


def _state(path: Path) -> FileState:
    found = path.stat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
