"""Cache predicted peaks and step times on disk.

A cached result needs one small file to be read, and no import of torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from minivess.errors import RunError
from minivess.json_files import read_state, write_state
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import TrainingWorkload, Workload
from minivess.tracking.code import library_versions, package_digest, sources_digest

_TRACED = (
    "geometry.py",
    "training/config.py",
    "training/state.py",
    "training/step.py",
    "losses",
    "models",
    "planning/memory",
)
"""Source files that determine a predicted peak: if any of them changes, no stored peak is used any more."""
_LIBRARIES = ("torch", "monai")


class PeakCache:
    """Peaks and step times, stored by workload, library versions and source code.

    A result is computed again if any of these changes. For a user's own network or loss, the source of the module with
    its builder counts, but not the modules that this module imports. Missing results are computed by one child process,
    which lives until the end of the ``with`` block. If the folder is not writable, results are computed again in the
    next run.

    Args:
        folder: Folder of the stored results.
        environment: Environment variables of a slot: they select the GPU or the number of threads for timing.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = MappingProxyType({})) -> None:
        self._folder = folder
        self._environment = dict(environment)
        self._process = PeakProcess(environment)

    def __enter__(self) -> PeakCache:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.close()

    def peak(self, work: Workload) -> PeakMemory:
        """Return the peak of a workload.

        A stored peak is returned immediately. Otherwise it takes seconds to compute, and the first one also includes
        the time to import torch.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: One of them cannot be traced.
        """
        path = self._folder / f"{work.kind}-{_digest(work)}.json"
        try:
            return read_state(path, PeakMemory, "")
        except RunError:  # missing or damaged
            peak = self._process.peak(work)
        _store(path, peak)
        return peak

    def seconds(self, work: TrainingWorkload) -> float:
        """Return the seconds of a step in this environment on this machine; each workload is timed once.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: The step fails, e.g. because there is not enough memory.
        """
        path = self._folder / f"seconds-{platform.node()}-{_digest(work, self._environment)}.json"
        try:
            return read_state(path, dict[str, float], "")["seconds"]
        except (RunError, KeyError):
            seconds = self._process.seconds(work)
        _store(path, {"seconds": seconds})
        return seconds


def _store(path: Path, value: Any) -> None:
    """Write the file if possible; if not, the next run computes the result again."""
    with suppress(OSError):
        write_state(path, value)


def _digest(work: Workload, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Hash everything that determines the result."""
    builders = [work.network.builder] + ([work.loss] if isinstance(work, TrainingWorkload) else [])
    parts = {
        "workload": work.model_dump(mode="json"),
        "environment": dict(environment),
        "libraries": library_versions(_LIBRARIES),
        "package": _traced(),
        "builders": [sources_digest(name.partition(":")[0]) for name in builders if ":" in name],
        "processors": os.cpu_count() if work.device == "cpu" else None,  # some kernels allocate memory per thread
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


@cache
def _traced() -> dict[str, str]:
    return {part: package_digest(part) for part in _TRACED}
