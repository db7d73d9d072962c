"""Read and validate the header of a NIfTI file before any voxel is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from minivess.data.formats.gzip_stream import longest_content, peek
from minivess.data.formats.nifti_orientation import Source, repair_orientation
from minivess.errors import DataError, in_utf8
from minivess.findings import Finding
from minivess.geometry import Shape, Spacing
from minivess.text import format_bytes, format_shape

# In millimetres; 0.02 mm = 20 µm is coarse for two-photon microscopy. A smaller number with the unit "mm" is really in
# millimetres; a larger one is in micrometres, and its unit is wrong.
_LARGEST_SPACING_MM = 0.02
_NIFTI1, _NIFTI2 = 348, 540
TRAILING_BYTES = 2**20
"""Number of bytes after the voxels up to which they are not worth a finding."""
_LINE_ENDS = (13, 10, 26, 10)
"""The four bytes after the name of a NIfTI-2 file."""


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
        affine: Voxel-to-world matrix (4, 4) as rows, in the unit of the header; a diagonal matrix of the voxel size if the
            header gives no orientation.
        orientation: Where the affine comes from: "sform", "qform" or "none".
        orientation_fault: What was wrong with the orientation, and was repaired or ignored; empty if nothing was.
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
    orientation: Source
    orientation_fault: str
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
    def stored_end(self) -> int:
        """Position of the end of the last voxel in the decompressed file, in bytes."""
        return self.offset + self.voxels * np.dtype(self.dtype).itemsize

    def read_dtype(self, exact: bool = False) -> np.dtype:
        """Type of the result of ``read_volume``.

        It is the stored type. Scaled voxels and 8-byte numbers become float32, or float64 if ``exact`` is set.
        """
        dtype = np.dtype(self.dtype)
        if self.is_scaled or dtype.itemsize > 4:
            return np.dtype(np.float64 if exact else np.float32)
        return dtype

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
        got = f"{format_shape(spacing)} in {path}"
        raise VolumeError("voxel_size", "a voxel size above zero", got, "write the correct pixdim into the header")
    source, fault = repair_orientation(header)
    offset = _offset(path, header)
    surplus = (length - offset - math.prod(shape) * dtype.itemsize) % 2**32
    return Header(
        shape=shape,
        spacing_um=spacing,
        dtype=dtype.newbyteorder("=").name,
        affine=_affine(path, header, source),
        orientation=source,
        orientation_fault=fault,
        unit=unit,
        um_per_unit=um_per_unit,
        scaling=_scaling(path, header),
        stored_dtype=dtype.str,
        offset=offset,
        seems_whole=surplus < TRAILING_BYTES,
    )


def _peek(path: Path) -> tuple[bytes, int]:
    if in_utf8(path.name) != path.name:
        expected, cure = "a file name in UTF-8", "rename the file"
        raise VolumeError("name_letters", expected, str(path), cure)
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
            _require_line_ends(path, header)
            return header
    raise VolumeError("damaged", "a NIfTI file", f"{path} is not a NIfTI file", "export it as NIfTI (.nii.gz)")


def _require_line_ends(path: Path, header: nib.Nifti1Header) -> None:
    """NIfTI-2 has line ends in its header, which a transfer as text changes, and with them the voxels."""
    ends = tuple(int(byte) for byte in header["eol_check"]) if "eol_check" in header.keys() else _LINE_ENDS  # noqa: SIM118
    if ends not in (_LINE_ENDS, (0, 0, 0, 0)):
        raise damaged(path, ValueError(f"the bytes {ends} after n+2 should be {_LINE_ENDS}"))


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


def _affine(path: Path, header: nib.Nifti1Header, source: Source) -> tuple[tuple[float, ...], ...]:
    try:
        # Without an orientation, nibabel would mirror X.
        affine = np.diag([*header["pixdim"][1:4], 1.0]) if source == "none" else header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        raise damaged(path, error) from error
    return tuple(tuple(float(value) for value in row) for row in affine)


def require_length(path: Path, header: Header) -> None:
    """Require that the file can contain as many bytes as its header says, before memory is used for them.

    Raises:
        VolumeError: The file is too short, or cannot be read.
    """
    try:
        longest = longest_content(path)
    except OSError as error:
        raise damaged(path, error) from error
    if header.stored_end > longest:
        size = format_bytes(header.stored_end)
        raise damaged(path, EOFError(f"the header says {size}, more than the file can contain"))


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
