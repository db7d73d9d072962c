"""What lies in a folder of data. Hidden files are none: macOS leaves a ._NAME beside each NAME on foreign disks."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from minivess.errors import DataError
from minivess.text import counted

_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def visible(folder: Path) -> list[Path]:
    """Files and folders in ``folder`` by name, without hidden ones.

    Raises:
        DataError: It cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        cure = f"check the path, or allow listing it (`chmod u+rx {folder.name}`)"
        raise DataError("a folder that can be listed", f"{folder}: {error.strerror}", cure) from error


def nifti_files(folder: Path) -> list[Path]:
    """The NIfTI files of ``folder`` by name, whatever the case of their suffix; none where there is no such folder."""
    return [path for path in visible(folder) if _NIFTI.search(path.name)] if folder.is_dir() else []


def name_of(path: Path) -> str:
    """The name of a NIfTI file without its suffix, in whatever case that is written."""
    return _NIFTI.sub("", path.name)


def other_files(folder: Path) -> str:
    """What else there is, counted, as "3 .nrrd files, 1 folder"; empty where there is nothing."""
    others = [path for path in visible(folder) if not _NIFTI.search(path.name)] if folder.is_dir() else []
    kinds = Counter("folder" if path.is_dir() else f"{path.suffix.lower()} file".lstrip() for path in others)
    return ", ".join(counted(number, kind) for kind, number in kinds.most_common())
