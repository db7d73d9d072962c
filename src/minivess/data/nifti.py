"""NIfTI files in and out: the one place that touches nibabel and knows what a header means."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from minivess.atomic import atomic_path
from minivess.errors import DataError

_UNREADABLE = (OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, ValueError)

# A voxel of 20 micrometre is coarse for two-photon microscopy: a smaller number under the unit "mm" is a real millimetre.
_LARGEST_SPACING_MM = 0.02


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says of a volume, without its voxels.

    Attributes:
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z in micrometre.
        dtype: Numpy name of the stored type.
        affine: Voxel to world, 4x4, row by row, as stored.
        unit: The header's own word for its length unit: "unknown", "micron", "mm" or "meter".
    """

    shape: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    dtype: str
    affine: tuple[tuple[float, ...], ...]
    unit: str

    @property
    def voxels(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]


def read_header(path: Path) -> Header:
    """Read the header alone; the voxels are not touched.

    Raises:
        DataError: The file is missing, is no NIfTI file, or does not hold one 3D volume.
    """
    image = _load(path)
    shape = tuple(int(size) for size in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(
            "one 3D volume (X, Y, Z)", f"shape {image.shape} in {path}", "split or squeeze the file into 3D volumes"
        )
    unit = str(image.header.get_xyzt_units()[0])
    return Header(
        shape=shape,
        spacing_um=_spacing_um(image.header.get_zooms()[:3], unit),
        dtype=str(image.get_data_dtype()),
        affine=tuple(tuple(float(value) for value in row) for row in image.affine),
        unit=unit,
    )


def read_volume(path: Path) -> np.ndarray:
    """Read the voxels (X, Y, Z) in the file's own type; float32 only where the header scales them.

    Raises:
        DataError: The file is missing, damaged or cut short.
    """
    image = _load(path)
    try:
        voxels = np.asanyarray(image.dataobj)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error
    if voxels.dtype == np.float64:
        voxels = voxels.astype(np.float32)
    return voxels.reshape(voxels.shape[:3])


def write_volume(
    path: Path, array: np.ndarray, *, spacing_um: tuple[float, float, float], affine: np.ndarray | None = None
) -> None:
    """Write ``array`` (X, Y, Z) atomically, unit micron; the affine is the diagonal of the spacing where none is given."""
    image = nib.Nifti1Image(array, np.diag([*spacing_um, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("micron", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def _load(path: Path) -> nib.Nifti1Image:
    if not path.is_file():
        raise DataError("a NIfTI file", f"no file at {path}", "check the path")
    try:
        return nib.load(path)
    except _UNREADABLE as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(
        "a whole, readable NIfTI file", f"{path} is damaged or cut short ({reason})", "copy or export the file again"
    )


def _spacing_um(zooms: tuple[float, ...], unit: str) -> tuple[float, float, float]:
    # float32 in the file: 0.994 comes back as 0.99400001.
    spacing = tuple(float(f"{float(zoom):.6g}") for zoom in zooms)
    if unit == "meter":
        factor = 1e6
    elif unit == "mm" and min(spacing) < _LARGEST_SPACING_MM:
        factor = 1e3
    else:
        # Unset, micron, or the "mm" that many writers put on every file: the number is micrometre.
        factor = 1.0
    x, y, z = (float(f"{size * factor:.6g}") for size in spacing)
    return x, y, z
