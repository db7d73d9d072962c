"""The depth of a voxel: its distance to the background."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled, inlined

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
    _across_lines(depth, False, size[1] * STEPS)
    _across_lines(depth, True, size[0] * STEPS)
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
def _across_lines(depth: NDArray[np.uint16], along_x: bool, size: float) -> None:
    """Continue the transform along X or Y: the root of the least ``depth^2 + (size k)^2`` over all steps k."""
    slices, lines, voxels = depth.shape
    if along_x:
        slices, lines = lines, slices
    squared, least = np.empty((lines, voxels), np.float32), np.empty(voxels, np.float32)
    square, highest_root = np.float32(size * size), np.float32(_MAX)
    for place in range(1, slices - 1):
        for line in range(lines):
            row = depth[line, place] if along_x else depth[place, line]
            for z in range(voxels):
                squared[line, z] = np.float32(row[z]) * np.float32(row[z])
        for line in range(1, lines - 1):
            _least_squares(squared, line, square, least)
            row = depth[line, place] if along_x else depth[place, line]
            for z in range(voxels):
                root = np.sqrt(least[z]) + np.float32(0.5)
                row[z] = np.uint16(root if root < highest_root else highest_root)


@inlined
def _least_squares(squared: NDArray[np.float32], line: int, square: np.float32, least: NDArray[np.float32]) -> None:
    """Least ``squared[line + k] + square k^2`` over all k, of all voxels of a line at the same time."""
    for z in range(least.size):
        least[z] = squared[line, z]
    step, added, first = 1, square, 0
    while True:
        while first < least.size and least[first] <= added:  # a longer step cannot lower it
            first += 1
        if first == least.size:  # at the latest when a line of background is reached
            return
        before, after = squared[line - step], squared[line + step]
        for z in range(least.size):
            near = (before[z] if before[z] < after[z] else after[z]) + added
            least[z] = near if near < least[z] else least[z]
        step += 1
        added = np.float32(step * step) * square
