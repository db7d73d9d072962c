"""Read and write the voxels of NIfTI files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from minivess.atomic import atomic_path
from minivess.data.formats.gzip_stream import Digest, StoredReader
from minivess.data.formats.nifti_header import Header, damaged, read_header

__all__ = ["read_blocks", "read_header", "read_volume", "scale", "write_volume"]

_BLOCK_BYTES = 2**20


def read_blocks(path: Path, header: Header, digest: Digest | None = None) -> Iterator[np.ndarray]:
    """Stream the stored numbers of a file in blocks, without applying slope and intercept.

    Args:
        path: The file.
        header: Header of the file, from ``read_header``.
        digest: Hash object that receives every byte of the file as stored; complete after the last block.

    Yields:
        1D arrays of type ``Header.block_dtype``, in the order of the file (X fastest).

    Raises:
        VolumeError: The file is damaged or truncated.
    """
    stored = np.dtype(header.stored_dtype)
    missing = header.voxels * stored.itemsize
    try:
        with path.open("rb") as file:
            reader = StoredReader(file, digest)
            reader.read(header.offset)
            while missing:
                block = reader.read(min(missing, _BLOCK_BYTES))
                if len(block) % stored.itemsize or not block:
                    raise EOFError(f"{missing - len(block)} bytes of voxels are missing")
                missing -= len(block)
                # A float64 outside the range of float32 becomes infinite, which the checks report.
                with np.errstate(over="ignore"):
                    numbers = np.frombuffer(block, stored).astype(header.block_dtype, copy=False)
                yield numbers
            reader.drain()
    except (OSError, EOFError) as error:
        raise damaged(path, error) from error


def read_volume(path: Path | str) -> np.ndarray:
    """Read all voxels of a file, with slope and intercept applied.

    Returns:
        Array (X, Y, Z) of type ``Header.read_dtype``, X fastest.

    Raises:
        VolumeError: The header is not usable (see ``read_header``), or the file is damaged or truncated.
    """
    path = Path(path)
    header = read_header(path)
    flat = np.empty(header.voxels, header.read_dtype)
    done = 0
    for block in read_blocks(path, header):
        flat[done : done + block.size] = scale(block, header)
        done += block.size
    return flat.reshape(header.shape, order="F")


def scale(block: np.ndarray, header: Header) -> np.ndarray:
    """Apply the header's slope and intercept; return float32, or ``block`` itself if the header has no scaling."""
    if not header.is_scaled:
        return block
    slope, intercept = header.scaling
    with np.errstate(over="ignore", invalid="ignore"):
        return (block * slope + intercept).astype(np.float32)


def write_volume(
    path: Path, array: np.ndarray, *, spacing_um: tuple[float, float, float], affine: np.ndarray | None = None
) -> None:
    """Write a NIfTI-1 file with the unit micron; the file appears complete or not at all.

    Args:
        path: The new file, ``.nii`` or ``.nii.gz``.
        array: Voxels (X, Y, Z).
        spacing_um: Voxel size along X, Y, Z in micrometres; used only if there is no ``affine``.
        affine: Voxel-to-world matrix (4, 4) in micrometres; None for a diagonal matrix of the spacing.
    """
    image = nib.Nifti1Image(array, np.diag([*spacing_um, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("micron", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
