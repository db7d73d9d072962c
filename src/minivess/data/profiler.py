"""Scan a data set: shapes and spacings from the headers alone; voxels are streamed only if the caller requests them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minivess.data.checks.dataset import check_copies, check_sidecars, check_unknown
from minivess.data.checks.intensity_statistics import measure_intensities
from minivess.data.checks.label_artefacts import LabelArtefacts, check_artefacts
from minivess.data.checks.label_bits import LabelBits
from minivess.data.checks.label_statistics import count_label
from minivess.data.checks.volume import (
    check_header,
    check_intensities,
    check_label,
    check_length,
    check_orientation,
    check_pair,
    check_surplus,
)
from minivess.data.dataset_profile import DatasetProfile, VolumeStats, compute_safe_patch_sizes
from minivess.data.formats.gzip_stream import Digest
from minivess.data.formats.nifti import read_blocks, scale
from minivess.data.formats.nifti_header import Header, VolumeError, read_header
from minivess.data.label_values import LabelBlock
from minivess.data.layouts.cases import Case, Layout, read_layout
from minivess.data.layouts.listing import name_of
from minivess.data.layouts.nnunet_json import DATASET, SPLITS, check_dataset, check_splits, read_ignore_value
from minivess.errors import RunError
from minivess.findings import Finding
from minivess.json_files import read_state
from minivess.machine.process_pool import choose_processes, map_in_processes

__all__ = ["DatasetProfile", "VolumeStats", "compute_safe_patch_sizes", "load_profile", "scan_dataset", "scan_volume"]

CLIP_PERCENTILES = (0.5, 99.5)

_VERSION = "7"
"""Version of the scan. Change it when a scan finds something else, so that saved profiles are made again."""


def scan_volume(
    path: Path | str,
    label: Path | str | None = None,
    *,
    name: str | None = None,
    voxels: bool = False,
    ignore_value: int | None = None,
) -> VolumeStats:
    """Describe one volume from its header, and also from its voxels if ``voxels`` is set.

    Voxels are streamed through a few megabytes of memory, whatever the size of the volume.

    Args:
        path: The image, a NIfTI file.
        label: The label file, if there is one.
        name: Name of the case; None takes the file name of the image without its suffix.
        voxels: Whether to read the voxels too. They give intensities, foreground fraction, checksums, and the findings
            that headers cannot show.
        ignore_value: Value of unknown voxels in the label; None if every voxel is known.

    Returns:
        The statistics of the volume, with its findings.

    Raises:
        DataError: The image's header cannot be read. All other problems are findings.
    """
    path, label = Path(path), None if label is None else Path(label)
    case = Case(name or name_of(path), path, label)
    image = read_header(path)
    found = check_header(case.name, image)
    label_header = None
    if label is not None:
        try:
            label_header = read_header(label)
            found += check_pair(case.name, image, label_header)
            found += check_orientation(f"label of {case.name}", label_header)
        except VolumeError as error:
            found.append(error.as_finding(case.name))
    measured: dict[str, Any] = {}
    if voxels:
        measured = _measure(case, image, label_header, found, ignore_value)
    else:
        headers = [(path, image)] if label is None or label_header is None else [(path, image), (label, label_header)]
        found += [fault for file, header in headers for fault in check_length(case.name, file, header)]
    stats = VolumeStats(
        name=case.name,
        image=str(path),
        label=None if label is None else str(label),
        shape=image.shape,
        spacing_um=image.spacing_um,
        dtype=image.dtype,
        stored_bytes=sum(stat.st_size for _, stat in _file_stats(case.files)),
        cached_bytes=0,
        findings=tuple(found),
        **measured,
    )
    itemsize = image.read_dtype(stats.needs_float64).itemsize
    return stats.model_copy(update={"cached_bytes": image.voxels * (itemsize + (label is not None))})


def scan_dataset(
    folder: Path | str,
    *,
    voxels: bool = False,
    without: Collection[str] = (),
    progress: Callable[[str], None] | None = None,
    processes: int | None = None,
    ignore_value: int | None = None,
) -> DatasetProfile:
    """Describe every case of a data set folder: shapes, spacings and findings.

    The folder has raw/ and seg/ (MiniVess), or imagesTr/ and labelsTr/ (nnU-Net, Decathlon).

    A problem with one case never hides a problem with another.

    Args:
        folder: Folder of the data set.
        voxels: Whether to read the voxels too.
        without: Names of cases whose files are not opened, such as a test set.
        progress: Called with the name of each case after it is scanned, in any order.
        processes: Number of processes that read; None chooses it by file sizes, CPU count and free memory.
        ignore_value: Value of unknown voxels in the labels; None takes the label named ignore in nnU-Net's
            ``dataset.json``. Without that file, every voxel is known.

    Returns:
        The profile of the data set, without these cases.

    Raises:
        DataError: The folder is missing, has no known layout, or contains no volume.
    """
    folder = Path(folder)
    layout = read_layout(folder)
    ignore_value = read_ignore_value(folder) if ignore_value is None else ignore_value
    cases = [case for case in layout.cases if case.name not in without]
    # Before the files are read, so that a file that changes during the scan is read again next time.
    stamp = _stamp(folder, layout, cases)
    volumes, unread = scan_cases(
        cases, voxels=voxels, progress=progress, processes=processes, ignore_value=ignore_value
    )
    problems = [
        *layout.findings,
        *unread,
        *check_copies(volumes),
        *check_unknown(volumes, ignore_value),
        *check_sidecars(cases, volumes),
        *check_dataset(folder, layout.cases),
        *check_splits(folder, [case.name for case in cases]),
    ]
    return DatasetProfile(
        folder=str(folder), volumes=volumes, problems=tuple(problems), stamp=stamp, ignore_value=ignore_value
    )


def scan_cases(
    cases: Sequence[Case],
    *,
    voxels: bool = False,
    progress: Callable[[str], None] | None = None,
    processes: int | None = None,
    ignore_value: int | None = None,
) -> tuple[tuple[VolumeStats, ...], tuple[Finding, ...]]:
    """Describe these cases alone, as `scan_dataset` does.

    Returns:
        Every volume whose header could be read, in the order of ``cases``, and the findings about the others.
    """
    sizes = {case: sum(stat.st_size for _, stat in _file_stats(case.files)) for case in cases}
    if processes is None:
        processes = choose_processes(sum(sizes.values()), len(sizes)) if voxels else 1
    # The largest first, so that no process is still reading a large one when the others have finished.
    order = sorted(cases, key=lambda case: sizes[case], reverse=True)
    results = map_in_processes(
        partial(_scan_case, voxels=voxels, ignore_value=ignore_value),
        order,
        processes,
        lambda case: progress(case.name) if progress else None,
    )
    by_name = dict(zip((case.name for case in order), results, strict=True))
    scanned = [by_name[case.name] for case in cases]
    unread = (finding for result in scanned if isinstance(result, tuple) for finding in result)
    return tuple(result for result in scanned if isinstance(result, VolumeStats)), tuple(unread)


def load_profile(
    path: Path, folder: Path, without: Collection[str] = (), ignore_value: int | None = None
) -> DatasetProfile | None:
    """Load the profile saved at ``path``.

    Args:
        path: JSON file with a saved profile.
        folder: Folder of the data set.
        without: Names of cases that are not in the profile.
        ignore_value: See `scan_dataset`.

    Returns:
        The profile; None if it is missing or invalid, if another version of the scan made it, if a file of the data set
        has changed since then, or if it was made with another value of unknown voxels.

    Raises:
        DataError: The folder is missing, has no known layout, or contains no volume.
    """
    try:
        profile = read_state(path, DatasetProfile, "")
    except RunError:
        return None
    if profile.ignore_value != (read_ignore_value(folder) if ignore_value is None else ignore_value):
        return None
    layout = read_layout(folder)
    cases = [case for case in layout.cases if case.name not in without]
    return profile if profile.stamp == _stamp(folder, layout, cases) else None


def _scan_case(case: Case, voxels: bool, ignore_value: int | None) -> VolumeStats | tuple[Finding, ...]:
    """Scan one case; if the header of its image cannot be read, return the findings about image and label instead."""
    try:
        return scan_volume(case.image, case.label, name=case.name, voxels=voxels, ignore_value=ignore_value)
    except VolumeError as error:
        found = [error.as_finding(case.name)]
    if case.label is not None:
        try:
            header = read_header(case.label)
            if voxels:
                _measure_label(case.name, case.label, header, None, found, ignore_value)
        except VolumeError as error:
            found.append(error.as_finding(case.name))
    return tuple(found)


def _measure(
    case: Case, image: Header, label: Header | None, found: list[Finding], ignore_value: int | None
) -> dict[str, Any]:
    """Measure the voxels; return fields of ``VolumeStats`` and append findings to ``found``."""
    digest = hashlib.blake2b(digest_size=16)
    values = _measure_image(case.name, case.image, image, digest, found)
    if case.label is not None and label is not None:
        values |= _measure_label(case.name, case.label, label, digest, found, ignore_value)
    if "image_checksum" in values and (case.label is None or "label_checksum" in values):
        values["digest"] = digest.hexdigest()
    return values


def _measure_image(name: str, path: Path, header: Header, digest: Digest, found: list[Finding]) -> dict[str, Any]:
    surplus: list[str] = []
    digests = iter([digest])  # 4-byte numbers are read three times, 8-byte numbers five times, but hashed once
    try:
        intensities = measure_intensities(
            lambda: read_blocks(path, header, next(digests, None), lambda: surplus.append(name)),
            np.dtype(header.dtype),
            CLIP_PERCENTILES,
            header.scaling,
        )
    except VolumeError as error:
        found.append(error.as_finding(name))
        return {}
    found += [*check_surplus(name, path, bool(surplus)), *check_intensities(name, intensities, header)]
    low, high = intensities.percentiles
    return {
        "intensity_mean": intensities.clipped.mean,
        "intensity_std": intensities.clipped.std,
        "intensity_low": low,
        "intensity_high": high,
        "intensity_min": intensities.moments.minimum,
        "intensity_max": intensities.moments.maximum,
        "image_checksum": intensities.checksum,
    }


def _measure_label(
    name: str, path: Path, header: Header, digest: Digest | None, found: list[Finding], ignore_value: int | None
) -> dict[str, Any]:
    surplus: list[str] = []
    bits = LabelBits()
    slice_voxels = header.shape[0] * header.shape[1]

    def scaled_blocks() -> Iterator[np.ndarray]:
        for block in read_blocks(path, header, digest, lambda: surplus.append(name)):
            values = scale(block, header)
            bits.take(LabelBlock.of(values, ignore_value).vessel)
            yield values

    try:
        counts = count_label(scaled_blocks(), ignore_value, slice_voxels)
    except VolumeError as error:
        found.append(error.as_finding(name))
        return {}
    faults = check_label(name, counts, ignore_value)
    found += [*check_surplus(name, path, bool(surplus)), *faults]
    values: dict[str, Any] = {"foreground_fraction": counts.fraction, "label_checksum": counts.checksum}
    if ignore_value is not None:
        values |= {"known_voxels": counts.known, "labelled_slices": counts.labelled_slices}
    if counts.foreground and counts.known == counts.voxels and all(fault.level != "critical" for fault in faults):
        artefacts = _measure_artefacts(bits, header)
        found += check_artefacts(name, artefacts)
        values["label_artefacts"] = artefacts
    return values


def _measure_artefacts(bits: LabelBits, header: Header) -> LabelArtefacts:
    # Imported here, because Numba takes a second, which a scan of headers does not need.
    from minivess.data.checks.artefact_measurement import measure_artefacts

    return measure_artefacts(bits.packed(header.shape), header.shape, header.spacing_um)


def _stamp(folder: Path, layout: Layout, cases: Sequence[Case]) -> str:
    files = [folder / DATASET, folder / SPLITS]
    for case in cases:
        files += [*case.files, *([case.sidecar] if case.sidecar else [])]
    lines = [_VERSION, str(folder.absolute()), *map(str, layout.findings)]
    lines += [
        f"{path} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        for path, stat in _file_stats(files)
    ]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _file_stats(files: Sequence[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    for path in files:
        try:
            yield path, path.stat()
        except OSError:  # missing, or a broken link: reading the file reports it
            continue
