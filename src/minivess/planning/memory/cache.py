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
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType, TracebackType

from pydantic import ValidationError

from minivess.atomic import write_text
from minivess.json_files import from_plain
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import TrainingWorkload, Workload

_PACKAGE = Path(__file__).parents[2]
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
            return PeakMemory.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            peak = self._process.peak(work)
        _store(path, peak.model_dump_json(indent=2))
        return peak

    def seconds(self, work: TrainingWorkload) -> float:
        """Return the seconds of a step in this environment on this machine; each workload is timed once.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: The step fails, e.g. because there is not enough memory.
        """
        path = self._folder / f"seconds-{platform.node()}-{_digest(work, self._environment)}.json"
        try:
            return float(from_plain(float, json.loads(path.read_bytes())))
        except (OSError, ValueError):
            seconds = self._process.seconds(work)
        _store(path, json.dumps(seconds))
        return seconds


def _store(path: Path, text: str) -> None:
    """Write the file if possible; if not, the next run computes the result again."""
    with suppress(OSError):
        write_text(path, text + "\n")


def _digest(work: Workload, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    """Hash everything that determines the result."""
    builders = [work.network.builder] + ([work.loss] if isinstance(work, TrainingWorkload) else [])
    parts = {
        "workload": work.model_dump(mode="json"),
        "environment": dict(environment),
        "libraries": [_installed(name) for name in _LIBRARIES],
        "package": _package_digest(),
        "builders": [_module_digest(name.partition(":")[0]) for name in builders if ":" in name],
        "processors": os.cpu_count() if work.device == "cpu" else None,  # some kernels allocate memory per thread
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


@cache
def _package_digest() -> str:
    digest = hashlib.sha256()
    for name in _TRACED:
        path = _PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _module_digest(name: str) -> str:
    """Hash the source of a module; empty if there is no source file.

    The module is not imported, but its parent packages are.
    """
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return ""
    source = Path(spec.origin) if spec is not None and spec.origin else None
    return hashlib.sha256(source.read_bytes()).hexdigest() if source is not None and source.is_file() else ""


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
