"""Distances between the borders of two masks, in the unit of the spacing that is passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

_ROUNDING = 1 + 1e-9  # 3 voxels of 0.2 are "within" 0.6, whatever the last bit says


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
    shape = np.maximum(prediction_border.max(axis=0), reference_border.max(axis=0)) + 1
    prediction, reference = (np.ravel_multi_index(border.T, shape) for border in (prediction_border, reference_border))
    return SurfaceDistances(
        _nearest(prediction_border, reference_border, np.isin(prediction, reference, assume_unique=True), spacing),
        _nearest(reference_border, prediction_border, np.isin(reference, prediction, assume_unique=True), spacing),
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


def _nearest(
    points: NDArray[np.intp], others: NDArray[np.intp], shared: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.float64]:
    distances, apart = np.zeros(len(points)), ~shared
    if apart.any():
        # 64: an all-foreground prediction (flat faces, far away) is answered three times faster than with the default 16
        tree = cKDTree(others * np.asarray(spacing), leafsize=64, compact_nodes=False)
        distances[apart] = tree.query(points[apart] * np.asarray(spacing), workers=1)[0]
    return distances
