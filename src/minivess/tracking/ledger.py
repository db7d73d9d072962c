"""mlflow.json of a run folder: the key that marks its MLflow runs, and what each of them has received."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from minivess.json_files import read_state, write_state

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class Home:
    """Where a run folder is, to recognise a copy of it.

    Attributes:
        path: Absolute path.
        host: Name of the machine.
        inode: Number of the folder in its file system; it stays when the folder is renamed.
    """

    path: str
    host: str
    inode: int

    @classmethod
    def of(cls, folder: Path) -> Home:
        return cls(str(folder.resolve()), socket.gethostname(), os.stat(folder).st_ino)


@dataclass(frozen=True)
class _Sent:
    """Content of the file.

    Attributes:
        key: Key of the run folder.
        runs: What each MLflow run has received, by run id.
        home: Where the folder was at the last sync; None before version 0.2.
        former: Key of the original, in a copy that was moved to another output folder; None otherwise.
    """

    key: str
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    home: Home | None = None
    former: str | None = None


class Ledger:
    """The key of a run folder, and what each of its MLflow runs has received.

    A copy of a run folder gets a key of its own, so that it never writes into the MLflow runs of the original. A folder that
    was renamed, or restored in its place, keeps its key.

    Args:
        path: The file; without it, a new key is made.

    Raises:
        RunError: The file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        here = Home.of(path.parent)
        sent = _Sent(uuid4().hex)
        if path.is_file():
            sent = read_state(path, _Sent, "delete this file; the next sync sends the run to MLflow as a new run")
            if sent.home is not None and not _is_same(sent.home, here, path.name, sent.key):
                moved = Path(sent.home.path).parent != Path(here.path).parent
                sent = replace(sent, key=uuid4().hex, former=sent.key if moved else None)
        self._sent = replace(sent, home=here)
        self.save()

    @property
    def key(self) -> str:
        return self._sent.key

    @property
    def former(self) -> str | None:
        """Key of the original, in a copy that is in another output folder until ``adopt``."""
        return self._sent.former

    def adopt(self) -> None:
        """Forget the key of the original."""
        self._sent = replace(self._sent, former=None)
        self.save()

    def of(self, run: Run) -> dict[str, Any]:
        """Return the entry of one run: its name, the last step sent, and size and modification time of each file sent."""
        new = {"name": run.info.run_name, "last_step": -1, "files": {}}
        entry: dict[str, Any] = self._sent.runs.setdefault(run.info.run_id, new)
        return entry

    def save(self) -> None:
        write_state(self._path, self._sent)


def _is_same(before: Home, here: Home, file: str, key: str) -> bool:
    """Whether a folder is the one that it was: in its place, or renamed. Otherwise it is a copy."""
    if before.path == here.path:
        return before.host == here.host or before.inode == here.inode
    return before.inode == here.inode and not _has_key(Path(before.path, file), key)


def _has_key(path: Path, key: str) -> bool:
    try:
        return key in path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
