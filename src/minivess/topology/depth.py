"""The depth of a voxel: its distance to the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled

STEPS = 32
"""Depths are integers: multiples of this fraction of the smallest voxel size, at most 2047 voxels."""

_MAX = 65535


def depth_of(packed: NDArray[np.uint8], extent_z: int, size: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Euclidean distance of each foreground voxel to the nearest background voxel, 0 in the background.

    Three passes, one along each axis (Saito and Toriwaki 1994). Each rounds to one step.

    Args:
        packed: Packed mask, see ``packed.pack``.
        extent_z: Number of voxels of the mask along Z.
        size: Voxel size along X, Y and Z, relative to the smallest one.

    Returns:
        (X + 2, Y + 2, Z), in steps of 1/`STEPS` of the smallest voxel size.
    """
    depth = np.zeros((*packed.shape[:2], extent_z), np.uint16)
    _along_lines(packed, depth, size[2] * STEPS)
    _within_slices(depth, size[1] * STEPS)
    _within_slices(depth.swapaxes(0, 1), size[0] * STEPS)
    return depth


@compiled
def depth_at(depth: NDArray[np.uint16], at: int, along_x: int, along_y: int) -> int:
    """Depth of the voxel with a flat index in the packed mask; 0 outside the mask."""
    z = at % along_y
    return depth[at // along_x, at % along_x // along_y, z] if z < depth.shape[2] else 0


@compiled
def _along_lines(packed: NDArray[np.uint8], depth: NDArray[np.uint16], size: float) -> None:
    for x in range(1, depth.shape[0] - 1):
        for y in range(1, depth.shape[1] - 1):
            run = 0
            for z in range(depth.shape[2] + 1):  # the last bit of a row is background
                if packed[x, y, z >> 3] >> (z & 7) & 1:
                    run += 1
                elif run:
                    for place in range(run):
                        depth[x, y, z - run + place] = min(min(place + 1, run - place) * size + 0.5, _MAX)
                    run = 0


@compiled
def _within_slices(depth: NDArray[np.uint16], size: float) -> None:
    """Continue the transform along the second axis: the root of the least ``depth^2 + (size k)^2`` over all steps k."""
    squared = np.empty(depth.shape[1:], np.float32)
    square = np.float32(size * size)
    for x in range(1, depth.shape[0] - 1):
        for y in range(depth.shape[1]):
            for z in range(depth.shape[2]):
                value = np.float32(depth[x, y, z])
                squared[y, z] = value * value
        for y in range(1, depth.shape[1] - 1):
            for z in range(depth.shape[2]):
                least = squared[y, z]
                if least > square:
                    step, added = 1, square
                    while added < least:
                        least = min(least, min(squared[y - step, z], squared[y + step, z]) + added)
                        step += 1
                        added = np.float32(step * step) * square
                    depth[x, y, z] = min(np.sqrt(least) + np.float32(0.5), _MAX)
