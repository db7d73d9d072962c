"""Smooth the staircase of a centreline in space, so that a slanted line has its true length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

SMOOTHING = 2.0
"""Standard deviation of the smoothing along a path, in voxels of the path and in voxel sizes of each axis."""

Points = NDArray[np.float64]


def smooth(points_um: Points, spacing_um: Sequence[float], *, closed: bool = False) -> Points:
    """Smooth a path of voxel centres and return points at even distances along it, about one smallest voxel apart.

    A coordinate is known to about a voxel along its axis and once for each voxel of the path. So all coordinates are first
    smoothed from voxel to voxel, and then those with larger voxels, usually Z, along the path in proportion to their voxel
    size. A Gaussian filter G would shorten a bend; 2 G - G G (Tukey's twicing) keeps its length up to the fourth order.
    The ends stay where they are.

    Args:
        points_um: Voxel centres (N, 3) in micrometre, in order; if closed, the first one is also the last one.
        spacing_um: Voxel size along X, Y and Z in micrometre.
        closed: Whether the path is a ring.
    """
    step_um = min(spacing_um)
    even = resample(_filtered(np.asarray(points_um, np.float64), [SMOOTHING] * 3, closed), step_um)
    further = [SMOOTHING * float(np.sqrt(max(0.0, (size / step_um) ** 2 - 1))) for size in spacing_um]
    return _filtered(even, further, closed) if any(further) else even


def _filtered(points_um: Points, sigmas: Sequence[float], closed: bool) -> Points:
    """Smooth each coordinate by its standard deviation, in points; 0 leaves it as it is."""
    last = len(points_um) - 1
    if last < 2:
        return points_um
    if closed:
        ring = _twice(points_um[:-1], sigmas, "wrap")
        return np.concatenate([ring, ring[:1]])
    # The path is continued on both sides by its mirror image through the end point, so that the ends do not move.
    before, after = 2 * points_um[0] - points_um[:0:-1], 2 * points_um[-1] - points_um[-2::-1]
    smoothed = _twice(np.concatenate([before, points_um, after]), sigmas, "nearest")[last : 2 * last + 1]
    smoothed[[0, -1]] = points_um[[0, -1]]
    return smoothed


def _twice(points_um: Points, sigmas: Sequence[float], mode: str) -> Points:
    columns = []
    for column, sigma in zip(points_um.T, sigmas, strict=True):
        once = gaussian_filter1d(column, sigma, mode=mode) if sigma else column
        columns.append(2 * once - gaussian_filter1d(once, sigma, mode=mode) if sigma else column)
    return np.column_stack(columns)


def resample(points_um: Points, step_um: float) -> Points:
    """Return points at even distances along a polyline, its ends included."""
    lengths = np.linalg.norm(np.diff(points_um, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    count = max(1, round(along[-1] / step_um))
    wanted = np.linspace(0.0, along[-1], count + 1)
    return np.column_stack([np.interp(wanted, along, axis) for axis in points_um.T])


def path_length(points_um: Points) -> float:
    """Return the length of a polyline in micrometre."""
    return float(np.linalg.norm(np.diff(points_um, axis=0), axis=1).sum())
