"""Distances between the borders of two masks, in the unit of the spacing that is passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_ROUNDING = 1 + 1e-9  # 3 voxels of 0.2 are "within" 0.6, whatever the last bit says

_AT_A_TIME = 2**16
"""Voxels that ask a tree at once: asked all together they take 56 bytes each, which a speckled mask has many of."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """For each border voxel of one mask the distance to the nearest border voxel of the other, both ways."""

    from_prediction: NDArray[np.float64]
    from_reference: NDArray[np.float64]


def border(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Voxels of the mask with a 6-neighbour outside of it, as indices of shape (N, 3); beyond the array is outside."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        here, there = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[0] = here[-1] = False
    return np.argwhere(mask & ~inside)


def surface_distances(
    prediction_border: NDArray[np.intp], reference_border: NDArray[np.intp], spacing: Sequence[float]
) -> SurfaceDistances:
    """Nearest distances between two borders, neither of them empty; a spacing of (1, 1, 1) gives them in voxels.

    By k-d trees of the border voxels: the values of two Euclidean distance transforms of the volume at a tenth of the
    time and memory. Voxels that both borders share are 0 apart and ask no tree.
    """
    prediction_apart, reference_apart = _apart(prediction_border, reference_border)
    return SurfaceDistances(
        _nearest(prediction_border, prediction_apart, reference_border, spacing),
        _nearest(reference_border, reference_apart, prediction_border, spacing),
    )


def measured_masd(distances: SurfaceDistances) -> float:
    """Mean average surface distance: half the sum of the two mean distances."""
    return float(distances.from_prediction.mean() + distances.from_reference.mean()) / 2


def hausdorff_95(distances: SurfaceDistances) -> float:
    """The larger of the two 95th percentiles of the distances."""
    return float(max(np.percentile(distances.from_prediction, 95), np.percentile(distances.from_reference, 95)))


def normalised_surface_distance(distances: SurfaceDistances, tolerance: float) -> float:
    """Share of both borders that lies within the tolerance of the other (Nikolov et al. 2021); 1 is best."""
    both = np.concatenate([distances.from_prediction, distances.from_reference])
    return float((both <= tolerance * _ROUNDING).mean())


def _apart(first: NDArray[np.intp], second: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of each border that the other does not have."""
    shape = np.maximum(first.max(axis=0), second.max(axis=0)) + 1
    one, other = (np.ravel_multi_index(border.T, shape) for border in (first, second))
    return (
        np.flatnonzero(np.isin(one, other, assume_unique=True, invert=True)),
        np.flatnonzero(np.isin(other, one, assume_unique=True, invert=True)),
    )


def _nearest(
    points: NDArray[np.intp], apart: NDArray[np.intp], others: NDArray[np.intp], spacing: Sequence[float]
) -> NDArray[np.float64]:
    distances = np.zeros(len(points))
    if apart.size:
        # 64: an all-foreground prediction (flat faces, far away) is answered three times faster than with the default 16.
        # C: where voxels lie in the order that argwhere gives, the tree would keep a copy.
        tree = cKDTree(np.multiply(others, spacing, order="C"), leafsize=64, compact_nodes=False)
        for first in range(0, apart.size, _AT_A_TIME):
            some = apart[first : first + _AT_A_TIME]
            distances[some] = tree.query(points[some] * np.asarray(spacing), workers=1)[0]
    return distances
