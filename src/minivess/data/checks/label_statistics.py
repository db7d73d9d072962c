"""Statistics of a streamed label: its voxels, foreground, NaN and invalid values."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_WRONG_VALUES = 6


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the voxels of one label.

    Attributes:
        voxels: Number of voxels.
        foreground: Number of voxels that are neither 0 nor NaN.
        nan: Number of NaN voxels.
        wrong: Up to six values other than 0, 1 and NaN, ascending; empty if the label is valid.
        checksum: CRC-32 of the voxels; equal labels with one data type have equal checksums.
    """

    voxels: int
    foreground: int
    nan: int
    wrong: tuple[float, ...]
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
    wrong: set[float] = set()
    for block in blocks:
        checksum = zlib.crc32(block.data, checksum)
        voxels += block.size
        filled = int(np.count_nonzero(block))
        foreground += filled
        if int(np.count_nonzero(block == 1)) == filled:
            continue
        others = block[(block != 0) & (block != 1)]
        if others.dtype.kind == "f":
            unknown = np.isnan(others)
            nan += int(np.count_nonzero(unknown))
            others = others[~unknown]
        if len(wrong) < _WRONG_VALUES:
            wrong |= set(np.unique(others)[:_WRONG_VALUES].tolist())
    return LabelCounts(voxels, foreground - nan, nan, tuple(sorted(wrong)[:_WRONG_VALUES]), checksum)
