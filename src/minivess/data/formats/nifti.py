"""The voxels of NIfTI files, in and out."""

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
    """Stream the stored numbers in the file's order (X fastest) as flat arrays of ``Header.block_dtype``, not scaled.

    Args:
        path: The file.
        header: As ``read_header`` gave it.
        digest: Fed every byte of the file as stored; whole when the last block has been taken.

    Raises:
        VolumeError: The file is damaged or cut short.
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
                with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which the checks report
                    numbers = np.frombuffer(block, stored).astype(header.block_dtype, copy=False)
                yield numbers
            reader.drain()
    except (OSError, EOFError) as error:
        raise damaged(path, error) from error


def read_volume(path: Path) -> np.ndarray:
    """Read the voxels (X, Y, Z), X fastest, in the type that ``Header.read_dtype`` says.

    Raises:
        VolumeError: As ``read_header``; also where the file is damaged or cut short.
    """
    header = read_header(path)
    flat = np.empty(header.voxels, header.read_dtype)
    done = 0
    for block in read_blocks(path, header):
        flat[done : done + block.size] = scale(block, header)
        done += block.size
    return flat.reshape(header.shape, order="F")


def scale(block: np.ndarray, header: Header) -> np.ndarray:
    """The values that stored numbers stand for: the numbers themselves, or float32 where the header scales them."""
    if not header.is_scaled:
        return block
    slope, intercept = header.scaling
    with np.errstate(over="ignore", invalid="ignore"):
        return (block * slope + intercept).astype(np.float32)


def write_volume(
    path: Path, array: np.ndarray, *, spacing_um: tuple[float, float, float], affine: np.ndarray | None = None
) -> None:
    """Write ``array`` (X, Y, Z) atomically, unit micron; the affine is the diagonal of the spacing where none is given."""
    image = nib.Nifti1Image(array, np.diag([*spacing_um, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("micron", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
