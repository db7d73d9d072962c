"""A streamed label as one bit per voxel: small enough to keep a whole volume in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minivess.data.formats.nifti import read_blocks, scale
from minivess.data.formats.nifti_header import read_header
from minivess.errors import DataError


class LabelBits:
    """Collects the foreground of a label block by block. Memory grows with the voxels that have arrived."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._rest = np.zeros(0, bool)

    def take(self, block: NDArray) -> None:
        """Add the next voxels of the label; whatever is not 0 is foreground."""
        mask = np.concatenate([self._rest, block != 0]) if self._rest.size else block != 0
        whole = mask.size // 8 * 8
        self._bytes += np.packbits(mask[:whole], bitorder="little").tobytes()
        self._rest = mask[whole:]

    def packed(self, shape: Sequence[int]) -> NDArray[np.uint8]:
        """Return the label as a packed mask (see ``minivess.topology.packed``) with the axes Z, Y, X.

        Args:
            shape: Voxels along X, Y, Z; X is fastest in the blocks.

        Returns:
            (Z + 2, Y + 2, bytes of a row) uint8. Voxel (x, y, z) is bit ``x % 8`` of ``packed[z + 1, y + 1, x // 8]``.
        """
        from minivess.topology.packed import empty  # here, because Numba takes a second, which headers do not need

        x, y, z = shape
        stored = np.frombuffer(bytes(self._bytes) + np.packbits(self._rest, bitorder="little").tobytes(), np.uint8)
        packed = empty((z, y, x))
        for number in range(z):
            first = number * x * y
            bits = np.unpackbits(stored[first // 8 : -(-(first + x * y) // 8)], bitorder="little")
            rows = bits[first % 8 :][: x * y].reshape(y, x)
            packed[number + 1, 1:-1, : -(-x // 8)] = np.packbits(rows, axis=1, bitorder="little")
        return packed


def read_packed(path: Path, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Read a label file as ``LabelBits.packed``.

    Args:
        path: The label.
        shape: Its voxels along X, Y, Z.

    Raises:
        DataError: The file cannot be read, or it has another shape.
    """
    header, bits = read_header(path), LabelBits()
    if header.shape != tuple(shape):
        raise DataError(f"a label of {tuple(shape)} voxels", f"{header.shape} in {path}", "restore the file")
    for block in read_blocks(path, header):
        bits.take(scale(block, header))
    return bits.packed(header.shape)


def unpack(packed: NDArray[np.uint8], low: Sequence[int], high: Sequence[int]) -> NDArray[np.bool_]:
    """Return the voxels of a box as an array.

    Args:
        packed: A label from ``LabelBits.packed``.
        low: Lowest voxel of the box along X, Y, Z.
        high: Voxel after its last one; the box lies within the label.

    Returns:
        (X, Y, Z) bool.
    """
    part = packed[low[2] + 1 : high[2] + 1, low[1] + 1 : high[1] + 1]
    return np.unpackbits(part, axis=-1, bitorder="little")[..., low[0] : high[0]].transpose(2, 1, 0).astype(bool)
