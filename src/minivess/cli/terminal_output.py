"""Output to a terminal that may disappear: what cannot be written is dropped, so that a run never depends on its screen."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO, cast

_GONE = (errno.EPIPE, errno.EIO)
"""The reader has closed the pipe, or the terminal was closed: nobody misses the rest of the output."""
_FOLDER_POLL_S = 0.5
_PATIENCE_S = 1.0
"""Seconds that progress waits for a terminal that takes nothing."""


class DroppingStream:
    """A text stream that drops what it cannot write, and replaces characters that its encoding lacks.

    Attributes:
        lost: The first error other than a reader or a terminal that has gone; None if nothing was lost.

    Args:
        stream: The stream to write to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write text; return its length, also if it was dropped."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if error.errno not in _GONE:
                self.lost = self.lost or error
            self.close_quietly()
        except ValueError:  # the stream is closed
            pass

    def close_quietly(self) -> None:
        """Send everything that follows, and what is still buffered, to the null device."""
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


class _SkippingTerminal:
    """A terminal opened once more, for writing that never waits for long: see `skipping`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._is_stuck = stream, False
        self._terminal = os.open(os.ttyname(stream.fileno()), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)

    def write(self, text: str) -> int:
        """Write text; return its length, also if a part of it was skipped."""
        data = text.encode(self._stream.encoding, "backslashreplace")
        with suppress(OSError):  # the terminal was closed
            while data and self._takes_data():
                with suppress(BlockingIOError):
                    data = data[os.write(self._terminal, data) :]
        return len(text)

    def _takes_data(self) -> bool:
        self._is_stuck = not select.select([], [self._terminal], [], 0 if self._is_stuck else _PATIENCE_S)[1]
        return not self._is_stuck

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def skipping(stream: TextIO) -> TextIO:
    """Return a stream to the same terminal that skips what the terminal does not take within a second.

    A terminal whose connection hangs, or that is paused with Ctrl-S, lets an ordinary stream wait for hours. Use it for
    progress, which may be lost. A stream that is no terminal is returned unchanged.
    """
    try:
        return cast(TextIO, _SkippingTerminal(stream))
    except OSError:
        return stream


def drop_what_cannot_be_written() -> DroppingStream:
    """Replace standard output and standard error by `DroppingStream`; return the first."""
    output = DroppingStream(sys.stdout)
    sys.stdout, sys.stderr = output, DroppingStream(sys.stderr)
    return output


@contextmanager
def detached_on_hangup(log: Path) -> Iterator[None]:
    """Let the work go on when its terminal is closed (SIGHUP), and say so in a log file.

    Processes that are started inside the context go on too. Under ``nohup``, which ignores the signal, nothing changes.

    Args:
        log: File to which the line is appended, as soon as its folder exists.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    hangup = threading.Event()
    handler = signal.signal(signal.SIGHUP, lambda number, frame: hangup.set())
    # Child processes inherit the mask but not the handler.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    threading.Thread(target=_forward_hangup, args=(hangup,), daemon=True).start()
    threading.Thread(target=_detach, args=(hangup, log), daemon=True).start()
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forward_hangup(hangup: threading.Event) -> None:
    signal.sigwait({signal.SIGHUP})
    hangup.set()


def _detach(hangup: threading.Event, log: Path) -> None:
    hangup.wait()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, DroppingStream):
            stream.close_quietly()
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    while not log.parent.is_dir():
        time.sleep(_FOLDER_POLL_S)
    with suppress(OSError), log.open("a", encoding="utf-8") as file:
        file.write(f"[run {now}] the terminal was closed (SIGHUP); the run continues without it\n")
