"""How a supervised process ended and what the user can do: ``outcome.json`` of a cell folder."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from minivess.json_files import read_state, write_state
from minivess.supervision.exit_codes import ExitCode
from minivess.supervision.recorder import now_iso

OUTCOME_FILE = "outcome.json"


class Cause(StrEnum):
    """Why a supervised process ended."""

    FINISHED = "finished"
    PAUSED = "paused"
    """At a step at which a race compares the losses."""
    INTERRUPTED = "interrupted"
    """By the user, or because the process that started the supervisor has ended."""
    MEMORY_LIMIT = "memory_limit"
    SYSTEM_MEMORY_LOW = "system_memory_low"
    """The whole machine ran short of memory, whichever program used it."""
    GPU_MEMORY_LIMIT = "gpu_memory_limit"
    CUDA_OUT_OF_MEMORY = "cuda_out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    """``MemoryError`` in the process: the operating system refused to give memory."""
    KERNEL_OUT_OF_MEMORY = "kernel_out_of_memory"
    """SIGKILL while the out-of-memory killer of the kernel was active."""
    KILLED = "killed"
    """SIGKILL that neither the supervisor nor the out-of-memory killer of the kernel sent."""
    NAN_LOSS = "nan_loss"
    DISK_FULL = "disk_full"
    HANG = "hang"
    ERROR = "error"


OUT_OF_MEMORY = frozenset(
    {
        Cause.MEMORY_LIMIT,
        Cause.GPU_MEMORY_LIMIT,
        Cause.CUDA_OUT_OF_MEMORY,
        Cause.HOST_OUT_OF_MEMORY,
        Cause.KERNEL_OUT_OF_MEMORY,
    }
)
"""Causes that a smaller step may fix. SYSTEM_MEMORY_LOW is not one of them, because other programs cause it."""

_AGAIN = "run the same command again: it resumes"
_SMALLER = "use a smaller patch or batch"
_CURES = {
    Cause.FINISHED: "",
    Cause.PAUSED: "",
    Cause.INTERRUPTED: _AGAIN,
    Cause.MEMORY_LIMIT: f"{_SMALLER}, a lower cache rate or the store on disk; or raise the limit if the machine has more memory",
    Cause.SYSTEM_MEMORY_LOW: f"close other programs and {_AGAIN}",
    Cause.GPU_MEMORY_LIMIT: f"{_SMALLER} or mixed precision",
    Cause.CUDA_OUT_OF_MEMORY: f"{_SMALLER} or mixed precision, and close other programs that use the GPU",
    Cause.HOST_OUT_OF_MEMORY: f"close other programs, {_SMALLER}, or a lower cache rate or the store on disk",
    Cause.KERNEL_OUT_OF_MEMORY: "close other programs, or set a lower memory limit, so that the kernel does not have to kill processes",
    Cause.KILLED: f"find out which program sent the signal; {_AGAIN}",
    Cause.NAN_LOSS: "lower the learning rate, train in bf16 or fp32 instead of fp16, and check the volumes for NaN",
    Cause.DISK_FULL: f"free space on the disk of the run folder, then {_AGAIN}",
    Cause.HANG: f"look at the end of the log; {_AGAIN}, or raise limits.hang_minutes",
    Cause.ERROR: f"look at the end of the log; fix the error that it reports, then {_AGAIN}",
}
_BY_EXIT_CODE = {
    ExitCode.FINISHED: Cause.FINISHED,
    ExitCode.PAUSED: Cause.PAUSED,
    ExitCode.CUDA_OUT_OF_MEMORY: Cause.CUDA_OUT_OF_MEMORY,
    ExitCode.NAN_LOSS: Cause.NAN_LOSS,
    ExitCode.DISK_FULL: Cause.DISK_FULL,
    ExitCode.HOST_OUT_OF_MEMORY: Cause.HOST_OUT_OF_MEMORY,
    ExitCode.STOPPED: Cause.INTERRUPTED,
    -signal.SIGKILL: Cause.KILLED,
    -signal.SIGTERM: Cause.INTERRUPTED,
    -signal.SIGINT: Cause.INTERRUPTED,
    -signal.SIGHUP: Cause.INTERRUPTED,
}
_TO_EXIT_CODE = {cause: code for code, cause in _BY_EXIT_CODE.items() if isinstance(code, ExitCode)} | {
    Cause.MEMORY_LIMIT: ExitCode.HOST_OUT_OF_MEMORY,
    Cause.SYSTEM_MEMORY_LOW: ExitCode.HOST_OUT_OF_MEMORY,
    Cause.KERNEL_OUT_OF_MEMORY: ExitCode.HOST_OUT_OF_MEMORY,
    Cause.GPU_MEMORY_LIMIT: ExitCode.CUDA_OUT_OF_MEMORY,
}


@dataclass(frozen=True)
class Outcome:
    """How one attempt at a cell ended.

    Attributes:
        status: "finished"; "paused" (by a race); "stopped" (interrupted without an error; the same command resumes);
            "failed" (everything else).
        cause: Why, as a name for programs.
        message: What happened, as text; after an error with the last lines of the log.
        cure: What the user can do; empty when finished or paused.
        exit_code: Exit code of the process itself; None when a signal ended it.
        signal: Number of the signal that ended it, else None.
        peak_rss_bytes: Largest resident memory measured of the process tree.
        peak_anonymous_bytes: The same without file-backed pages; the memory limit is compared with this value.
        peak_gpu_bytes: Largest GPU memory measured of the tree on one GPU; None when it could not be read.
        swap_growth_bytes: Largest growth of the machine's used swap since the start, at least 0.
        started_iso: Local time of the start, with its offset from UTC.
        ended_iso: Local time of the end, with its offset from UTC.
        duration_s: Seconds between the two, without the time in which the machine was suspended.
        warnings: What was noticed during the attempt and did not end the process.
    """

    status: Literal["finished", "paused", "failed", "stopped"]
    cause: Cause
    message: str
    cure: str
    exit_code: int | None
    signal: int | None
    peak_rss_bytes: int
    peak_anonymous_bytes: int
    peak_gpu_bytes: int | None
    swap_growth_bytes: int
    started_iso: str
    ended_iso: str
    duration_s: float
    warnings: tuple[str, ...] = ()

    @property
    def supervisor_exit_code(self) -> ExitCode:
        """Exit code of the supervisor, which names the category of the cause; 0 only when the process finished."""
        return _TO_EXIT_CODE.get(self.cause, ExitCode.INTERNAL_ERROR)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write ``outcome.json`` in ``folder``, atomically."""
    write_state(folder / OUTCOME_FILE, outcome)


def failure(message: str, cure: str) -> Outcome:
    """Return the outcome of work that failed before its process started, or whose process is unknown."""
    now = now_iso()
    return Outcome(
        status="failed",
        cause=Cause.ERROR,
        message=message,
        cure=cure,
        exit_code=None,
        signal=None,
        peak_rss_bytes=0,
        peak_anonymous_bytes=0,
        peak_gpu_bytes=None,
        swap_growth_bytes=0,
        started_iso=now,
        ended_iso=now,
        duration_s=0.0,
    )


def read_outcome(folder: Path) -> Outcome | None:
    """Read the outcome in ``folder``.

    Returns:
        The outcome; None if the file is missing, because the process still runs or its supervisor was killed.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / OUTCOME_FILE
    return read_state(path, Outcome, "delete it; the same command then continues") if path.is_file() else None


def status_of(cause: Cause) -> Literal["finished", "paused", "failed", "stopped"]:
    """Return the status that belongs to a cause."""
    if cause is Cause.FINISHED:
        return "finished"
    if cause is Cause.PAUSED:
        return "paused"
    return "stopped" if cause is Cause.INTERRUPTED else "failed"


def cause_of(returncode: int) -> Cause:
    """Return the cause that a return code alone gives; a negative code is a signal, as in `subprocess`."""
    return _BY_EXIT_CODE.get(returncode, Cause.ERROR)


def cure_for(cause: Cause) -> str:
    """Return what the user can do about a cause; empty for FINISHED and PAUSED."""
    return _CURES[cause]
