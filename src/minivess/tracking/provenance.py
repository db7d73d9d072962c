"""Provenance of a result: the versions of the code, the libraries and the data, and the kind of machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from minivess.yaml_files import read_yaml

_PACKAGES = (
    "torch",
    "monai",
    "numpy",
    "scipy",
    "scikit-image",
    "numba",
    "nibabel",
    "safetensors",
    "pydantic",
    "mlflow",
    "prefect",
)
_GIT_TIMEOUT_S = 10
_DVC_FACTS = ("path", "md5", "size", "nfiles")


def describe_environment() -> dict[str, Any]:
    """Describe code, libraries and machine as JSON-compatible values, without paths, user names or host names.

    Returns:
        ``minivess``, ``python``, ``platform``, ``processor``, ``cpus``; ``git`` (see ``git_state``); ``packages``: versions of
        the libraries that influence results, None for a library that is not installed; ``frozen``: every installed
        distribution as ``name==version``, sorted.
    """
    installed = {str(found.metadata["Name"]): found.version for found in distributions() if found.metadata["Name"]}
    return {
        "minivess": installed.get("minivess"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "git": git_state(Path(__file__)),
        "packages": {name: installed.get(name) for name in _PACKAGES},
        "frozen": sorted((f"{name}=={version}" for name, version in installed.items()), key=str.lower),
    }


def git_state(file: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout that tracks ``file``.

    Returns:
        ``sha``, and ``dirty``: whether a file of the checkout is changed, or the package of ``file`` has a file that is neither
        tracked nor ignored. Data, results and notes elsewhere in the checkout do not change what runs. None if git does not
        track the file (e.g. for a package that is installed inside the checkout of another project), if git is missing, or if
        it does not answer within 10 s.
    """
    folder = file.parent
    if _git(folder, "ls-files", "--error-unmatch", file.name) is None:
        return None
    sha = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    new = _git(_package_of(folder), "ls-files", "--others", "--exclude-standard")
    return None if sha is None or changed is None or new is None else {"sha": sha, "dirty": bool(changed or new)}


def _package_of(folder: Path) -> Path:
    """Return the topmost Python package that contains a folder; the folder itself if it is not in a package."""
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return folder


def data_version(folder: Path) -> dict[str, Any] | None:
    """Return DVC's record of a data folder, from the nearest ``.dvc`` file or ``dvc.lock`` next to or above the folder.

    Returns:
        ``file`` (name of that file), ``path`` (the tracked path: the folder or a folder that contains it), ``md5``, and
        ``size`` and ``nfiles`` if the file has them; None if DVC does not track the folder. The hash is DVC's record and not
        computed from the files on disk.
    """
    folder = folder.resolve()
    for place in folder.parents:
        for file in [*sorted(place.glob("?*.dvc")), place / "dvc.lock"]:
            for output in _dvc_outputs(file):
                target = (place / str(output.get("path"))).resolve()
                if target == folder or target in folder.parents:
                    return {"file": file.name} | {key: output[key] for key in _DVC_FACTS if key in output}
    return None


def _dvc_outputs(file: Path) -> list[dict[str, Any]]:
    """Return the outputs with a hash in a ``.dvc`` file or in the stages of a ``dvc.lock``; [] for any other content."""
    try:
        content = read_yaml(file.read_bytes())
        parts = [content, *(content.get("stages") or {}).values()]
        return [output for part in parts for output in part.get("outs") or [] if output.get("md5")]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    """Return the processor's name from /proc/cpuinfo, else from the module platform."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
