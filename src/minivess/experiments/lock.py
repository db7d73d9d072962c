"""One run a folder, one process a cell: a lock that the kernel releases when its last holder is gone, so a dead one holds none."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivess.errors import RunError
from minivess.flock import acquire

_PATIENCE_S = 60.0
_LOOK_S = 0.2


@contextmanager
def hold(path: Path, *, patient: bool = False) -> Iterator[int]:
    """Hold the lock at ``path``; yields its file descriptor, which a child may inherit to hold it as well.

    Where the process that took it is gone but its supervisor is still ending a cell, waits for that.

    Args:
        path: The lock file; it stays.
        patient: Whether to wait for as long as anybody holds it.

    Raises:
        RunError: Not patient, and another process is alive, or a supervisor does not end within a minute; or the disk
            knows no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path, float("inf") if patient else _PATIENCE_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not acquire(descriptor, path, _LOOK_S):
        process, _, host = os.pread(descriptor, 512, 0).decode().partition(" ")
        may_live = process != "" and (host != socket.gethostname() or Path(f"/proc/{process}").exists())
        if time.monotonic() > deadline or (may_live and patience_s < float("inf")):
            raise RunError(
                "a folder that no other run uses",
                f"{path.parent} is held by process {process} on {host}",
                "wait for it to end, or stop it",
            )
