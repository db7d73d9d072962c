"""How minivess starts another process of its own."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

PYTHON = (sys.executable, "-P")
"""``-P``: a file of the folder that somebody works in, such as random.py, must not stand in for a library."""


def worker_command(task: str, *arguments: str, python_options: Sequence[str] = ()) -> list[str]:
    """The command line of a child process of minivess.

    Args:
        task: What it does, a key of `minivess.worker.__main__.TASKS`.
        *arguments: Arguments of the task.
        python_options: Further options of the interpreter.
    """
    return [*PYTHON, *python_options, "-m", "minivess.worker", task, *arguments]


def torch_environment() -> dict[str, str]:
    """Variables for a process that takes steps with torch, on top of ours.

    OpenMP threads that spin while they wait make a step nine times slower as soon as something else wants a core. On a card the
    segments of torch's memory grow, as the plan counts on: it takes 6 to 22 % less so (docs/benchmarks/card.md). Whoever has
    set just that otherwise keeps it.
    """
    set_before = os.environ.get("PYTORCH_CUDA_ALLOC_CONF") or os.environ.get("PYTORCH_ALLOC_CONF") or ""
    settings = [set_before] if set_before else []
    if not re.search("expandable_segments|backend", set_before):
        settings.append("expandable_segments:True")
    return {"OMP_WAIT_POLICY": "PASSIVE", "PYTORCH_CUDA_ALLOC_CONF": ",".join(settings)}
