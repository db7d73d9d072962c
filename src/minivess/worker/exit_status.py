"""How a supervised process of a run ends: every cause by its own exit code, so that the supervisor can name it."""

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

_MEMORY_REFUSED = {"host": ExitCode.HOST_OUT_OF_MEMORY, "card": ExitCode.CUDA_OUT_OF_MEMORY}


def exit_code_of(work: Callable[[], None]) -> int:
    """Do the work; the exit code for how it ended, as in ``training.exit_codes``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        work()
    except StopRequestedError as error:
        logging.info("%s", error)
        return ExitCode.STOPPED
    except NanLossError as error:
        logging.error("%s", error)
        return ExitCode.NAN_LOSS
    except (MemoryError, RuntimeError) as error:
        whose = refused_memory(error)
        if whose is None:
            raise
        logging.error("%s: %s", type(error).__name__, error)
        return _MEMORY_REFUSED[whose]
    except (OSError, SafetensorError) as error:
        traceback.print_exc()
        return ExitCode.DISK_FULL if _room_refused(error) else ExitCode.INTERNAL_ERROR
    except MinivessError as error:
        logging.error("%s", error)
        return ExitCode.INTERNAL_ERROR
    return ExitCode.FINISHED


def _room_refused(error: OSError | SafetensorError) -> bool:
    """Whether a disk or a quota is full; safetensors, written in Rust, says so in words alone."""
    number = error.errno if isinstance(error, OSError) else None
    return any(number == full or f"(os error {full})" in str(error) for full in (errno.ENOSPC, errno.EDQUOT))


def heartbeat(folder: Path) -> Beat:
    """Writes stage and progress where the supervisor sees life and the live view sees how far it is."""
    path = folder / HEARTBEAT_FILE

    def beat(stage: str, done: int, total: int) -> None:
        path.write_text(json.dumps(to_plain(Heartbeat(stage, done, total))), encoding="utf-8")

    return beat
