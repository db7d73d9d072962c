"""Statistics of a streamed label: its voxels, foreground, NaN, values, and how much of it is known."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minivess.data.label_values import LabelBlock

_VALUES = 6


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the voxels of one label.

    Attributes:
        voxels: Number of voxels.
        foreground: Number of known voxels that are neither 0 nor NaN.
        nan: Number of NaN voxels.
        values: Up to six values of known voxels other than 0 and NaN, ascending.
        checksum: CRC-32 of the label as the store has it; equal for labels of any type with the same foreground and the
            same unknown voxels.
        known: Number of voxels that are not unknown.
        labelled_slices: Number of slices along Z with a known voxel.
    """

    voxels: int
    foreground: int
    nan: int
    values: tuple[float, ...]
    checksum: int
    known: int
    labelled_slices: int

    @property
    def fraction(self) -> float:
        """Share of foreground voxels among the known voxels, from 0 to 1; 0 if no voxel is known."""
        return self.foreground / self.known if self.known else 0.0


def count_label(blocks: Iterable[np.ndarray], ignore_value: int | None = None, slice_voxels: int = 1) -> LabelCounts:
    """Count the voxels of a label.

    Args:
        blocks: The label as flat blocks of any real data type.
        ignore_value: Value of unknown voxels; None if every voxel is known.
        slice_voxels: Voxels of a slice along Z.
    """
    voxels = foreground = nan = checksum = known = 0
    values: set[float] = set()
    labelled: set[int] = set()
    for block in blocks:
        parts = LabelBlock.of(block, ignore_value)
        mask = parts.vessel
        checksum = zlib.crc32(parts.stored().data, checksum)
        if parts.unknown is None:
            known += block.size
        else:
            known += block.size - int(np.count_nonzero(parts.unknown))
            labelled |= _slices_of(~parts.unknown, voxels, slice_voxels)
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
    slices = len(labelled) if ignore_value is not None else -(-voxels // slice_voxels)
    return LabelCounts(voxels, foreground - nan, nan, tuple(sorted(values)[:_VALUES]), checksum, known, slices)


def _slices_of(known: np.ndarray, first: int, slice_voxels: int) -> set[int]:
    """Numbers of the slices with a known voxel, in a flat block whose first voxel has the number ``first``."""
    flat = known.ravel()
    numbers = range(first // slice_voxels, (first + flat.size - 1) // slice_voxels + 1)
    return {
        number
        for number in numbers
        if flat[max(number * slice_voxels - first, 0) : (number + 1) * slice_voxels - first].any()
    }
