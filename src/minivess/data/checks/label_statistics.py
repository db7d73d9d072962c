"""What a label holds, counted as it streams by."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_WRONG_VALUES = 6


@dataclass(frozen=True)
class LabelCounts:
    """A label's voxels.

    Attributes:
        voxels: All of them.
        foreground: Those that are neither 0 nor NaN.
        nan: Those that are not a number.
        wrong: Some of the values other than 0, 1 and NaN, ascending; empty in a good label.
        checksum: CRC-32 of the voxels; equal labels of one type have equal ones.
    """

    voxels: int
    foreground: int
    nan: int
    wrong: tuple[float, ...]
    checksum: int

    @property
    def fraction(self) -> float:
        """Share of foreground."""
        return self.foreground / self.voxels


def count_label(blocks: Iterable[np.ndarray]) -> LabelCounts:
    """Count a label given in flat pieces of any real type."""
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
