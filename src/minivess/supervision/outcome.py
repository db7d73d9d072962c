"""How a supervised process ended, in words that a person can act on: ``outcome.json`` of a cell folder."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from minivess.json_files import read_state, write_state
from minivess.supervision.exit_codes import ExitCode

OUTCOME_FILE = "outcome.json"


class Cause(StrEnum):
    """Why a supervised process ended."""

    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    """By the user, or because the process that started it has gone."""
    MEMORY_LIMIT = "memory_limit"
    SYSTEM_MEMORY_LOW = "system_memory_low"
    """The whole machine ran short, whoever used it up."""
    GPU_MEMORY_LIMIT = "gpu_memory_limit"
    CUDA_OUT_OF_MEMORY = "cuda_out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    """``MemoryError`` in the process: the system refused memory."""
    KERNEL_OUT_OF_MEMORY = "kernel_out_of_memory"
    """SIGKILL while the kernel, short of memory, was killing."""
    KILLED = "killed"
    """SIGKILL that neither the supervisor nor the kernel's out-of-memory killer sent."""
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
"""Causes that a smaller step may cure; what other programs took of the machine is none."""

_AGAIN = "run the same command again: it resumes"
_SMALLER = "use a smaller patch or batch"
_CURES = {
    Cause.FINISHED: "",
    Cause.INTERRUPTED: _AGAIN,
    Cause.MEMORY_LIMIT: f"{_SMALLER}, a lower cache rate or the store on disk; or raise the limit if there is more",
    Cause.SYSTEM_MEMORY_LOW: f"close other programs and {_AGAIN}",
    Cause.GPU_MEMORY_LIMIT: f"{_SMALLER} or mixed precision",
    Cause.CUDA_OUT_OF_MEMORY: f"{_SMALLER} or mixed precision, and close programs that use the graphics card",
    Cause.HOST_OUT_OF_MEMORY: f"close other programs, {_SMALLER}, or a lower cache rate or the store on disk",
    Cause.KERNEL_OUT_OF_MEMORY: "close other programs, or set a lower memory limit, so that the kernel does not have to act",
    Cause.KILLED: f"find out who sent the signal; {_AGAIN}",
    Cause.NAN_LOSS: "lower the learning rate, train in bf16 or fp32 instead of fp16, and check the volumes for NaN",
    Cause.DISK_FULL: f"free space on the disk of the run folder, then {_AGAIN}",
    Cause.HANG: f"look at the end of the log; {_AGAIN}, or allow more time without a heartbeat",
    Cause.ERROR: f"look at the end of the log; mend what it names, then {_AGAIN}",
}
_BY_EXIT_CODE = {
    ExitCode.FINISHED: Cause.FINISHED,
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
        status: "finished"; "stopped" (interrupted, nothing is wrong: the same command resumes); "failed" (all else).
        cause: Why, as a name for programs.
        message: What happened, for people; for an error with the last lines of the log.
        cure: What the user can do; empty when finished.
        exit_code: The process's own exit code; None when a signal ended it.
        signal: Number of the signal that ended it, else None.
        peak_rss_bytes: Largest resident memory of the process tree seen.
        peak_anonymous_bytes: The same without file-backed pages, which is what the memory limit is held against.
        peak_gpu_bytes: Largest GPU memory of the tree on one card seen; None when it could not be read.
        swap_growth_bytes: Largest growth of the machine's used swap since the start, at least 0.
        started_iso: Local time with its offset from UTC.
        ended_iso: Local time with its offset from UTC.
        duration_s: Time between the two, without the time asleep (suspended).
        warnings: What was seen on the way that did not end the process.
    """

    status: Literal["finished", "failed", "stopped"]
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
        """The category that the supervisor exits with; 0 only when the process finished."""
        return _TO_EXIT_CODE.get(self.cause, ExitCode.INTERNAL_ERROR)


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write ``outcome.json`` in ``folder``, atomically."""
    write_state(folder / OUTCOME_FILE, outcome)


def read_outcome(folder: Path) -> Outcome | None:
    """The outcome in ``folder``; None if there is none: the process still runs, or its supervisor was killed.

    Raises:
        RunError: The file is damaged.
    """
    path = folder / OUTCOME_FILE
    return read_state(path, Outcome, "delete it; the same command goes on") if path.is_file() else None


def status_of(cause: Cause) -> Literal["finished", "failed", "stopped"]:
    """Whether all is done, nothing is wrong, or something is."""
    if cause is Cause.FINISHED:
        return "finished"
    return "stopped" if cause is Cause.INTERRUPTED else "failed"


def cause_of(returncode: int) -> Cause:
    """The cause that a return code (negative for a signal, as in `subprocess`) stands for by itself."""
    return _BY_EXIT_CODE.get(returncode, Cause.ERROR)


def cure_for(cause: Cause) -> str:
    """What the user can do about it."""
    return _CURES[cause]
