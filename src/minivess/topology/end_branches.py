"""The ends of a centreline: short side branches are removed, and ends are extended along their vessel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minivess.topology.depth import STEPS
from minivess.topology.simple_points import AROUND, compiled
from minivess.topology.voxel_state import SELF, block_around, delete, insert

_NARROWING = 0.5
"""An end is not extended where the radius decreases by more than this per unit of length. At a flat end it is 1."""

_STRAIGHT = math.cos(math.radians(45))


@compiled
def is_end(around: int) -> bool:
    """Return True if a block has exactly one voxel besides its centre, which the argument must not contain."""
    return around != 0 and around & (around - 1) == 0


@compiled
def prune(
    state: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    line: NDArray[np.int64],
    size: NDArray[np.float64],
    path: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Remove every end branch that is shorter than the depth at its junction plus the depth at its end.

    Such a branch leaves the vessel that it starts from by less than its own radius.

    Args:
        state: (X, Y, Z) state of the thinned mask; changed.
        depth: (X, Y, Z) depth of the mask, see ``depth_of``.
        line: Flat indices of the voxels of the centreline.
        size: Voxel size along X, Y and Z, relative to the smallest one.
        path: Space for the voxels of the longest line.

    Returns:
        Flat indices of the voxels to look at again: former junctions, and the ends of all other branches. None if no
        branch was removed.
    """
    along_x, along_y = state.shape[1] * state.shape[2], state.shape[2]
    flat, deep = state.reshape(-1), depth.reshape(-1)
    again = np.empty(len(line), np.int64)
    removed, count = False, 0
    for end in line:
        if flat[end] & SELF and is_end(block_around(flat, end, along_x, along_y) & AROUND):
            voxels, length, at = _follow(flat, end, np.inf, path, along_x, along_y, size)
            short = voxels and length * STEPS < np.float64(deep[at]) + np.float64(deep[end])
            if short:
                removed = True
                for voxel in path[:voxels]:
                    delete(flat, voxel)
            if voxels:
                again[count] = at if short else end
                count += 1
    return again[: count if removed else 0]


@compiled
def extend(
    state: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    line: NDArray[np.int64],
    size: NDArray[np.float64],
    path: NDArray[np.int64],
) -> None:
    """Extend every end of the centreline straight on within its vessel, until the vessel becomes thinner.

    The removal of voxels takes the last ones of a wide vessel although they are as deep as the rest of its axis.

    Args:
        state: (X, Y, Z) state of the thinned mask; changed.
        depth: (X, Y, Z) depth of the mask, see ``depth_of``.
        line: Flat indices of the voxels of the centreline.
        size: Voxel size along X, Y and Z, relative to the smallest one.
        path: Space for the voxels of the longest line.
    """
    along_x, along_y = state.shape[1] * state.shape[2], state.shape[2]
    flat, deep = state.reshape(-1), depth.reshape(-1)
    for end in line:
        if flat[end] & SELF and is_end(block_around(flat, end, along_x, along_y) & AROUND):
            back = _follow(flat, end, 2 * deep[end] / STEPS, path, along_x, along_y, size)[2]
            heading = (
                (end // along_x - back // along_x) * size[0],
                (end % along_x // along_y - back % along_x // along_y) * size[1],
                (end % along_y - back % along_y) * size[2],
            )
            at = end
            while at >= 0:
                at = _next_along(flat, deep, at, heading, along_x, along_y, size)
                if at >= 0:
                    insert(flat, at)


@compiled
def _follow(
    flat: NDArray[np.uint8],
    end: int,
    reach: float,
    path: NDArray[np.int64],
    along_x: int,
    along_y: int,
    size: NDArray[np.float64],
) -> tuple[int, float, int]:
    """Follow a line from its end to a junction, to its other end, or as far as ``reach``.

    Returns:
        The number of voxels written to ``path``, without the last one, or 0 if the line has no junction; the length;
        and the last voxel.
    """
    voxels, length, before, at = 0, 0.0, -1, end
    while length < reach:
        following, count, step = -1, 0, 0.0
        for x in range(-1, 2):
            for y in range(-1, 2):
                for z in range(-1, 2):
                    near = at + x * along_x + y * along_y + z
                    if near != at and near != before and flat[near] & SELF:
                        count += 1
                        following, step = near, np.sqrt((x * size[0]) ** 2 + (y * size[1]) ** 2 + (z * size[2]) ** 2)
        if count > 1:
            return voxels, length, at
        if count == 0:
            break
        path[voxels] = at
        voxels += 1
        length += step
        before, at = at, following
    return 0, length, at


@compiled
def _next_along(
    flat: NDArray[np.uint8],
    deep: NDArray[np.uint16],
    at: int,
    heading: tuple[float, float, float],
    along_x: int,
    along_y: int,
    size: NDArray[np.float64],
) -> int:
    """The deepest voxel that extends the line straight on, touches nothing else and is not in a narrower part; or -1."""
    best, found = -1.0, -1
    norm = np.sqrt(heading[0] ** 2 + heading[1] ** 2 + heading[2] ** 2)
    for x in range(-1, 2):
        for y in range(-1, 2):
            for z in range(-1, 2):
                near = at + x * along_x + y * along_y + z
                if deep[near] == 0 or flat[near] & SELF:
                    continue
                step = np.sqrt((x * size[0]) ** 2 + (y * size[1]) ** 2 + (z * size[2]) ** 2)
                forward = x * size[0] * heading[0] + y * size[1] * heading[1] + z * size[2] * heading[2]
                straight = forward / (step * norm)
                wide = deep[near] >= deep[at] - _NARROWING * step * STEPS
                # A term below one step of depth prefers, among voxels that are equally deep, the straightest.
                if wide and straight >= _STRAIGHT and deep[near] + 0.9 * straight > best:
                    if is_end(block_around(flat, near, along_x, along_y) & AROUND):
                        best, found = deep[near] + 0.9 * straight, near
    return found
