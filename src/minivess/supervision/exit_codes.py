"""What a supervised training process and its supervisor share: exit codes and the heartbeat file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEARTBEAT_FILE = "heartbeat"
"""Name of the file in the cell folder that the training process writes at every step."""


@dataclass(frozen=True)
class Heartbeat:
    """Content of the heartbeat file: what the process is doing, and how far it is.

    Attributes:
        stage: Name of the work, for example "train".
        done: Parts of the stage that are done.
        total: All parts of the stage.
    """

    stage: str
    done: int
    total: int


class ExitCode(IntEnum):
    """Exit codes of a training process and of its supervisor. Any other code counts as ``INTERNAL_ERROR``."""

    FINISHED = 0
    """All epochs are done and all results are written."""
    INTERNAL_ERROR = 70
    """An exception without a code of its own; the traceback is in the log."""
    CUDA_OUT_OF_MEMORY = 71
    """``torch.cuda.OutOfMemoryError``: the step did not fit in GPU memory."""
    NAN_LOSS = 72
    """The loss became NaN or infinite."""
    DISK_FULL = 73
    """``OSError`` with ENOSPC or EDQUOT: a checkpoint or a result could not be written."""
    HOST_OUT_OF_MEMORY = 74
    """``MemoryError``, or a system memory limit of the supervisor."""
    PAUSED = 76
    """Trained to the step at which a race pauses the cell, and scored there; the run continues it, or stops the loss."""
    STOPPED = 75
    """Asked to stop (SIGTERM), the process wrote a checkpoint and exited; the same command resumes (EX_TEMPFAIL)."""
