"""List the files of a data folder, without hidden files.

macOS adds a hidden file ._NAME for each file NAME on disks of other systems.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
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


def named_paths(given: Iterable[str], expected: str) -> Iterator[Path]:
    """Yield the paths that the user names, each itself or a pattern such as ``raw/mv0*.nii.gz``.

    Args:
        given: The texts.
        expected: What they should name, for the message.

    Raises:
        DataError: Nothing is there.
    """
    for text in given:
        path = Path(text).expanduser()
        found = [path] if path.exists() else [Path(match) for match in sorted(glob(str(path)))]
        if not found:
            raise DataError(expected, f"nothing at {text}", "check the path")
        yield from found


def find_files(given: Iterable[str]) -> list[Path]:
    """Return the files that paths, patterns and folders (their NIfTI files) name, each once.

    Raises:
        DataError: Nothing is there, or a folder has no NIfTI file.
    """
    files: list[Path] = []
    for path in named_paths(given, "a volume, a folder of volumes, or a pattern"):
        own = nifti_files(path) if path.is_dir() else [path]
        if not own:
            got = f"{path}: {other_files(path) or 'an empty folder'}"
            raise DataError("a folder with NIfTI files (.nii or .nii.gz)", got, "check the path")
        files += own
    return list(dict.fromkeys(files))


def name_of(path: Path) -> str:
    """Return the name of a NIfTI file without its suffix ``.nii`` or ``.nii.gz``; the suffix may be in capitals."""
    return _NIFTI.sub("", path.name)


def other_files(folder: Path) -> str:
    """Count what is not a NIfTI file in ``folder``, such as "3 .nrrd files, 1 folder"; empty if there is nothing."""
    others = [path for path in visible(folder) if not _NIFTI.search(path.name)] if folder.is_dir() else []
    kinds = Counter("folder" if path.is_dir() else f"{path.suffix.lower()} file".lstrip() for path in others)
    return ", ".join(counted(number, kind) for kind, number in kinds.most_common())
