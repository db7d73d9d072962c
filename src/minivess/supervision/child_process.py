"""Start a child process that cannot outlive its supervisor; neither can the processes that it starts. Linux only."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from minivess.supervision.exit_codes import ExitCode
from minivess.supervision.process_tree import descendants

OOM_SCORE_ADJ = 800
"""OOM score of the child. The kernel, when short of memory, kills the process with the highest score first: the
training, not the desktop."""
ASKING = {signal.SIGTERM, signal.SIGINT}
"""Signals with which a user or another process asks the supervisor to stop. SIGHUP does not: a closed terminal stops nothing."""
# SIGTSTP is held because Ctrl-Z would suspend the supervisor but not the child, which is in another session.
_HELD = ASKING | {signal.SIGCHLD, signal.SIGHUP, signal.SIGTSTP}
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)


def start_child(
    argv: Sequence[str], log: Path, environment: dict[str, str], mask: set[signal.Signals]
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in its own session. The kernel kills it when this thread ends; this process adopts its orphans.

    Call it from the main thread, before any other thread is started.

    Args:
        argv: The command.
        log: File to which its standard output and standard error are appended.
        environment: Variables to set in addition to those of this process.
        mask: Signal mask of the child.

    Returns:
        The running child.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    supervisor_pid = os.getpid()

    def before_exec() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor_pid:  # the supervisor ended before the line above
            os._exit(ExitCode.STOPPED)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
            preexec_fn=before_exec,
        )
    with contextlib.suppress(OSError):  # the child may have ended already
        Path(f"/proc/{child.pid}/oom_score_adj").write_text(str(OOM_SCORE_ADJ))
    return child


def wake_at_end_of_parent() -> None:
    """Let the kernel send SIGTERM to this process when the thread that started it ends, so that it need not poll for that."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@contextlib.contextmanager
def signals_held() -> Iterator[tuple[set[signal.Signals], set[signal.Signals]]]:
    """Block the signals that the supervisor waits for.

    A signal that is already ignored (nohup ignores SIGHUP) stays ignored.

    Yields:
        The blocked signals, and the previous signal mask.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited "ignore" would lose the exit code of the child
    held = {number for number in _HELD if signal.getsignal(number) is not signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield held, {signal.Signals(number) for number in mask}
    finally:
        while signal.sigtimedwait(held, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_descendants(timeout_s: float = 5.0) -> None:
    """Kill all processes that the child left behind; repeat until none appears, for at most ``timeout_s`` seconds."""
    give_up_s = time.monotonic() + timeout_s
    while (alive := descendants(os.getpid())) and time.monotonic() < give_up_s:
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=0.5)
