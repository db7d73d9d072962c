"""A mask together with everything that scoring needs from it, computed once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minivess.errors import DataError
from minivess.metrics.betti import BettiNumbers, betti_numbers
from minivess.metrics.centreline import centreline, lee_skeleton
from minivess.metrics.surface import border

_VERSION = 2
"""Version of what is computed from a mask. Increase it when a value or an array changes, so that kept arrays are not used again."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A mask with its centreline, skeleton, border and Betti numbers.

    A label is prepared once, and many predictions are scored against it. Unknown voxels are background here, and the
    cut between known and unknown voxels is no border (`minivess.metrics.surface.border`). So nothing depends on what a
    mask has in unknown voxels.

    Attributes:
        mask: The whole volume, (X, Y, Z) bool, False in unknown voxels; not copied if the input is bool and all known.
        spacing_um: Voxel size along X, Y and Z, in micrometres.
        voxels: Number of foreground voxels.
        centreline: Voxel indices (N, 3) of the complete centreline; N is 0 for an empty mask.
        skeleton: Voxel indices (N, 3) of scikit-image's Lee skeleton, which may lack vessels; N is 0 for an empty mask.
        border: Voxel indices (N, 3) of the border; N is 0 for an empty mask.
        betti: Betti numbers of the mask.
        known: (X, Y, Z) bool, False in unknown voxels; None if every voxel is known.
    """

    mask: NDArray[np.bool_]
    spacing_um: tuple[float, float, float]
    voxels: int
    centreline: NDArray[np.int32]
    skeleton: NDArray[np.int32]
    border: NDArray[np.int32]
    betti: BettiNumbers
    known: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, mask: ArrayLike, spacing_um: Sequence[float], known: NDArray[np.bool_] | None = None) -> Reference:
        """Compute the reference of a mask.

        Args:
            mask: (X, Y, Z), bool or integer, foreground if not 0.
            spacing_um: Voxel size along X, Y and Z, in micrometres.
            known: (X, Y, Z) bool, False in unknown voxels; None if every voxel is known.

        Raises:
            DataError: The mask is not three-dimensional or not of bool or integers, the spacing is not three positive
                numbers, or no voxel is known.
        """
        known = _checked_known(known)
        whole, spacing = _known_part(_checked_mask(mask), known), checked_spacing(spacing_um)
        corner, part = _crop(whole)
        part = np.ascontiguousarray(part)  # once: files are often read in the other memory order
        voxels = int(np.count_nonzero(part))
        line = skeleton = edge = np.empty((0, 3), np.int32)
        if voxels:
            line, skeleton = centreline(part, spacing), lee_skeleton(part)
            for found in (line, skeleton):
                found += corner
            edge = _border(whole, known, corner, part)
        return cls(whole, spacing, voxels, line, skeleton, edge, betti_numbers(part), known)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """The computed parts and the spacing, without the mask, as arrays for ``np.savez``."""
        return {
            "version": np.array(_VERSION),
            "spacing": np.array(self.spacing_um),
            "voxels": np.array(self.voxels),
            "line": self.centreline,
            "skeleton": self.skeleton,
            "edge": self.border,
            "betti": np.array(self.betti),
        }

    @classmethod
    def from_arrays(
        cls,
        mask: ArrayLike,
        spacing_um: Sequence[float],
        arrays: Mapping[str, NDArray[Any]],
        known: NDArray[np.bool_] | None = None,
    ) -> Reference:
        """Restore a reference from ``as_arrays``.

        Args:
            mask: The mask that the reference was computed from.
            spacing_um: Voxel size along X, Y and Z, in micrometres.
            arrays: Result of ``as_arrays``.
            known: (X, Y, Z) bool, False in unknown voxels; None if every voxel is known.

        Raises:
            DataError: The mask or the spacing is invalid, as in ``of``.
            KeyError: An array is missing, as in files of older versions.
            ValueError: The arrays were computed by another version or with another spacing.
        """
        known = _checked_known(known)
        whole, spacing = _known_part(_checked_mask(mask), known), checked_spacing(spacing_um)
        if arrays["version"] != _VERSION or tuple(arrays["spacing"]) != spacing:
            raise ValueError("computed by another version or with another spacing")
        line, skeleton, edge = arrays["line"], arrays["skeleton"], arrays["edge"]
        betti = BettiNumbers(*arrays["betti"].tolist())
        return cls(whole, spacing, int(arrays["voxels"]), line, skeleton, edge, betti, known)


def _checked_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.ndim != 3 or 0 in array.shape:
        raise DataError("a mask of shape (X, Y, Z)", f"shape {array.shape}", "drop the batch and channel axes")
    if array.dtype.kind not in "bui":
        raise DataError(
            "a mask of bool or integers", str(array.dtype), "apply a threshold first, e.g. probability > 0.5"
        )
    return array.astype(bool, copy=False)


def _checked_known(known: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if known is None or known.all():
        return None
    if not known.any():
        raise DataError("a label with a known voxel", "only unknown voxels", "label some voxels, or remove the case")
    return known


def _known_part(mask: NDArray[np.bool_], known: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    return mask if known is None else mask & known


def _border(
    whole: NDArray[np.bool_], known: NDArray[np.bool_] | None, corner: NDArray[np.intp], part: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Border of a mask, as indices in the volume, from its bounding box ``part`` at ``corner``."""
    if known is None:
        found, low = border(part), corner
    else:  # with one voxel around the box, which can be unknown
        low = np.maximum(corner - 1, 0)
        box = tuple(slice(first, last) for first, last in zip(low, corner + part.shape + 1, strict=True))
        found = border(np.ascontiguousarray(whole[box]), ~known[box])
    found += low
    return found


def checked_spacing(spacing_um: Sequence[float]) -> tuple[float, float, float]:
    """Check a voxel size and return it as a tuple of floats.

    Args:
        spacing_um: Voxel size along X, Y and Z, in micrometres.

    Raises:
        DataError: It is not three positive, finite numbers.
    """
    try:
        spacing = tuple(float(size) for size in spacing_um)
    except (TypeError, ValueError):  # a single number, None, or text
        spacing = ()
    if len(spacing) != 3 or not all(0 < size < math.inf for size in spacing):
        raise DataError("three positive voxel sizes in micrometres", str(spacing_um), "check the spacing in the header")
    return spacing


def _crop(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Lowest corner of the foreground's bounding box, and the mask within that box. An empty mask is not cropped."""
    ranges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        ranges.append((occupied[0], occupied[-1] + 1) if len(occupied) else (0, mask.shape[axis]))
    return np.array([low for low, _ in ranges]), mask[tuple(slice(low, high) for low, high in ranges)]
