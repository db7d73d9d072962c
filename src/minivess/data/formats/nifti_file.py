"""NIfTI files for prediction: open a volume, without a copy if possible, and write a mask on the grid of a volume."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from minivess.atomic import atomic_path
from minivess.data.formats.gzip_stream import peek
from minivess.data.formats.nifti import read_header, read_volume
from minivess.data.formats.nifti_header import require_length
from minivess.data.formats.nifti_orientation import repair_orientation

_NIFTI2 = nib.Nifti2Header.sizeof_hdr


def open_volume(path: Path, *, exact: bool = False) -> np.ndarray:
    """Open the voxels of a file: map a plain file; read a compressed or scaled one into memory.

    Args:
        path: The file.
        exact: See ``read_volume``; a mapped file is always exact.

    Returns:
        Read-only map in the stored type, or an array as ``read_volume`` returns it; (X, Y, Z), X fastest.

    Raises:
        VolumeError: The header is not usable, or the file is truncated or, if it is not mapped, damaged.
    """
    header = read_header(path)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if compressed or header.is_scaled:
        return read_volume(path, exact=exact)
    require_length(path, header)
    return np.memmap(path, header.stored_dtype, "r", header.offset, header.shape, "F")


def write_alike(path: Path, array: np.ndarray, source: Path, *, replace: bool = True) -> None:
    """Write a NIfTI file on the grid of another: the same affines, voxel size, units and NIfTI version.

    The file appears complete or not at all. Extensions and the display range of the source are not copied.

    Args:
        path: The new file, ``.nii`` or ``.nii.gz``.
        array: Voxels (X, Y, Z), of the shape of the source.
        source: NIfTI file that gives the grid.
        replace: Whether an existing file is replaced.

    Raises:
        FileExistsError: The file exists and ``replace`` is False.
    """
    block, _ = peek(source, _NIFTI2)
    is_second = _NIFTI2 in {int.from_bytes(block[:4], order) for order in ("little", "big")}
    kind = nib.Nifti2Image if is_second else nib.Nifti1Image
    header = kind.header_class(block[: kind.header_class.sizeof_hdr], check=False).as_byteswapped("<")
    repair_orientation(header)
    header["magic"] = header.single_magic  # read_header ignores its last byte
    header.set_data_dtype(array.dtype)
    header["cal_min"] = header["cal_max"] = 0  # viewers would show a mask as black with the display range of the image
    header["vox_offset"] = 0  # lets nibabel compute the offset; the extensions of the source are not copied
    with atomic_path(path, replace=replace) as temporary:
        nib.save(kind(array, None, header), temporary)
