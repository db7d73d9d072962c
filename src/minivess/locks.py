"""File locks that the kernel releases when their last holder ends, so a dead process never holds a lock.

There is one lock for a run folder, one for each cell, and one for the store while it is built.
"""

from __future__ import annotations

import fcntl
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivess.errors import RunError

_RETRY_S = 0.05
_OWNER_CHECK_S = 0.2
_SUPERVISOR_END_S = 60.0
"""Time that the supervisor of a killed run may take to end its cell and release the lock."""


def acquire(descriptor: int, path: Path, timeout_s: float = math.inf) -> bool:
    """Lock an open file until it is closed; False if another process still holds it after ``timeout_s``.

    Args:
        descriptor: File descriptor; a child process that inherits it holds the lock too.
        path: Path of the file, for the error message.
        timeout_s: Seconds to wait; 0 tries once.

    Raises:
        RunError: The file system does not support locks.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        except OSError as error:
            raise RunError(
                "a file system that supports file locks",
                f"{path}: {error.strerror}",
                "choose an output folder on a local disk, or mount this one with locks",
            ) from error
        time.sleep(_RETRY_S)


@contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[int]:
    """Hold the lock file at ``path``; yields its file descriptor, which a child process may inherit.

    If the process that took the lock is gone but its supervisor is still ending a cell, this waits for up to a minute.

    Args:
        path: The lock file; it is not deleted.
        wait: Wait for as long as another process holds the lock.

    Raises:
        RunError: Another process holds the lock (and ``wait`` is False), or the file system does not support locks.
    """
    descriptor = open_lock(path)
    try:
        _acquire_from_owner(descriptor, path, math.inf if wait else _SUPERVISOR_END_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file at ``path``; True if that cannot be found out. A missing file is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    try:
        # Shared, so that two processes that look at the same time do not take each other for the holder.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)


def open_lock(path: Path) -> int:
    """Open or create a lock file and return its descriptor.

    Its permissions follow from the umask, so that a group can share a folder.

    Raises:
        RunError: The file cannot be opened, or is a link.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise RunError(
            "a lock file that can be read and written, and is no link",
            f"{path}: {error.strerror}",
            "check the permissions of the folder; delete the file if it is a link",
        ) from error


def _acquire_from_owner(descriptor: int, path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not acquire(descriptor, path, _OWNER_CHECK_S):
        process, _, host = os.pread(descriptor, 512, 0).decode().partition(" ")
        may_live = process != "" and (host != socket.gethostname() or Path(f"/proc/{process}").exists())
        if time.monotonic() > deadline or (may_live and timeout_s < math.inf):
            raise RunError(
                "a folder that no other run uses",
                f"{path.parent} is held by process {process} on {host}",
                "wait until that process ends, or stop it",
            )
