"""Command line and environment of the child processes of minivess."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Sequence

PYTHON = (sys.executable, "-P")
"""``-P`` keeps the current folder off the import path: a file there, such as random.py, must not replace a library."""


def worker_command(task: str, *arguments: str, python_options: Sequence[str] = ()) -> list[str]:
    """Return the command line of a child process of minivess.

    Args:
        task: Task of the process, a key of `minivess.worker.__main__.TASKS`.
        *arguments: Arguments of the task.
        python_options: Additional options of the Python interpreter.
    """
    return [*PYTHON, *python_options, "-m", "minivess.worker", task, *arguments]


def end_with_parent(poll_s: float = 0.2) -> None:
    """End this process soon after its parent has ended, even if the parent was killed. Returns at once."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(poll_s)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def torch_environment() -> dict[str, str]:
    """Return additional environment variables for a process that runs training steps with torch.

    OpenMP threads wait without spinning. Spinning threads make a step nine times slower as soon as another process
    needs a core. On a GPU, torch uses expandable memory segments, as the plan assumes: memory use is 6 to 22 % lower
    with them (docs/benchmarks/card.md). If the user has already set this option or another allocator, that setting is
    kept.
    """
    set_before = os.environ.get("PYTORCH_CUDA_ALLOC_CONF") or os.environ.get("PYTORCH_ALLOC_CONF") or ""
    settings = [set_before] if set_before else []
    if not re.search("expandable_segments|backend", set_before):
        settings.append("expandable_segments:True")
    return {"OMP_WAIT_POLICY": "PASSIVE", "PYTORCH_CUDA_ALLOC_CONF": ",".join(settings)}
