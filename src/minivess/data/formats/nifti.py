"""Read and write the voxels of NIfTI files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from minivess.atomic import atomic_path
from minivess.data.formats.gzip_stream import Digest, StoredReader
from minivess.data.formats.nifti_header import TRAILING_BYTES, Header, damaged, read_header, require_length

__all__ = ["read_blocks", "read_header", "read_volume", "scale", "write_volume"]

_BLOCK_BYTES, _FIRST_VOXELS = 2**20, 2**22


def read_blocks(
    path: Path, header: Header, digest: Digest | None = None, found_surplus: Callable[[], object] = lambda: None
) -> Iterator[np.ndarray]:
    """Stream the stored numbers of a file in blocks, without applying slope and intercept.

    At most a megabyte is decompressed after the last voxel. So the header, not the file, bounds time and memory.

    Args:
        path: The file.
        header: Header of the file, from ``read_header``.
        digest: Hash object that receives every byte of the file as stored; complete after the last block.
        found_surplus: Called after the last block if the content goes on for a megabyte or more.

    Yields:
        1D arrays of the stored type in the byte order of the machine, in the order of the file (X fastest).

    Raises:
        VolumeError: The file is damaged or truncated.
    """
    require_length(path, header)
    stored = np.dtype(header.stored_dtype)
    missing = header.voxels * stored.itemsize
    try:
        with path.open("rb") as file:
            reader = StoredReader(file, digest)
            reader.skip(header.offset)
            while missing:
                block = reader.read(min(missing, _BLOCK_BYTES))
                if len(block) % stored.itemsize or not block:
                    raise EOFError(f"{missing - len(block)} bytes of voxels are missing")
                missing -= len(block)
                yield np.frombuffer(block, stored).astype(header.dtype, copy=False)
            if reader.skip(TRAILING_BYTES) == TRAILING_BYTES:
                reader.drain_stored()
                found_surplus()
    except (OSError, EOFError) as error:
        raise damaged(path, error) from error


def read_volume(path: Path | str, *, exact: bool = False) -> np.ndarray:
    """Read all voxels of a file, with slope and intercept applied.

    Args:
        path: The file.
        exact: Whether scaled voxels and 8-byte numbers become float64 instead of float32.

    Returns:
        Array (X, Y, Z) of type ``Header.read_dtype``, X fastest.

    Raises:
        VolumeError: The header is not usable (see ``read_header``), or the file is damaged or truncated.
    """
    path = Path(path)
    header = read_header(path)
    require_length(path, header)
    flat = np.empty(min(header.voxels, _FIRST_VOXELS), header.read_dtype(exact))
    done = 0
    for block in read_blocks(path, header):
        if done + block.size > flat.size:  # memory grows with what the file contains, whatever its header says
            flat.resize(min(2 * flat.size, header.voxels), refcheck=False)
        flat[done : done + block.size] = scale(block, header, exact=exact)
        done += block.size
    return flat.reshape(header.shape, order="F")


def scale(block: np.ndarray, header: Header, *, exact: bool = False) -> np.ndarray:
    """Apply the header's slope and intercept, and convert to ``Header.read_dtype``.

    Args:
        block: Stored numbers, from ``read_blocks``.
        header: Header of their file.
        exact: See ``read_volume``.
    """
    slope, intercept = header.scaling
    # A number outside the range of float32 becomes infinite, which the checks report.
    with np.errstate(over="ignore", invalid="ignore"):
        if header.is_scaled:
            block = (block.astype(np.float64) if exact else block) * slope + intercept
        return block.astype(header.read_dtype(exact), copy=False)


def write_volume(path: Path, array: np.ndarray, *, spacing_um: tuple[float, float, float]) -> None:
    """Write a NIfTI-1 file with the unit micron; the file appears complete or not at all.

    Args:
        path: The new file, ``.nii`` or ``.nii.gz``.
        array: Voxels (X, Y, Z).
        spacing_um: Voxel size along X, Y, Z in micrometres; the affine is the diagonal matrix of it.
    """
    image = nib.Nifti1Image(array, np.diag([*spacing_um, 1.0]), dtype=array.dtype)
    image.header.set_xyzt_units("micron", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
