"""Numbers of a vessel graph: per segment and per volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from numpy.typing import NDArray

from minivess.morphometry.graph import Segment, VesselGraph

TISSUE_QUANTILES = (0.5, 0.95)


@dataclass(frozen=True)
class SegmentMeasures:
    """Numbers of one segment.

    Attributes:
        length_um: Length along the centreline.
        chord_um: Distance between its ends.
        tortuosity: Length divided by this distance; 1 is straight, NaN for a ring.
        diameter_um: Mean diameter, outside of the vessels at its ends.
        diameter_sd_um: Standard deviation of the diameter along it.
        volume_um3: Volume of the tube with these diameters.
        depth_um: Mean depth below the first slice.
    """

    length_um: float
    chord_um: float
    tortuosity: float
    diameter_um: float
    diameter_sd_um: float
    volume_um3: float
    depth_um: float


@dataclass(frozen=True)
class VolumeMeasures:
    """Numbers of one volume.

    Attributes:
        volume_mm3: Size of the volume.
        volume_fraction: Share of the voxels that is vessel.
        length_um: Length of all segments.
        length_density_mm_per_mm3: Length divided by the size of the volume.
        segments: Number of segments.
        segments_per_mm3: Their density.
        branch_points: Number of branch points.
        branch_points_per_mm3: Their density.
        ends: Number of ends inside the volume.
        cut_ends: Number of ends where a vessel leaves the volume.
        loops: Number of independent loops.
        mean_diameter_um: Mean diameter, weighted by length.
        median_diameter_um: Median diameter, weighted by length.
        median_tissue_distance_um: Median distance from tissue to the nearest vessel.
        p95_tissue_distance_um: 95th percentile of this distance.
    """

    volume_mm3: float
    volume_fraction: float
    length_um: float
    length_density_mm_per_mm3: float
    segments: int
    segments_per_mm3: float
    branch_points: int
    branch_points_per_mm3: float
    ends: int
    cut_ends: int
    loops: int
    mean_diameter_um: float
    median_diameter_um: float
    median_tissue_distance_um: float
    p95_tissue_distance_um: float


def measure_segment(segment: Segment, graph: VesselGraph) -> SegmentMeasures:
    """Measure a segment. Diameters are taken outside of the vessels at its ends, where that leaves a part of it."""
    radius_um = segment.radius_um[own_part(segment, graph)]
    length_um, chord_um = segment.length_um, segment.chord_um
    return SegmentMeasures(
        length_um=length_um,
        chord_um=chord_um,
        tortuosity=length_um / chord_um if chord_um > 0 else float("nan"),
        diameter_um=float(2 * radius_um.mean()),
        diameter_sd_um=float(2 * radius_um.std()),
        volume_um3=float(np.pi * (radius_um**2).mean() * length_um),
        depth_um=float(segment.points_um[:, 2].mean()),
    )


def own_part(segment: Segment, graph: VesselGraph) -> NDArray[np.bool_]:
    """Return which points of a segment are outside of the vessels and of the round tips at its ends; all if none is."""
    outside = np.ones(len(segment.points_um), bool)
    for node in (graph.nodes[number] for number in segment.nodes):
        if node.kind != "cut":
            inside_um = node.radius_um if node.kind == "branch" else float(np.median(segment.radius_um))
            outside &= np.linalg.norm(segment.points_um - node.position_um, axis=1) > inside_um
    return outside if outside.any() else np.ones(len(segment.points_um), bool)


def diameters(graph: VesselGraph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return diameters along all segments and the length in micrometre that each of them stands for."""
    values, weights = [np.empty(0)], [np.empty(0)]
    for segment in graph.segments:
        own = own_part(segment, graph)
        values.append(2 * segment.radius_um[own])
        weights.append(np.full(np.count_nonzero(own), segment.length_um / np.count_nonzero(own)))
    return np.concatenate(values), np.concatenate(weights)


def measure_volume(graph: VesselGraph, mask: NDArray[np.bool_]) -> VolumeMeasures:
    """Measure a volume.

    Args:
        graph: The graph of the mask.
        mask: (X, Y, Z) bool.
    """
    size_mm3 = float(np.prod(graph.spacing_um)) * mask.size / 1e9
    kinds = [node.kind for node in graph.nodes]
    values, weights = diameters(graph)
    length_um = sum(segment.length_um for segment in graph.segments)
    near, far = tissue_distances(mask, graph.spacing_um)
    return VolumeMeasures(
        volume_mm3=size_mm3,
        volume_fraction=float(mask.mean()),
        length_um=length_um,
        length_density_mm_per_mm3=length_um / 1e3 / size_mm3,
        segments=len(graph.segments),
        segments_per_mm3=len(graph.segments) / size_mm3,
        branch_points=kinds.count("branch"),
        branch_points_per_mm3=kinds.count("branch") / size_mm3,
        ends=kinds.count("end"),
        cut_ends=kinds.count("cut"),
        loops=graph.loops,
        mean_diameter_um=float(np.average(values, weights=weights)) if len(values) else float("nan"),
        median_diameter_um=weighted_median(values, weights),
        median_tissue_distance_um=near,
        p95_tissue_distance_um=far,
    )


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value that half of the weight does not exceed; NaN without values."""
    if not len(values):
        return float("nan")
    order = np.argsort(values)
    return float(values[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])


def tissue_distances(mask: NDArray[np.bool_], spacing_um: Sequence[float]) -> tuple[float, float]:
    """Return median and 95th percentile of the distance from voxels outside of vessels to the nearest vessel, in µm."""
    if not mask.any() or mask.all():
        return float("nan"), float("nan")
    distance = edt.edt(np.asfortranarray(~mask), anisotropy=tuple(spacing_um), black_border=False, parallel=1)
    near, far = np.quantile(distance[~mask], TISSUE_QUANTILES)
    return float(near), float(far)
