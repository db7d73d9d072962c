"""Traps in the versions of torch, cuDNN and the driver, found without importing torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from minivess.findings import Finding
from minivess.machine.gpus import Gpu

_OLDEST_DRIVER = {11: 450, 12: 525, 13: 580}
"""Major version of the Linux driver that each CUDA major needs (CUDA release notes, minor version compatibility)."""


@dataclass(frozen=True)
class LibraryVersions:
    """Installed versions; an empty string where none is installed or it does not say.

    Attributes:
        torch: e.g. "2.9.0", or "2.13.0+cpu" for a build that knows no card.
        cudnn: e.g. "9.10.2.21", of the package that this torch asks for.
        cuda_major: 12 for a torch built for CUDA 12.x; None when its metadata does not tell.
    """

    torch: str
    cudnn: str = ""
    cuda_major: int | None = None


def read_library_versions() -> LibraryVersions:
    """Versions from the metadata of the installed packages, in milliseconds; `import torch` takes seconds."""
    torch = _installed("torch")
    wanted = re.search(r"nvidia-cudnn-cu(\d+)", " ".join(requires("torch") or ())) if torch else None
    built_for = re.search(r"\+cu(\d+)\d$", torch) or wanted
    cudnn = _installed(wanted[0]) if wanted else _installed("nvidia-cudnn-cu12") or _installed("nvidia-cudnn-cu13")
    return LibraryVersions(torch, cudnn, int(built_for[1]) if built_for else None)


def check_libraries(versions: LibraryVersions, gpus: Sequence[Gpu]) -> list[Finding]:
    """Warnings about known traps, or one line of information. Without a card there is no cuDNN to go wrong."""
    installed = f"torch {versions.torch or 'not installed'}, cuDNN {versions.cudnn or 'unknown'}"
    traps = _traps(versions, gpus) if gpus else []
    return [Finding("warning", "libraries", what, expected, installed, cure) for what, expected, cure in traps] or [
        Finding("info", "libraries", "versions", "", installed, "")
    ]


def _traps(versions: LibraryVersions, gpus: Sequence[Gpu]) -> list[tuple[str, str, str]]:
    """What goes wrong, what would be right, cure."""
    torch, cudnn = _numbers(versions.torch), _numbers(versions.cudnn)
    newer = f'install torch 2.10 or newer, or torch 2.9.1 with "nvidia-cudnn-cu{versions.cuda_major or 12}>=9.15"'
    traps = []
    if versions.torch.endswith("+cpu"):
        cure = "install a CUDA build of torch (pytorch.org/get-started)"
        traps.append(("this torch cannot use the card", "a CUDA build", cure))
    # 2.9.0 avoids cuDNN's conv3d whatever its version, 2.9.1 only below 9.15 (pytorch#166122, #166643, #166480).
    if torch == (2, 9, 0) or (torch[:2] == (2, 9) and () < cudnn < (9, 15)):
        what = "3D convolutions in mixed precision are about 4x slower and need more memory"
        traps.append((what, "torch 2.9.1 with cuDNN 9.15, or newer", newer))
    if (9, 8) <= cudnn < (9, 11):
        what = "3D convolutions in bf16 can give wrong results (pytorch#163539)"
        traps.append((what, "a cuDNN older than 9.8 or newer than 9.10", f"train in fp16 or fp32, or {newer}"))
    oldest = _OLDEST_DRIVER.get(versions.cuda_major or 0, 0)
    too_old = {gpu.driver for gpu in gpus if gpu.driver and _numbers(gpu.driver) < (oldest,)}
    if too_old:
        what = f"driver {', '.join(sorted(too_old))} is too old for a torch built for CUDA {versions.cuda_major}"
        traps.append(
            (what, f"driver {oldest} or newer", "update the driver, or install a torch built for an older CUDA")
        )
    return traps


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _numbers(text: str) -> tuple[int, ...]:
    """(2, 9, 1) of "2.9.1+cu128"; () of what does not begin with a number."""
    release = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in release[0].split(".")) if release else ()
