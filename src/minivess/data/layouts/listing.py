"""List the files of a data folder, without hidden files.

macOS adds a hidden file ._NAME for each file NAME on disks of other systems.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from glob import glob
from pathlib import Path

from minivess.errors import DataError
from minivess.text import counted

_NIFTI = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)


def visible(folder: Path) -> list[Path]:
    """List the files and folders in ``folder``, sorted by name, without hidden ones.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        cure = f"check the path, or give yourself permission to list it (`chmod u+rx {folder.name}`)"
        raise DataError("a folder that can be listed", f"{folder}: {error.strerror}", cure) from error


def nifti_files(folder: Path) -> list[Path]:
    """List the NIfTI files of ``folder``, sorted by name (suffix in any case); empty if the folder does not exist."""
    return [path for path in visible(folder) if _NIFTI.search(path.name)] if folder.is_dir() else []


def find_files(given: Iterable[str]) -> list[Path]:
    """Return the files that paths, folders (their NIfTI files) and patterns such as ``raw/mv0*.nii.gz`` name, each once.

    Raises:
        DataError: A folder has no NIfTI file, or nothing matches a pattern. A path to a file that is missing is returned.
    """
    found: list[Path] = []
    for text in given:
        path = Path(text).expanduser()
        if path.is_dir():
            own = nifti_files(path)
            if not own:
                got = f"{path}: {other_files(path) or 'an empty folder'}"
                raise DataError("a folder with NIfTI files (.nii or .nii.gz)", got, "check the path")
        elif path.exists() or not any(letter in text for letter in "*?["):
            own = [path]
        else:
            own = [Path(match) for match in sorted(glob(str(path)))]
            if not own:
                raise DataError("files that match the pattern", f"none at {text}", "check the pattern")
        found += own
    return list(dict.fromkeys(found))


def name_of(path: Path) -> str:
    """Return the name of a NIfTI file without its suffix ``.nii`` or ``.nii.gz``; the suffix may be in capitals."""
    return _NIFTI.sub("", path.name)


def other_files(folder: Path) -> str:
    """Count what is not a NIfTI file in ``folder``, such as "3 .nrrd files, 1 folder"; empty if there is nothing."""
    others = [path for path in visible(folder) if not _NIFTI.search(path.name)] if folder.is_dir() else []
    kinds = Counter("folder" if path.is_dir() else f"{path.suffix.lower()} file".lstrip() for path in others)
    return ", ".join(counted(number, kind) for kind, number in kinds.most_common())
