"""Check for known problems of the installed torch, cuDNN and GPU driver versions, without importing torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from minivess.findings import Finding
from minivess.machine.gpus import Gpu

_OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Oldest major version of the Linux GPU driver, by CUDA major version.

Source: CUDA release notes, minor version compatibility.
"""


@dataclass(frozen=True)
class LibraryVersions:
    """Installed versions; an empty string if a library is not installed or its version is unknown.

    Attributes:
        torch: For example "2.9.0", or "2.13.0+cpu" for a build without GPU support.
        cudnn: For example "9.10.2.21": the version of the cuDNN package that this torch requires.
        cuda_major: 12 for a torch built for CUDA 12.x; None if its metadata does not contain it.
    """

    torch: str
    cudnn: str = ""
    cuda_major: int | None = None


def read_library_versions() -> LibraryVersions:
    """Read versions from package metadata. This takes milliseconds; `import torch` takes seconds."""
    torch = _installed("torch")
    required = re.search(r"nvidia-cudnn-cu(\d+)", " ".join(requires("torch") or ())) if torch else None
    built_for = re.search(r"\+cu(\d+)\d$", torch) or required
    cudnn = _installed(required[0]) if required else _installed("nvidia-cudnn-cu12") or _installed("nvidia-cudnn-cu13")
    return LibraryVersions(torch, cudnn, int(built_for[1]) if built_for else None)


def check_libraries(versions: LibraryVersions, gpus: Sequence[Gpu]) -> list[Finding]:
    """Return warnings about known problems, or one info finding if there are none.

    Without a GPU, cuDNN is not used, so there are no warnings.

    Args:
        versions: The installed versions.
        gpus: The GPUs of the machine.
    """
    installed = f"torch {versions.torch or 'not installed'}, cuDNN {versions.cudnn or 'unknown'}"
    problems = _known_problems(versions, gpus) if gpus else []
    return [Finding("warning", "libraries", what, expected, installed, cure) for what, expected, cure in problems] or [
        Finding("info", "libraries", "versions", "", installed, "")
    ]


def _known_problems(versions: LibraryVersions, gpus: Sequence[Gpu]) -> list[tuple[str, str, str]]:
    """Return a tuple (problem, expected, cure) for each known problem."""
    torch, cudnn = _numbers(versions.torch), _numbers(versions.cudnn)
    newer = f'install torch 2.10 or newer, or torch 2.9.1 with "nvidia-cudnn-cu{versions.cuda_major or 12}>=9.15"'
    problems = []
    if versions.torch.endswith("+cpu"):
        cure = "install a CUDA build of torch (pytorch.org/get-started)"
        problems.append(("this torch build cannot use the GPU", "a CUDA build of torch", cure))
    # torch 2.9.0 never uses cuDNN's conv3d; 2.9.1 does not use it below cuDNN 9.15 (pytorch#166122, #166643, #166480).
    if torch == (2, 9, 0) or (torch[:2] == (2, 9) and () < cudnn < (9, 15)):
        what = "3D convolutions in mixed precision are about 4x slower and need more memory"
        problems.append((what, "torch 2.9.1 with cuDNN 9.15, or newer", newer))
    if (9, 8) <= cudnn < (9, 11):
        what = "3D convolutions in bf16 can give wrong results (pytorch#163539)"
        problems.append((what, "cuDNN older than 9.8 or newer than 9.10", f"train in fp16 or fp32, or {newer}"))
    oldest = _OLDEST_DRIVER.get(versions.cuda_major or 0, 0)
    too_old = {gpu.driver for gpu in gpus if gpu.driver and _numbers(gpu.driver) < (oldest,)}
    if too_old:
        what = f"GPU driver {', '.join(sorted(too_old))} is too old for torch built for CUDA {versions.cuda_major}"
        problems.append(
            (what, f"GPU driver {oldest} or newer", "update the GPU driver, or install torch built for an older CUDA")
        )
    return problems


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    """Return (2, 9, 1) for "2.9.1+cu128", and () for text that does not start with a number."""
    release = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
