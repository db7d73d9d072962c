"""Volumes as memory-mapped arrays: decompressed once, in their own type, shared by every cell through the page cache.

A cache of float32 tensors costs eight bytes a voxel and is held once a process; the store costs two bytes a voxel on disk
and, because clean mapped pages can be dropped at any time, nothing that counts as memory pressure.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minivess.atomic import write_text
from minivess.data.nifti import read_volume
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import DataError

_PROFILE = "profile.json"


@dataclass(frozen=True)
class StoredCase:
    """One volume of a store, mapped read-only.

    Attributes:
        stats: The volume's facts from the profile.
        image: (X, Y, Z) in the file's own type.
        label: (X, Y, Z) uint8, 0 or 1.
        foreground: Flat indices of the vessel voxels, ascending; empty for an empty label.
    """

    stats: VolumeStats
    image: np.ndarray
    label: np.ndarray
    foreground: np.ndarray


class Store:
    """A data set ready for cutting patches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.profile = DatasetProfile.model_validate_json((folder / _PROFILE).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                "a finished store", f"{folder}: {error}", "delete the folder; the next run builds it again"
            ) from error
        self._volumes = {volume.name: volume for volume in self.profile.volumes}

    def case(self, name: str) -> StoredCase:
        """Map one case; opening costs no memory until voxels are read."""

        def mapped(part: str) -> np.ndarray:
            return np.load(self.folder / f"{name}.{part}.npy", mmap_mode="r")

        return StoredCase(self._volumes[name], mapped("image"), mapped("label"), mapped("foreground"))

    def read_ahead(self, share: float) -> None:
        """Ask the system to read that share of the volumes into its page cache; returns at once, and holds no memory itself."""
        files = sorted(self.folder.glob("*.npy"))
        for path in files[: round(share * len(files))]:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def build_store(profile: DatasetProfile, root: Path, progress: Callable[[VolumeStats], None] | None = None) -> Store:
    """Write the store of a labelled data set under ``root``, named by its content; an existing one is reused.

    Raises:
        DataError: The profile was made without reading the voxels, or a file cannot be read.
    """
    if profile.content_hash is None:
        raise DataError("a profile with a content hash", "header facts only", "scan the data set with its voxels")
    folder = root / profile.content_hash
    if (folder / _PROFILE).is_file():
        return Store(folder)
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=root, prefix=".tmp-"))
    try:
        for volume in profile.volumes:
            _store_case(volume, temporary)
            if progress is not None:
                progress(volume)
        write_text(temporary / _PROFILE, profile.model_dump_json(indent=1))
        if not folder.exists():
            os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Store(folder)


def _store_case(volume: VolumeStats, folder: Path) -> None:
    assert volume.label is not None, "only labelled data sets are stored"
    np.save(folder / f"{volume.name}.image.npy", np.ascontiguousarray(read_volume(Path(volume.image))))
    label = np.ascontiguousarray(read_volume(Path(volume.label)) != 0)
    np.save(folder / f"{volume.name}.label.npy", label.view(np.uint8))
    np.save(
        folder / f"{volume.name}.foreground.npy",
        np.flatnonzero(label).astype(np.int32 if label.size < 2**31 else np.int64),
    )
