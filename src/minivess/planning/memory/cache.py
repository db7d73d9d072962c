"""Predicted peaks and timed steps, kept on disk: a known one costs the reading of a small file, and no import of torch."""

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

import minivess
from minivess.atomic import write_text
from minivess.json_files import from_plain
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import TrainingWorkload, Workload

_PACKAGE = Path(minivess.__file__).parent
_TRACED = (
    "geometry.py",
    "training/config.py",
    "training/state.py",
    "training/step.py",
    "losses",
    "models",
    "planning/memory",
)
"""Source that decides a predicted peak: a change of any of these files makes every stored peak outdated."""
_LIBRARIES = ("torch", "monai")


class PeakCache:
    """Peaks and times by workload, library versions and source code, so that none outlives what it was computed from.

    Of a network or loss of one's own the module that builds it counts, not what that module imports. What is unknown is
    computed by one process, which lives as long as the ``with`` block. A folder that cannot be written costs time alone.

    Args:
        folder: Where they are kept.
        environment: Of a slot: names the card, or the number of threads, that steps are timed with.
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
        """The peak of a workload: at once where it is known, else in seconds, the first time with those of the imports.

        Raises:
            ConfigError: The network or the loss cannot be built.
            PlanError: One of them cannot be traced.
        """
        path = self._folder / f"{work.kind}-{_digest(work)}.json"
        try:
            return PeakMemory.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            peak = self._process.peak(work)
        _keep(path, peak.model_dump_json(indent=2))
        return peak

    def seconds(self, work: TrainingWorkload) -> float:
        """Seconds of a step in this environment on this machine, timed once; raises as ``peak`` does."""
        path = self._folder / f"seconds-{platform.node()}-{_digest(work, self._environment)}.json"
        try:
            return float(from_plain(float, json.loads(path.read_bytes())))
        except (OSError, ValueError):
            seconds = self._process.seconds(work)
        _keep(path, json.dumps(seconds))
        return seconds


def _keep(path: Path, text: str) -> None:
    """Write the file where that can be done; without it the next run computes the same again."""
    with suppress(OSError):
        write_text(path, text + "\n")


def _digest(work: Workload, environment: Mapping[str, str] = MappingProxyType({})) -> str:
    builders = [work.network.builder] + ([work.loss] if isinstance(work, TrainingWorkload) else [])
    parts = {
        "workload": work.model_dump(mode="json"),
        "environment": dict(environment),
        "libraries": [_installed(name) for name in _LIBRARIES],
        "package": _package_digest(),
        "builders": [_module_digest(name.partition(":")[0]) for name in builders if ":" in name],
        "processors": os.cpu_count() if work.device == "cpu" else None,  # some kernels keep memory for each thread
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
    """Of the source of a module, which is not imported, though the packages around it are; empty where there is none."""
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
