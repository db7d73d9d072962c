"""Store of decompressed volumes as memory-mapped arrays, which all cells share through the page cache.

Each volume is decompressed once and keeps its own data type. A cache of float32 tensors takes eight bytes per voxel
(image and label) in every process. The store takes two bytes per voxel on disk (uint8 image and label). It takes no
memory between patches, because a case is mapped only while it is in use. X is the fastest axis, as in the file, so that
the voxels of a shallow patch, or of a slab of a deep volume, are on few memory pages.
"""

from __future__ import annotations

import mmap
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from minivess.atomic import atomic_folder, atomic_path
from minivess.data.formats.nifti import read_blocks, scale
from minivess.data.formats.nifti_header import Header, read_header
from minivess.data.known_runs import find_runs, join_runs
from minivess.data.label_values import LabelBlock
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.data.store_digests import (
    FileRecord,
    is_damaged,
    is_intact,
    record_file,
    write_record,
    write_records,
)
from minivess.errors import DataError, RunError
from minivess.json_files import read_state, write_state
from minivess.locks import acquire, hold, open_lock
from minivess.machine.process_pool import choose_processes, map_in_processes

_PROFILE = "profile.json"
_VERSION = "2"
"""Version of the content of a store. Change it when the content changes, so that stores are built again."""
_VERSION_OF_FLOAT64 = "3"
"""Version of a store with volumes that need float64; version 2 of such a store has them in float32."""


@dataclass(frozen=True)
class StoredCase:
    """One volume of a store, mapped read-only.

    Attributes:
        stats: The statistics of the volume from the profile.
        image: (X, Y, Z) in ``Header.read_dtype``, X fastest.
        label: (X, Y, Z) uint8, 0 or 1, X fastest; 2 in marked voxels if the case was asked for with a mark; ``UNKNOWN``
            in unknown voxels.
        foreground: Flat indices of the vessel voxels (X fastest), ascending; empty for an empty label.
        known: Runs of known voxels (`minivess.data.known_runs.join_runs`); None if no value means unknown.
    """

    stats: VolumeStats
    image: np.ndarray
    label: np.ndarray
    foreground: np.ndarray
    known: np.ndarray | None = None


class LabelMark(Protocol):
    """Chooses vessel voxels of a whole label, such as those near its centreline. They have the value 2 in the label."""

    @property
    def name(self) -> str:
        """Name of what is drawn, for the name of a file; another drawing has another name."""

    def __call__(self, label: np.ndarray, /) -> np.ndarray:
        """Map a label (X, Y, Z) bool to the marked voxels (X, Y, Z) bool, a subset of it."""


class _Layout(NamedTuple):
    """Type, offset in bytes and shape of an array file, from its header."""

    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]


class Store:
    """A data set that is ready for reading patches.

    Args:
        folder: Folder that ``build_store`` has written.

    Raises:
        DataError: The folder holds no finished store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.profile = read_state(
                folder / _PROFILE, DatasetProfile, "delete the folder; the next run builds it again"
            )
        except RunError as error:
            raise DataError("a finished store", error.got, "delete the folder; the next run builds it again") from error
        self._volumes = {volume.name: volume for volume in self.profile.volumes}
        self._layouts: dict[str, _Layout] = {}
        self._drawn: set[Path] = set()

    def stats(self, name: str) -> VolumeStats:
        """Return the statistics of one case without opening a file."""
        return self._volumes[name]

    def case(self, name: str, mark: LabelMark | None = None) -> StoredCase:
        """Map one case read-only. Only voxels that are read take memory, and it is freed when the case is dropped.

        Args:
            name: Name of the case.
            mark: What the label is marked with. It is drawn at the first request for this volume, and stored.
        """

        def mapped(part: str) -> np.ndarray:
            path = _array_file(self.folder, name, part)
            layout = self._layouts.get(path) or self._layouts.setdefault(path, _layout(path))
            # Not np.memmap: it resolves the path first, which takes longer than reading a patch.
            with open(path, "rb") as file:
                pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return np.ndarray(layout.shape, layout.dtype, pages, layout.offset, order="F")

        label = "label" if mark is None else self._marked_label(name, mark)
        known = None if self.profile.ignore_value is None else mapped("known")
        return StoredCase(self._volumes[name], mapped("image"), mapped(label), mapped("foreground"), known)

    def _marked_label(self, name: str, mark: LabelMark) -> str:
        """Write the marked label of a case unless it is there, and return the part of the case that it is."""
        part = f"label-{mark.name}"
        path = Path(_array_file(self.folder, name, part))
        if path in self._drawn:
            return part
        with hold(self.folder / ".lock", wait=True):  # other cells and threads wait instead of drawing it too
            if not is_intact(path):
                label = self.case(name).label
                vessel = label == 1
                marked = label + (np.asarray(mark(vessel), np.bool_) & vessel)
                with atomic_path(path) as temporary:
                    _write(temporary, np.dtype(np.uint8), label.shape, [marked.ravel(order="F")])
                write_record(path)
        self._drawn.add(path)
        return part

    def label_file(self, name: str) -> Path:
        """File of the label of a case: an array (X, Y, Z) uint8 of 0, 1 and, in unknown voxels, ``UNKNOWN``."""
        return Path(_array_file(self.folder, name, "label"))

    def reference_file(self, name: str) -> Path:
        """File in which scoring keeps what it computes from the label of a case; it need not exist."""
        return self.folder / f"{name}.reference.npz"

    def read_ahead(self, share: float) -> None:
        """Ask the system to read files of the store into its page cache; return immediately.

        The memory belongs to the system, not to this process.

        Args:
            share: Fraction of the files, 0 to 1.
        """
        files = sorted(self.folder.glob("*.npy"))
        # In a thread, because the request blocks when the queue of the disk is full.
        threading.Thread(target=_prefetch, args=(files[: round(share * len(files))],), daemon=True).start()


def build_store(profile: DatasetProfile, root: Path, progress: Callable[[VolumeStats], None] | None = None) -> Store:
    """Write the store of a labelled data set to a subfolder of ``root``, or reuse the store that exists.

    The content hash of the data set names the subfolder, with the value of unknown voxels if there is one. A volume of
    any size is streamed through a few megabytes of memory. If another process is writing a store in ``root``, this
    function waits for it. It deletes the unfinished stores of processes that were killed. A store with damaged files is
    written again.

    Args:
        profile: Profile of the data set, made with ``voxels=True``.
        root: Folder of all stores.
        progress: Called with each volume after it is stored, in any order.

    Returns:
        The finished store.

    Raises:
        DataError: The profile was made without reading the voxels, or a file cannot be read.
        RunError: The file system of ``root`` does not support locks.
    """
    if profile.content_hash is None:
        raise DataError("a profile with a content hash", "header facts only", "scan the data set with voxels=True")
    version = _VERSION_OF_FLOAT64 if any(volume.needs_float64 for volume in profile.volumes) else _VERSION
    folder = root / f"{profile.store_key}-{version}"
    if not _is_usable(folder):
        _build(profile, folder, progress or (lambda volume: None))
    if Store(folder).profile != profile:  # the data set has moved; its content is the same
        write_state(folder / _PROFILE, profile)
    return Store(folder)


def _build(profile: DatasetProfile, folder: Path, progress: Callable[[VolumeStats], None]) -> None:
    """Write ``folder`` unless another process has written it; a lock admits one process at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = open_lock(folder.parent / ".lock")
    with os.fdopen(lock, "w"):  # closes it
        acquire(lock, folder.parent)
        if _is_usable(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        for orphan in folder.parent.glob(".tmp-*"):
            if orphan.is_dir():  # a file can be a profile that another run is writing
                shutil.rmtree(orphan, ignore_errors=True)
        with atomic_folder(folder) as temporary:
            processes = choose_processes(profile.stored_bytes, len(profile.volumes))
            store_case = partial(_store_case, folder=temporary, ignore_value=profile.ignore_value)
            records = map_in_processes(store_case, profile.volumes, processes, progress)
            write_records(temporary, {name: record for files in records for name, record in files.items()})
            write_state(temporary / _PROFILE, profile)


def _is_usable(folder: Path) -> bool:
    return (folder / _PROFILE).is_file() and not is_damaged(folder)


def _store_case(volume: VolumeStats, folder: Path, ignore_value: int | None) -> dict[str, FileRecord]:
    """Write the files of a volume, three or, if a value means unknown, four, and return their records."""
    assert volume.label is not None, "only labelled data sets are stored"
    path = Path(volume.image)
    header, exact = read_header(path), volume.needs_float64
    values = (scale(block, header, exact=exact) for block in read_blocks(path, header))
    _write(Path(_array_file(folder, volume.name, "image")), header.read_dtype(exact), header.shape, values)
    path = Path(volume.label)
    header = read_header(path)
    small = np.dtype(np.int32 if header.voxels < 2**31 else np.int64)
    vessel: list[np.ndarray] = []
    known: list[np.ndarray] = []
    _write(
        Path(_array_file(folder, volume.name, "label")),
        np.dtype(np.uint8),
        header.shape,
        _label(path, header, ignore_value, vessel, known, small),
    )
    count = sum(map(len, vessel))
    _write(Path(_array_file(folder, volume.name, "foreground")), small, (count,), vessel)
    parts = ["image", "label", "foreground"]
    if ignore_value is not None:
        runs = join_runs(known)
        _write(Path(_array_file(folder, volume.name, "known")), runs.dtype, runs.shape, [runs.ravel(order="F")])
        parts.append("known")
    files = [Path(_array_file(folder, volume.name, part)) for part in parts]
    return {path.name: record_file(path) for path in files}


def _label(
    path: Path,
    header: Header,
    ignore_value: int | None,
    vessel: list[np.ndarray],
    known: list[np.ndarray],
    small: np.dtype,
) -> Iterator[np.ndarray]:
    """Read the label in blocks of 0, 1 and ``UNKNOWN`` (uint8).

    Append the flat indices of the ones to ``vessel``, and the runs of known voxels to ``known``.
    """
    done = 0
    for block in read_blocks(path, header):
        parts = LabelBlock.of(scale(block, header), ignore_value)
        vessel.append(np.flatnonzero(parts.vessel).astype(small) + small.type(done))
        if parts.unknown is not None:
            known.append(find_runs(~parts.unknown, done))
        done += block.size
        yield parts.stored()


def _write(path: Path, dtype: np.dtype, shape: tuple[int, ...], blocks: Iterable[np.ndarray]) -> None:
    """Write an array file from blocks of values, the first axis fastest; all data is on the disk when this returns."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": dtype.str, "fortran_order": True, "shape": shape})
        for block in blocks:
            file.write(block.data)
        file.flush()
        os.fsync(file.fileno())


def _array_file(folder: Path, name: str, part: str) -> str:
    """Text, not a Path: `Store.case` calls this for every patch."""
    return f"{folder}/{name}.{part}.npy"


def _prefetch(files: Iterable[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _layout(path: str) -> _Layout:
    array = np.load(path, mmap_mode="r")
    return _Layout(array.dtype, array.offset, array.shape)
