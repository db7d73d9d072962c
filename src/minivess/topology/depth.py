"""The depth of a voxel: its distance to the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.simple_points import compiled

STEPS = 8
"""Depths are integers: multiples of this fraction of the smallest voxel size. Larger depths than 8191 voxels are cut."""


def depth_of(mask: NDArray[np.bool_], size: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Euclidean distance of each foreground voxel to the nearest background voxel, 0 in the background.

    Args:
        mask: (X, Y, Z) bool. The first and last slice along each axis are background.
        size: Voxel size along X, Y and Z, relative to the smallest one.

    Returns:
        (X, Y, Z), in steps of 1/`STEPS` of the smallest voxel size.
    """
    squared = np.zeros(mask.shape, np.float32)
    along_z, along_y, along_x = (float(extent) for extent in size[::-1])
    _squared_along_lines(mask, squared, along_z)
    _squared_within_slices(squared, along_y)
    _squared_within_slices(squared.swapaxes(0, 1), along_x)
    return _in_steps(squared)


@compiled
def _squared_along_lines(mask: NDArray[np.bool_], squared: NDArray[np.float32], size: float) -> None:
    for x in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            distance = np.float32(0)
            for z in range(mask.shape[2]):
                distance = distance + np.float32(size) if mask[x, y, z] else np.float32(0)
                squared[x, y, z] = distance
            distance = np.float32(0)
            for z in range(mask.shape[2] - 1, -1, -1):
                distance = distance + np.float32(size) if mask[x, y, z] else np.float32(0)
                if distance:
                    squared[x, y, z] = min(squared[x, y, z], distance) ** 2


@compiled
def _squared_within_slices(squared: NDArray[np.float32], size: float) -> None:
    """Continue the transform along the second axis: the minimum of ``squared + (size k)^2`` over all steps k."""
    last_y, last_z = squared.shape[1] - 1, squared.shape[2] - 1
    found = np.empty(squared.shape[1:], np.float32)
    for x in range(1, squared.shape[0] - 1):
        for y in range(1, last_y):
            for z in range(1, last_z):
                least = squared[x, y, z]
                step = 1
                while step * step * size * size < least:
                    nearest = min(squared[x, y - step, z], squared[x, y + step, z])
                    least = min(least, nearest + np.float32(step * step * size * size))
                    step += 1
                found[y, z] = least
        squared[x, 1:last_y, 1:last_z] = found[1:last_y, 1:last_z]


@compiled
def _in_steps(squared: NDArray[np.float32]) -> NDArray[np.uint16]:
    flat, depth = squared.reshape(-1), np.zeros(squared.size, np.uint16)
    for at in range(flat.size):
        if flat[at] > 0:
            depth[at] = min(np.sqrt(flat[at]) * STEPS + 0.5, 65535)
    return depth.reshape(squared.shape)
