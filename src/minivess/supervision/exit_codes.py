"""What a supervised training process and its supervisor agree on: exit codes, and the file that shows life."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEARTBEAT_FILE = "heartbeat"
"""Name of the file in the cell folder that the training process touches at every step."""


@dataclass(frozen=True)
class Heartbeat:
    """Content of the heartbeat file: what the process does, and how far it is."""

    stage: str
    done: int
    total: int


class ExitCode(IntEnum):
    """How a training process, and the supervisor after it, ends. Any other code counts as ``INTERNAL_ERROR``."""

    FINISHED = 0
    """All epochs done, all results written."""
    INTERNAL_ERROR = 70
    """An exception that no other code names; the traceback is in the log."""
    CUDA_OUT_OF_MEMORY = 71
    """``torch.cuda.OutOfMemoryError``: the card could not hold the step."""
    NAN_LOSS = 72
    """The loss became NaN or infinite."""
    DISK_FULL = 73
    """``OSError`` with ENOSPC or EDQUOT: a checkpoint or a result could not be written."""
    HOST_OUT_OF_MEMORY = 74
    """``MemoryError``, or the supervisor's system memory limit."""
    STOPPED = 75
    """Asked to stop (SIGTERM), wrote a checkpoint and left; the same command resumes (EX_TEMPFAIL)."""
