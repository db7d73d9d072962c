"""What a NIfTI header says of a volume, made sure of before a voxel is read."""

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

# A voxel of 20 micrometre is coarse for two-photon microscopy: a smaller number under the unit "mm" is a real millimetre.
_LARGEST_SPACING_MM = 0.02
_NIFTI1, _NIFTI2 = 348, 540
_TRAILING_BYTES = 2**20


class VolumeError(DataError):
    """A file that holds no usable volume.

    Args:
        check: Short name of the check that failed, as a finding has it.
        expected: See ``DataError``.
        got: See ``DataError``.
        cure: See ``DataError``.
    """

    def __init__(self, check: str, expected: str, got: str, cure: str) -> None:
        self.check = check
        super().__init__(expected, got, cure)

    def as_finding(self, name: str) -> Finding:
        """A critical finding about the volume ``name``."""
        return Finding("critical", self.check, name, self.expected, self.got, self.cure)


@dataclass(frozen=True)
class Header:
    """What a NIfTI header says of a volume, without its voxels.

    Attributes:
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z in micrometre, from pixdim.
        dtype: Numpy name of the stored type.
        affine: Voxel to world, 4x4, row by row, as stored.
        unit: The header's own word for its length unit: "unknown", "micron", "mm" or "meter".
        um_per_unit: What its lengths were multiplied with to be micrometre.
        scaling: Slope and intercept that make values of the stored numbers; (1, 0) in most files.
        stored_dtype: The stored type with its byte order, e.g. ">i2".
        offset: Where the voxels begin, bytes into the decompressed file.
        seems_whole: Whether the file's length, which for gzip is what its last bytes say, fits shape and type.
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
        """The type that ``read_blocks`` gives: the stored one, but float32 for numbers of eight bytes."""
        dtype = np.dtype(self.dtype)
        return np.dtype(np.float32) if dtype.itemsize > 4 else dtype

    @property
    def read_dtype(self) -> np.dtype:
        """The type that ``read_volume`` gives: that of the blocks, but float32 where they are scaled."""
        return np.dtype(np.float32) if self.is_scaled else self.block_dtype

    @property
    def is_scaled(self) -> bool:
        return self.scaling != (1.0, 0.0)


def read_header(path: Path) -> Header:
    """Read the header alone; the voxels are not touched.

    Raises:
        VolumeError: The file is missing, is no NIfTI file, or does not hold one 3D volume of real numbers with a voxel size.
    """
    block, length = _peek(path)
    header = _parse(path, block)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    unit = _unit(header)
    spacing, um_per_unit = _spacing_um(header["pixdim"][1:4], unit)
    if not all(math.isfinite(size) and size > 0 for size in spacing):
        got = f"{' x '.join(f'{size:g}' for size in spacing)} in {path}"
        raise VolumeError("voxel_size", "a voxel size above zero", got, "write the true pixdim into the header")
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
        cure = "restore the file it points to, or copy the file itself here"
        raise VolumeError("damaged", "a NIfTI file", f"{path} is a link to {path.readlink()}, which is not there", cure)
    if not path.is_file():
        raise VolumeError("damaged", "a NIfTI file", f"no file at {path}", "check the path")
    try:
        return peek(path, _NIFTI2)
    except PermissionError as error:
        cure = "allow reading it (`chmod u+r`)"
        raise VolumeError("damaged", "a readable file", f"{path}: {error.strerror}", cure) from error
    except OSError as error:
        raise damaged(path, error) from error


def _parse(path: Path, block: bytes) -> nib.Nifti1Header:
    # Without nibabel's own checks, which mend a voxel size of zero to one and a negative one to positive in silence.
    for kind, size, magic in ((nib.Nifti1Header, _NIFTI1, b"n+1"), (nib.Nifti2Header, _NIFTI2, b"n+2")):
        if len(block) < size:
            raise damaged(path, EOFError(f"only {len(block)} bytes" if block else "it is empty"))
        if {int.from_bytes(block[:4], order) for order in ("little", "big")} & {size}:
            header = kind(block[:size], check=False)
            if not bytes(header["magic"]).startswith(magic):
                cure = "export it as one .nii or .nii.gz file"
                raise VolumeError("damaged", "header and voxels in one NIfTI file", f"{path} is half of a pair", cure)
            return header
    raise VolumeError("damaged", "a NIfTI file", f"{path} is no NIfTI file", "export it as NIfTI (.nii.gz)")


def _shape(path: Path, header: nib.Nifti1Header) -> Shape:
    count = int(header["dim"][0])
    shape = tuple(int(size) for size in header["dim"][1 : count + 1]) if 1 <= count <= 7 else ()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        cure = "split or squeeze the file into 3D volumes"
        raise VolumeError("dimensions", "one 3D volume (X, Y, Z)", f"shape {shape} in {path}", cure)
    return shape[0], shape[1], shape[2]


def _dtype(path: Path, header: nib.Nifti1Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):  # a code without a type, or one that the standard does not know
        dtype = np.dtype("V")
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        names = {"c": "complex numbers", "f": "128-bit numbers"}
        got = names.get(dtype.kind, "colours" if dtype.fields else f"type code {int(header['datatype'])}")
        raise VolumeError("voxel_type", "one real number a voxel", f"{got} in {path}", "export one channel as integers")
    return dtype


def _unit(header: nib.Nifti1Header) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:  # a code that the standard does not know
        return "unknown"


def _offset(path: Path, header: nib.Nifti1Header) -> int:
    offset = float(header["vox_offset"])
    if not 0 <= offset < 2**31:
        raise damaged(path, ValueError(f"voxels at byte {offset:g}"))
    return max(int(offset), header.single_vox_offset)  # some writers leave it at zero


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
    """The error of a file that cannot be read to its end."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    got = f"{path} is damaged or cut short ({reason})"
    return VolumeError("damaged", "a whole, readable NIfTI file", got, "copy or export the file again")


def _spacing_um(pixdim: np.ndarray, unit: str) -> tuple[Spacing, float]:
    """Voxel size in micrometre, and the factor that made it so."""
    # float32 in the file: 0.994 comes back as 0.99400001.
    spacing = [float(f"{float(size):.6g}") for size in pixdim]
    if unit == "meter":
        factor = 1e6
    elif unit == "mm" and min(spacing) < _LARGEST_SPACING_MM:
        factor = 1e3
    else:
        # Unset, micron, or the "mm" that many writers put on every file: the number is micrometre.
        factor = 1.0
    x, y, z = (float(f"{size * factor:.6g}") for size in spacing)
    return (x, y, z), factor
