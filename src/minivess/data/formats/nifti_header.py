"""Read and validate the header of a NIfTI file before any voxel is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from minivess.data.formats.gzip_stream import peek
from minivess.errors import DataError
from minivess.findings import Finding
from minivess.geometry import Shape, Spacing

# In millimetres; 0.02 mm = 20 µm is coarse for two-photon microscopy. A smaller number with the unit "mm" is really in
# millimetres; a larger one is in micrometres, and its unit is wrong.
_LARGEST_SPACING_MM = 0.02
_NIFTI1, _NIFTI2 = 348, 540
_TRAILING_BYTES = 2**20


class VolumeError(DataError):
    """A file does not contain a usable volume.

    Args:
        check: Code of the check that failed; the code of its finding.
        expected: See ``DataError``.
        got: See ``DataError``.
        cure: See ``DataError``.
    """

    def __init__(self, check: str, expected: str, got: str, cure: str) -> None:
        self.check = check
        super().__init__(expected, got, cure)

    def as_finding(self, name: str) -> Finding:
        """Return this error as a critical finding about the volume ``name``."""
        return Finding("critical", self.check, name, self.expected, self.got, self.cure)


@dataclass(frozen=True)
class Header:
    """Facts about a volume from the header of its NIfTI file.

    Attributes:
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z in micrometres, from pixdim.
        dtype: Numpy name of the stored type.
        affine: Voxel-to-world matrix (4, 4) as rows, in the unit of the header.
        unit: Length unit that the header names: "unknown", "micron", "mm" or "meter".
        um_per_unit: Factor that converts the header's lengths to micrometres.
        scaling: Slope and intercept: value = slope * stored number + intercept; (1, 0) in most files.
        stored_dtype: The stored type with its byte order, such as ">i2".
        offset: Position of the first voxel in the decompressed file, in bytes.
        seems_whole: Whether the file's length fits shape and type. A gzip file gives the length in its last bytes.
    """

    shape: Shape
    spacing_um: Spacing
    dtype: str
    affine: tuple[tuple[float, ...], ...]
    unit: str
    um_per_unit: float
    scaling: tuple[float, float]
    stored_dtype: str
    offset: int
    seems_whole: bool

    @property
    def voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def block_dtype(self) -> np.dtype:
        """Type of the blocks of ``read_blocks``: the stored type, or float32 for 8-byte numbers."""
        dtype = np.dtype(self.dtype)
        return np.dtype(np.float32) if dtype.itemsize > 4 else dtype

    @property
    def read_dtype(self) -> np.dtype:
        """Type of the result of ``read_volume``: the type of the blocks, or float32 if they are scaled."""
        return np.dtype(np.float32) if self.is_scaled else self.block_dtype

    @property
    def is_scaled(self) -> bool:
        return self.scaling != (1.0, 0.0)


def read_header(path: Path) -> Header:
    """Read and validate the header of a NIfTI file; the voxels are not read.

    Raises:
        VolumeError: The file is missing, is not a NIfTI file, or does not contain one 3D volume of real numbers with a
            voxel size.
    """
    block, length = _peek(path)
    header = _parse(path, block)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    unit = _unit(header)
    spacing, um_per_unit = _spacing_um(header["pixdim"][1:4], unit)
    if not all(math.isfinite(size) and size > 0 for size in spacing):
        got = f"{' x '.join(f'{size:g}' for size in spacing)} in {path}"
        raise VolumeError("voxel_size", "a voxel size above zero", got, "write the correct pixdim into the header")
    offset = _offset(path, header)
    surplus = (length - offset - math.prod(shape) * dtype.itemsize) % 2**32
    return Header(
        shape=shape,
        spacing_um=spacing,
        dtype=dtype.newbyteorder("=").name,
        affine=_affine(path, header),
        unit=unit,
        um_per_unit=um_per_unit,
        scaling=_scaling(path, header),
        stored_dtype=dtype.str,
        offset=offset,
        seems_whole=surplus < _TRAILING_BYTES,
    )


def _peek(path: Path) -> tuple[bytes, int]:
    if path.is_symlink() and not path.exists():
        cure = "restore the file that the link points to, or replace the link with a copy of the file"
        raise VolumeError(
            "damaged", "a NIfTI file", f"{path} is a link to {path.readlink()}, which does not exist", cure
        )
    if not path.is_file():
        raise VolumeError("damaged", "a NIfTI file", f"no file at {path}", "check the path")
    try:
        return peek(path, _NIFTI2)
    except PermissionError as error:
        cure = "give yourself read permission (`chmod u+r FILE`)"
        raise VolumeError("damaged", "a readable file", f"{path}: {error.strerror}", cure) from error
    except OSError as error:
        raise damaged(path, error) from error


def _parse(path: Path, block: bytes) -> nib.Nifti1Header:
    # check=False, because nibabel's checks silently change a voxel size of 0 to 1, and a negative one to positive.
    for kind, size, magic in ((nib.Nifti1Header, _NIFTI1, b"n+1"), (nib.Nifti2Header, _NIFTI2, b"n+2")):
        if len(block) < size:
            raise damaged(path, EOFError(f"only {len(block)} bytes" if block else "the file is empty"))
        if {int.from_bytes(block[:4], order) for order in ("little", "big")} & {size}:
            header = kind(block[:size], check=False)
            if not bytes(header["magic"]).startswith(magic):
                cure = "export it as one .nii or .nii.gz file"
                got = f"{path} is half of a .hdr/.img pair"
                raise VolumeError("damaged", "header and voxels in one NIfTI file", got, cure)
            return header
    raise VolumeError("damaged", "a NIfTI file", f"{path} is not a NIfTI file", "export it as NIfTI (.nii.gz)")


def _shape(path: Path, header: nib.Nifti1Header) -> Shape:
    count = int(header["dim"][0])
    shape = tuple(int(size) for size in header["dim"][1 : count + 1]) if 1 <= count <= 7 else ()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        cure = "split the file into 3D volumes, or remove the extra axes"
        raise VolumeError("dimensions", "one 3D volume (X, Y, Z)", f"shape {shape} in {path}", cure)
    return shape[0], shape[1], shape[2]


def _dtype(path: Path, header: nib.Nifti1Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):  # a code without a numpy type, or a code that is not in the standard
        dtype = np.dtype("V")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        names = {"c": "complex numbers", "f": "128-bit numbers"}
        got = names.get(dtype.kind, "colour values" if dtype.fields else f"type code {int(header['datatype'])}")
        raise VolumeError(
            "voxel_type", "one real number per voxel", f"{got} in {path}", "export one channel as integers"
        )
    return dtype


def _unit(header: nib.Nifti1Header) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a code that is not in the standard
        return "unknown"


def _offset(path: Path, header: nib.Nifti1Header) -> int:
    offset = float(header["vox_offset"])
    if not 0 <= offset < 2**31:
        raise damaged(path, ValueError(f"the header says that voxels begin at byte {offset:g}"))
    return max(int(offset), header.single_vox_offset)  # some programs write zero


def _scaling(path: Path, header: nib.Nifti1Header) -> tuple[float, float]:
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError as error:
        raise damaged(path, error) from error
    return (1.0, 0.0) if slope is None else (float(slope), float(intercept))


def _affine(path: Path, header: nib.Nifti1Header) -> tuple[tuple[float, ...], ...]:
    try:
        affine = header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        raise damaged(path, error) from error
    return tuple(tuple(float(value) for value in row) for row in affine)


def damaged(path: Path, error: Exception) -> VolumeError:
    """Return the error for a file that cannot be read to its end because of ``error``."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    got = f"{path} is damaged or cut short ({reason})"
    return VolumeError("damaged", "a complete, readable NIfTI file", got, "copy or export the file again")


def _spacing_um(pixdim: np.ndarray, unit: str) -> tuple[Spacing, float]:
    """Convert the header's voxel size to micrometres; return it with the factor that was used."""
    # The file stores float32, so 0.994 is read as 0.99400001; round it.
    spacing = [float(f"{float(size):.6g}") for size in pixdim]
    if unit == "meter":
        factor = 1e6
    elif unit == "mm" and min(spacing) < _LARGEST_SPACING_MM:
        factor = 1e3
    else:
        # The unit is missing, "micron", or the wrong "mm" that many programs write: the number is in micrometres.
        factor = 1.0
    x, y, z = (float(f"{size * factor:.6g}") for size in spacing)
    return (x, y, z), factor
