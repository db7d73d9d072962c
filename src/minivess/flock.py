"""A lock on an open file, which the kernel releases when its last holder is gone: a dead process holds none."""

from __future__ import annotations

import fcntl
import math
import time
from pathlib import Path

from minivess.errors import RunError

_LOOK_S = 0.05


def acquire(descriptor: int, path: Path, patience_s: float = math.inf) -> bool:
    """Lock an open file until it is closed; False where another holds it for longer than ``patience_s``.

    Args:
        descriptor: Of the file; a child that inherits it holds the lock as well.
        path: Of the file, for the message.
        patience_s: Seconds to wait; 0 tries once.

    Raises:
        RunError: The disk knows no locks.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
        except OSError as error:
            raise RunError(
                "a disk that locks files",
                f"{path}: {error.strerror}",
                "name an output folder on a local disk, or have this one mounted with locks",
            ) from error
        time.sleep(_LOOK_S)
