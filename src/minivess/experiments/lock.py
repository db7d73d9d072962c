"""One run a folder: a lock that the kernel releases when its last holder is gone, so a dead process holds none."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivess.errors import RunError

_PATIENCE_S = 60.0


@contextmanager
def hold(path: Path) -> Iterator[int]:
    """Hold the lock at ``path``; yields its file descriptor, which a child may inherit to hold it as well.

    Where the run that took it is gone but its supervisor is still ending a cell, waits for that.

    Raises:
        RunError: Another run is alive, or a supervisor does not end within a minute.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode() or "0"
        if Path(f"/proc/{holder}").exists() or time.monotonic() > deadline:
            raise RunError(
                "a run folder that no other run uses",
                f"{path.parent} is held by process {holder}",
                "wait for it to end, or stop it",
            )
        time.sleep(0.2)
