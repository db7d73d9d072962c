"""Give each cause for the end of a supervised process its own exit code, so that the supervisor can name the cause."""

from __future__ import annotations

import errno
import json
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from minivess.errors import MinivessError
from minivess.json_files import to_plain
from minivess.supervision.exit_codes import HEARTBEAT_FILE, ExitCode, Heartbeat
from minivess.training.callbacks import StopRequestedError
from minivess.training.out_of_memory import refused_memory
from minivess.training.step import NanLossError

Beat = Callable[[str, int, int], None]
"""Reports progress: takes stage, done and total."""

_MEMORY_REFUSED = {"host": ExitCode.HOST_OUT_OF_MEMORY, "card": ExitCode.CUDA_OUT_OF_MEMORY}


class PausedError(Exception):
    """The cell has reached the step at which a race pauses it, and is scored there."""


def exit_code_of(work: Callable[[], None]) -> int:
    """Run ``work`` and return the exit code of how it ended; see `minivess.supervision.exit_codes`.

    Raises:
        Exception: Any error without an exit code of its own, such as a RuntimeError that is not about memory.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        work()
    except StopRequestedError as error:
        logging.info("%s", error)
        return ExitCode.STOPPED
    except PausedError as error:
        logging.info("%s", error)
        return ExitCode.PAUSED
    except NanLossError as error:
        logging.error("%s", error)
        return ExitCode.NAN_LOSS
    except (MemoryError, RuntimeError) as error:
        where = refused_memory(error)
        if where is None:
            raise
        logging.error("%s: %s", type(error).__name__, error)
        return _MEMORY_REFUSED[where]
    except (OSError, SafetensorError) as error:
        traceback.print_exc()
        return ExitCode.DISK_FULL if _is_disk_full(error) else ExitCode.INTERNAL_ERROR
    except MinivessError as error:
        logging.error("%s", error)
        return ExitCode.INTERNAL_ERROR
    return ExitCode.FINISHED


def _is_disk_full(error: OSError | SafetensorError) -> bool:
    """Whether a disk or a quota is full. An error of safetensors contains the error number only in its text."""
    number = error.errno if isinstance(error, OSError) else None
    return any(number == full or f"(os error {full})" in str(error) for full in (errno.ENOSPC, errno.EDQUOT))


def heartbeat(folder: Path) -> Beat:
    """Return a function that writes stage, done and total to the heartbeat file in ``folder``.

    The supervisor reads there that the process is alive; the progress view reads how far it is.
    """
    path = folder / HEARTBEAT_FILE

    def beat(stage: str, done: int, total: int) -> None:
        path.write_text(json.dumps(to_plain(Heartbeat(stage, done, total))), encoding="utf-8")

    return beat
