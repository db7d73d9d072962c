"""NIfTI files as predictions need them: opened without a copy where that can be, written on the grid of another."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from minivess.atomic import atomic_path
from minivess.data.formats.gzip_stream import peek
from minivess.data.formats.nifti import read_header, read_volume

_NIFTI2 = nib.Nifti2Header.sizeof_hdr


def open_volume(path: Path) -> np.ndarray:
    """The voxels (X, Y, Z), X fastest: mapped from a plain file, read into memory from a compressed or a scaled one.

    Raises:
        VolumeError: As ``read_volume``.
    """
    header = read_header(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if compressed or header.is_scaled:
        return read_volume(path)
    return np.memmap(path, header.stored_dtype, "r", header.offset, header.shape, "F")


def write_alike(path: Path, array: np.ndarray, source: Path) -> None:
    """Write ``array`` (X, Y, Z) atomically on the grid of the file ``source``: its affines, voxel size and units as they stand."""
    block, _ = peek(source, _NIFTI2)
    is_second = _NIFTI2 in {int.from_bytes(block[:4], order) for order in ("little", "big")}
    kind = nib.Nifti2Image if is_second else nib.Nifti1Image
    header = kind.header_class(block[: kind.header_class.sizeof_hdr], check=False).as_byteswapped("<")
    header.set_data_dtype(array.dtype)
    header["cal_min"] = header["cal_max"] = 0  # the display range of the image would show a mask black
    header["vox_offset"] = 0  # where the voxels begin without the extensions of the source
    with atomic_path(path) as temporary:
        nib.save(kind(array, None, header), temporary)
