"""Keep MLflow up to date while a run is going, in a separate process of low priority that the run never waits for.

The process repeats ``sync_run``. If it fails or is killed, nothing is lost: the next sync sends what is missing. When the run
is interrupted, the standard input of this process ends; then it waits until the locks of the run are free, syncs once more, so
that MLflow shows no stopped cell as running, and ends. When the run is killed, it ends at once: the next command or sync that
uses the database settles the run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minivess.experiments.run_folder import RunFolder
from minivess.locks import is_held
from minivess.machine.processes import end_with_parent, worker_command
from minivess.publishing.sync_run import VARIABLE, sync_run
from minivess.tracking.client import QUIET
from minivess.tracking.mlflow import LOCK_FILE

_NICE = 10
_EVERY_S = 30.0
_LOOK_S = 2.0
"""Seconds between two looks for cells that have started or ended."""
_RELEASE_S = 10.0
"""Longest wait after the end of the run for its locks; a supervisor may still be ending a cell."""
_LAST_S = 25.0
"""Seconds after the end of the run at which the process ends, whatever it is doing."""
_PATIENCE_S = 5.0
"""Seconds that an interrupted run waits for the last sync."""
_EVENTS = ("cell.json", "outcome.json", "result.json")


@contextmanager
def live_tracking(folder: RunFolder, uri: str | None) -> Iterator[None]:
    """Sync a run with MLflow during the body, every 30 s and when a cell starts or ends.

    After the body, the caller syncs. If the body raises an error, the process syncs once more, within 5 s.

    Args:
        folder: The run folder, which may be created in the body.
        uri: Address of MLflow; None if MLflow is switched off.
    """
    process = None if uri is None else _start(folder, uri)
    try:
        yield
    except BaseException:
        if process is not None:
            _close(process, _PATIENCE_S)
        raise
    if process is not None:
        _close(process, 0)


def _start(folder: RunFolder, uri: str) -> subprocess.Popen[bytes] | None:
    """Start the process; None if the machine cannot, because the run matters more."""
    environment = {**QUIET, **os.environ, VARIABLE: uri}
    command, drop = worker_command("track", str(folder.path.absolute())), subprocess.DEVNULL
    try:
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=drop, stderr=drop)
    except OSError:
        return None


def _close(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """End the process. It may be killed at any time, because a sync may be."""
    try:
        if patience_s and process.stdin is not None:
            process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(patience_s)
    finally:
        process.kill()
        process.communicate()


def main(folder: str) -> int:
    """Sync the run folder until standard input ends."""
    # Ctrl-C and `kill` reach the run too, whose end is the end of this process.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICE)
    end_with_parent()
    over = threading.Event()
    threading.Thread(target=_await_end, args=(over,), daemon=True).start()
    run, due_s, seen = RunFolder(Path(folder)), 0.0, None
    while not over.wait(_LOOK_S):
        events = _events(run)
        if run.config.is_file() and (events != seen or time.monotonic() > due_s):
            _sync(run)
            due_s, seen = time.monotonic() + _EVERY_S, events
    deadline_s = time.monotonic() + _RELEASE_S
    while any(map(is_held, _locks(run))) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    if run.config.is_file():
        _sync(run)
    return 0


def _await_end(over: threading.Event) -> None:
    with suppress(OSError):
        sys.stdin.buffer.read()
    over.set()
    time.sleep(_LAST_S)
    os._exit(1)


def _sync(run: RunFolder) -> None:
    """Sync, without any error: the server may be dead, or a file of the run may be just being written."""
    with suppress(Exception):
        sync_run(run, os.environ[VARIABLE])


def _events(run: RunFolder) -> set[tuple[str, int]]:
    """Return the files that are written when a cell starts or ends, with their times of modification."""
    found = set()
    for name in _EVENTS:
        for path in run.path.glob(f"cells/*/{name}"):
            with suppress(OSError):
                found.add((str(path), path.stat().st_mtime_ns))
    return found


def _locks(run: RunFolder) -> list[Path]:
    return [run.path / LOCK_FILE, *run.path.glob(f"cells/*/{LOCK_FILE}")]
