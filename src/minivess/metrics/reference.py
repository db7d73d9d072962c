"""A mask with what scoring needs of it, computed only once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minivess.errors import DataError
from minivess.metrics.betti import BettiNumbers, betti_numbers
from minivess.metrics.overlap import centreline
from minivess.metrics.surface import border


@dataclass(frozen=True, eq=False)
class Reference:
    """A mask and its parts: made once of a label, then many predictions are scored against it.

    Attributes:
        mask: The whole volume, (X, Y, Z); not a copy where it came as bool.
        spacing_um: Voxel size along X, Y and Z, micrometre.
        voxels: Number of foreground voxels.
        centreline: Indices (N, 3) of its skeleton; without rows when the mask is empty, as is ``border``.
        border: Indices (N, 3) of its border.
        betti: Its Betti numbers.
    """

    mask: NDArray[np.bool_]
    spacing_um: tuple[float, float, float]
    voxels: int
    centreline: NDArray[np.intp]
    border: NDArray[np.intp]
    betti: BettiNumbers

    @classmethod
    def of(cls, mask: ArrayLike, spacing_um: Sequence[float]) -> Reference:
        """Prepare a mask.

        Args:
            mask: (X, Y, Z), bool or integer, foreground where not 0.
            spacing_um: Voxel size along X, Y and Z, micrometre.

        Raises:
            DataError: Not a three-dimensional mask of bool or integers, or not three positive spacings.
        """
        whole, spacing = _checked_mask(mask), checked_spacing(spacing_um)
        corner, part = _crop(whole)
        voxels = int(np.count_nonzero(part))
        nothing = np.empty((0, 3), np.intp)
        line, edge = (centreline(part) + corner, border(part) + corner) if voxels else (nothing, nothing)
        return cls(whole, spacing, voxels, line, edge, betti_numbers(part))

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """What was computed, without the mask, for ``np.savez``."""
        return {
            "voxels": np.array(self.voxels),
            "line": self.centreline,
            "edge": self.border,
            "betti": np.array(self.betti),
        }

    @classmethod
    def from_arrays(cls, mask: ArrayLike, spacing_um: Sequence[float], arrays: Mapping[str, NDArray[Any]]) -> Reference:
        """The inverse of ``as_arrays``, with the mask and the spacing that it was made of; raises as ``of`` does."""
        whole, spacing, betti = (
            _checked_mask(mask),
            checked_spacing(spacing_um),
            BettiNumbers(*arrays["betti"].tolist()),
        )
        return cls(whole, spacing, int(arrays["voxels"]), arrays["line"], arrays["edge"], betti)


def _checked_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.ndim != 3 or 0 in array.shape:
        raise DataError("a mask of shape (X, Y, Z)", f"shape {array.shape}", "drop the batch and channel axes")
    if array.dtype.kind not in "bui":
        raise DataError("a mask of bool or integers", str(array.dtype), "threshold it first, e.g. probability > 0.5")
    return array.astype(bool, copy=False)


def checked_spacing(spacing_um: Sequence[float]) -> tuple[float, float, float]:
    """Three positive voxel sizes as a tuple of floats, or a DataError."""
    spacing = tuple(float(size) for size in spacing_um)
    if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):
        raise DataError("three positive voxel sizes in micrometre", str(spacing), "check the header's spacing")
    return spacing


def _crop(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Lowest corner of the foreground's bounding box, and the mask within that box; an empty mask stays whole."""
    ranges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        ranges.append((occupied[0], occupied[-1] + 1) if len(occupied) else (0, mask.shape[axis]))
    return np.array([low for low, _ in ranges]), mask[tuple(slice(low, high) for low, high in ranges)]
