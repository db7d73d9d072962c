"""Statistics of a streamed label: its voxels, foreground, NaN and values."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_VALUES = 6


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the voxels of one label.

    Attributes:
        voxels: Number of voxels.
        foreground: Number of voxels that are neither 0 nor NaN.
        nan: Number of NaN voxels.
        values: Up to six values other than 0 and NaN, ascending.
        checksum: CRC-32 of the foreground as bytes of 0 and 1; equal for labels of any type with the same foreground.
    """

    voxels: int
    foreground: int
    nan: int
    values: tuple[float, ...]
    checksum: int

    @property
    def fraction(self) -> float:
        """Share of foreground voxels, from 0 to 1."""
        return self.foreground / self.voxels


def count_label(blocks: Iterable[np.ndarray]) -> LabelCounts:
    """Count the voxels of a label.

    Args:
        blocks: The label as flat blocks of any real data type.
    """
    voxels = foreground = nan = checksum = 0
    values: set[float] = set()
    for block in blocks:
        mask = block != 0
        checksum = zlib.crc32(mask.data, checksum)
        voxels += block.size
        filled = int(np.count_nonzero(mask))
        foreground += filled
        if filled and int(np.count_nonzero(block == 1)) == filled:
            values.add(1.0)
        elif filled:
            others = block[mask]
            if others.dtype.kind == "f":
                unknown = np.isnan(others)
                nan += int(np.count_nonzero(unknown))
                others = others[~unknown]
            if len(values) < _VALUES:
                values |= set(np.unique(others)[:_VALUES].tolist())
    return LabelCounts(voxels, foreground - nan, nan, tuple(sorted(values)[:_VALUES]), checksum)
