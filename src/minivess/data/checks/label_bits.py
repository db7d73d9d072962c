"""A streamed label as one bit per voxel: small enough to keep a whole volume in memory."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minivess.data.formats.nifti import read_blocks, scale
from minivess.data.formats.nifti_header import read_header
from minivess.errors import DataError

_WORD = 32
_LITTLE = sys.byteorder == "little"


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

    def words(self, shape: Sequence[int]) -> NDArray[np.uint32]:
        """Return the label as rows along X, with a border of one background voxel on each side.

        Args:
            shape: Voxels along X, Y, Z; X is fastest in the blocks.

        Returns:
            (Z + 2, Y + 2, words per row) uint32. Voxel (x, y, z) is bit ``(x + 1) % 32`` of
            ``words[z + 1, y + 1, (x + 1) // 32]``.
        """
        x, y, z = shape
        stored = np.frombuffer(bytes(self._bytes) + np.packbits(self._rest, bitorder="little").tobytes(), np.uint8)
        words = np.zeros((z + 2, y + 2, -(-(x + 2) // _WORD)), np.uint32)
        rows = np.zeros((y + 2, _WORD * words.shape[2]), bool)
        for number in range(z):
            first = number * x * y
            bits = np.unpackbits(stored[first // 8 : -(-(first + x * y) // 8)], bitorder="little")
            rows[1:-1, 1 : x + 1] = bits[first % 8 :][: x * y].reshape(y, x)
            packed = np.packbits(rows, axis=1, bitorder="little").view(np.uint32)
            words[number + 1] = packed if _LITTLE else packed.byteswap()
        return words


def read_words(path: Path, shape: Sequence[int]) -> NDArray[np.uint32]:
    """Read a label file as ``LabelBits.words``.

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
    return bits.words(header.shape)


def unpack(words: NDArray[np.uint32], low: Sequence[int], high: Sequence[int]) -> NDArray[np.bool_]:
    """Return the voxels of a box as an array.

    Args:
        words: A label from ``LabelBits.words``.
        low: Lowest voxel of the box along X, Y, Z.
        high: Voxel after its last one; the box lies within the label.

    Returns:
        (X, Y, Z) bool.
    """
    part = np.ascontiguousarray(words[low[2] + 1 : high[2] + 1, low[1] + 1 : high[1] + 1])
    bits = np.unpackbits((part if _LITTLE else part.byteswap()).view(np.uint8), axis=-1, bitorder="little")
    return bits[..., low[0] + 1 : high[0] + 1].transpose(2, 1, 0).astype(bool)
