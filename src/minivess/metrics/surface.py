"""Distances between the borders of two masks, in the unit of the spacing argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minivess.metrics.nearest import nearest_distances
from minivess.topology.packed import border as packed_border
from minivess.topology.packed import extent_of, indices, pack, pack_voxels

_ROUNDING = 1 + 1e-6
"""Allows for rounding: 3 x 0.2 is slightly above 0.6, more so from a transform in float32, but is within 0.6."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distance of every border voxel of each mask to the nearest border voxel of the other mask.

    Attributes:
        from_prediction: One distance per border voxel of the prediction, (N,).
        from_reference: One distance per border voxel of the reference, (M,).
    """

    from_prediction: NDArray[np.float64]
    from_reference: NDArray[np.float64]


def border(mask: NDArray[np.bool_], unknown: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """Find the voxels with a 6-neighbour outside the mask. Outside the array is outside the mask.

    Args:
        mask: (X, Y, Z) bool.
        unknown: (X, Y, Z) bool, True in voxels of which nothing is known; False wherever ``mask`` is True. An unknown
            neighbour makes no border: the cut between known and unknown is no surface of a vessel. If the whole mask
            is inside a vessel, so that nothing is left, its voxels at the cut are its border.

    Returns:
        Indices of the voxels, (N, 3).
    """
    packed = pack(mask)
    if unknown is None:
        return indices(packed_border(packed))
    edge = packed_border(packed | pack(unknown)) & packed
    return indices(edge if edge.any() else packed_border(packed))


def surface_distances(
    prediction_border: NDArray[np.integer], reference_border: NDArray[np.integer], spacing: Sequence[float]
) -> SurfaceDistances:
    """Compute the nearest distances between two borders.

    The values are those of two Euclidean distance transforms of the volume.

    Args:
        prediction_border: Voxel indices (N, 3) in the order of the array, not empty.
        reference_border: Voxel indices (M, 3) in the order of the array, not empty.
        spacing: Voxel size along X, Y and Z. (1, 1, 1) gives distances in voxels.
    """
    shape = extent_of(prediction_border, reference_border)
    prediction, reference = pack_voxels(prediction_border, shape), pack_voxels(reference_border, shape)
    return SurfaceDistances(
        nearest_distances(prediction_border, prediction, reference, shape[2], spacing),
        nearest_distances(reference_border, reference, prediction, shape[2], spacing),
    )


def measured_masd(distances: SurfaceDistances) -> float:
    """Mean average surface distance (MASD): half the sum of the two mean distances."""
    return float(distances.from_prediction.mean() + distances.from_reference.mean()) / 2


def hausdorff_95(distances: SurfaceDistances) -> float:
    """95 % Hausdorff distance: the larger of the two 95th percentiles of the distances."""
    return float(max(np.percentile(distances.from_prediction, 95), np.percentile(distances.from_reference, 95)))


def normalised_surface_distance(distances: SurfaceDistances, tolerance: float) -> float:
    """Share of the voxels of both borders within the tolerance of the other border (Nikolov et al. 2021); 1 is best.

    Args:
        distances: Distances between the two borders.
        tolerance: Tolerance in the unit of the distances.
    """
    both = np.concatenate([distances.from_prediction, distances.from_reference])
    return float((both <= tolerance * _ROUNDING).mean())
