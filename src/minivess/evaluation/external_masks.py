"""Masks that another tool made: find the mask of each case, check it against the volume, and read it as 0 and 1.

Rules for a mask:

- **Name.** A file ``CASE.nii.gz``, ``.nii``, ``.tif`` or ``.tiff``; the endings ``_0000`` (a channel of nnU-Net) and
  ``_y`` (a prediction of minivess) are accepted after the name of the case.
- **Grid.** The shape of the volume. In NIfTI, each voxel also lies within half a voxel of the volume's voxel with the
  same index, by the affines of both files; if one of them has no orientation, only the voxel sizes are compared.
  A TIFF stack is matched by index: pages, rows and columns are Z, Y and X.
- **Values.** 0 and 1, or 0 and 255. An empty mask is valid, and is scored as a failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from minivess.data.dataset_profile import VolumeStats
from minivess.data.formats.nifti import read_volume
from minivess.data.formats.nifti_header import Header, VolumeError, read_header
from minivess.data.formats.tiff_stack import read_stack, read_stack_header
from minivess.data.layouts.listing import named_paths, visible
from minivess.errors import DataError
from minivess.findings import Finding, raise_critical
from minivess.text import first_few, format_shape

_ENDING = re.compile(r"\.(nii|nii\.gz|tif|tiff|ome\.tif|ome\.tiff)$", re.IGNORECASE)
_MASK = re.compile(rf"(_0000|_y)?{_ENDING.pattern}", re.IGNORECASE)
_SAME_SIZE = 0.01
_MOST_SHIFT_VOXELS = 0.5
_ON_THE_GRID = "write the mask on the grid of its image, with the affine of the image"


def find_masks(given: Sequence[str], cases: Iterable[str], *, optional: bool = False) -> dict[str, Path]:
    """Find one mask for each case.

    Args:
        given: Folders, files and patterns such as ``fold_*/validation``. Other files in a folder are ignored.
        cases: Names of the cases that need a mask.
        optional: Whether all of them may be missing; the result is then empty.

    Returns:
        The file of each case, in the order of ``cases``.

    Raises:
        DataError: A path does not exist, a case has no mask or several; every such case is named.
    """
    exact: dict[str, list[Path]] = {}
    shortened: dict[str, list[Path]] = {}
    for path in dict.fromkeys(mask_files(given)):
        exact.setdefault(_ENDING.sub("", path.name), []).append(path)
        shortened.setdefault(mask_name(path), []).append(path)
    files = {case: exact.get(case) or shortened.get(case, []) for case in cases}
    if optional and not any(files.values()):
        return {}
    raise_critical(_faults(files, sorted(exact)), DataError)
    return {case: path for case, (path,) in files.items()}


def check_masks(masks: Mapping[str, Path], volumes: Mapping[str, VolumeStats]) -> None:
    """Require that every mask is readable, lies on the grid of its volume and has two values; write nothing.

    Args:
        masks: The file of each case.
        volumes: The volume of each case.

    Raises:
        DataError: A mask does not; all faults of all masks are listed.
    """
    found: list[Finding] = []
    for case, path in masks.items():
        try:
            faults = list(_grid_faults(path, volumes[case]))
            if not faults:
                read_mask(path)
            found += [Finding("critical", "mask_grid", case, expected, got, _ON_THE_GRID) for expected, got in faults]
        except VolumeError as error:
            found.append(error.as_finding(case))
    raise_critical(found, DataError)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask.

    Returns:
        Array (X, Y, Z) uint8 of 0 and 1.

    Raises:
        VolumeError: The file cannot be read, contains NaN or infinity, or has other values than 0 and 1, or 0 and 255.
    """
    voxels = read_stack(path) if is_tiff(path) else read_volume(path)
    vessel: np.ndarray = voxels != 0
    values = np.unique(voxels[vessel])
    if not np.isfinite(values).all():
        got = f"{(~np.isfinite(voxels)).sum()} voxels that are NaN or infinite in {path.name}"
        raise VolumeError("mask_values", "a mask of finite values", got, "write 0 for background and 1 for vessel")
    if len(values) > 1 or (len(values) == 1 and values[0] not in (1, 255)):
        got = f"{', '.join(f'{value:g}' for value in values[:5])}{', ...' * (len(values) > 5)} beside 0 in {path.name}"
        cure = "write 0 for background and 1 for vessel; apply the threshold to probabilities first"
        raise VolumeError("mask_values", "a mask of 0 and 1, or of 0 and 255", got, cure)
    return vessel.astype(np.uint8)


def mask_files(given: Sequence[str]) -> Iterator[Path]:
    """Yield the mask files of folders, files and patterns."""
    for path in named_paths(given, "a folder or files of masks"):
        yield from (one for one in (visible(path) if path.is_dir() else [path]) if _ENDING.search(one.name))


def _faults(files: Mapping[str, Sequence[Path]], found: Sequence[str]) -> Iterator[Finding]:
    for case, paths in files.items():
        if not paths:
            got = f"none; there are masks of {first_few(found)}" if found else "none"
            cure = "add CASE.nii.gz for each of them: a method is compared only if every held-out case has a mask"
            yield Finding("critical", "mask_missing", case, "a mask of every held-out case", got, cure)
        if len(paths) > 1:
            got = " and ".join(map(str, paths))
            yield Finding("critical", "file_twice", case, "one mask of every case", got, "give only one of them")


def _grid_faults(path: Path, volume: VolumeStats) -> Iterator[tuple[str, str]]:
    """Yield what was expected and what was found, for each way in which a mask is not on the grid of its volume."""
    header = None if is_tiff(path) else read_header(path)
    shape = read_stack_header(path).shape if header is None else header.shape
    if shape != volume.shape:
        yield f"the shape of the volume, {format_shape(volume.shape)}", f"{format_shape(shape)} in {path.name}"
        return
    if header is None:
        return
    if not np.allclose(header.spacing_um, volume.spacing_um, rtol=_SAME_SIZE):
        wanted, got = format_shape(volume.spacing_um), format_shape(header.spacing_um)
        yield f"the voxel size of the volume, {wanted} µm", f"{got} µm in {path.name}"
        return
    image = read_header(Path(volume.image))
    shift = 0.0 if "none" in (header.orientation, image.orientation) else _largest_shift(header, image)
    if not shift <= _MOST_SHIFT_VOXELS:
        got = f"an affine that places them up to {shift:.3g} voxels away in {path.name}"
        yield "voxels at the place of the volume's voxels", got


def _largest_shift(mask: Header, image: Header) -> float:
    """Return the largest distance along an axis, in voxels, between corners of the two grids with equal indices."""
    corners = np.array([(*corner, 1) for corner in product(*((0, size - 1) for size in image.shape))], float).T
    ours, theirs = (np.diag([one.um_per_unit] * 3 + [1.0]) @ np.array(one.affine) for one in (image, mask))
    return float(np.abs(np.linalg.pinv(ours) @ theirs @ corners - corners).max())


def mask_name(path: Path) -> str:
    """Return the name of the case of a mask: that of its file without ``.nii.gz`` and the like, ``_0000`` and ``_y``."""
    return _MASK.sub("", path.name)


def is_tiff(path: Path) -> bool:
    """Whether a file is a TIFF stack, by its ending."""
    return path.suffix.lower() in (".tif", ".tiff")
