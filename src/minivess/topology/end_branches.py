"""The ends of a centreline: short side branches are removed, and ends are extended along their vessel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.depth import STEPS, depth_at
from minivess.topology.packed import block_around, clear_voxel, is_set, lowest_bit, neighbour, set_voxel, strides
from minivess.topology.simple_points import AROUND

_NARROWING = 0.5
"""An end is not extended where the radius decreases by more than this per unit of length. At a flat end it is 1."""

_STRAIGHT = math.cos(math.radians(45))


@compiled
def is_end(around: int) -> bool:
    """Return True if a block has exactly one voxel besides its centre, which the argument must not contain."""
    return around != 0 and around & (around - 1) == 0


@compiled
def prune(
    packed: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    line: NDArray[np.int64],
    size: NDArray[np.float64],
    path: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Remove every end branch that is shorter than the depth at its junction plus the depth at its end.

    Such a branch leaves the vessel that it starts from by less than its own radius.

    Args:
        packed: The thinned mask; changed.
        depth: Depth in the mask, see ``depth_of``.
        line: Flat indices of the voxels of the centreline.
        size: Voxel size along X, Y and Z, relative to the smallest one.
        path: Space for all voxels of the centreline.

    Returns:
        Flat indices of the voxels to look at again: former junctions, and the ends of all other branches. None if no
        branch was removed.
    """
    along_x, along_y = strides(packed)
    flat = packed.reshape(-1)
    again = np.empty(len(line), np.int64)
    doomed, count = 0, 0
    for end in line:
        if is_set(flat, end) and is_end(block_around(flat, end, along_x, along_y) & AROUND):
            branch = path[doomed:]
            voxels, length, junction = _follow(flat, end, np.inf, branch, along_x, along_y, size)
            if junction:
                at = branch[voxels]
                least = depth_at(depth, at, along_x, along_y) + depth_at(depth, end, along_x, along_y)
                short = length * STEPS < least
                again[count] = at if short else end
                count += 1
                doomed += voxels if short else 0
    for at in path[:doomed]:  # only now, so that the order of the branches does not matter
        clear_voxel(flat, at)
    return again[: count if doomed else 0]


@compiled
def extend(
    packed: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    line: NDArray[np.int64],
    size: NDArray[np.float64],
    path: NDArray[np.int64],
) -> None:
    """Extend every end of the centreline straight on within its vessel, until the vessel becomes thinner.

    The removal of voxels takes the last ones of a wide vessel although they are as deep as the rest of its axis.

    Args:
        packed: The thinned mask; changed.
        depth: Depth in the mask, see ``depth_of``.
        line: Flat indices of the voxels of the centreline.
        size: Voxel size along X, Y and Z, relative to the smallest one.
        path: Space for all voxels of the centreline.
    """
    along_x, along_y = strides(packed)
    flat = packed.reshape(-1)
    for end in line:
        if not is_set(flat, end):
            continue
        around = block_around(flat, end, along_x, along_y) & AROUND
        if around and not is_end(around):
            continue
        if around:
            reach = 2 * depth_at(depth, end, along_x, along_y) / STEPS
            back = path[_follow(flat, end, reach, path, along_x, along_y, size)[0]]
            _extend_from(flat, depth, end, _heading(back, end, along_x, along_y, size), along_x, along_y, size)
        else:  # a single voxel is extended to both sides
            other = _next_along(flat, depth, end, (0.0, 0.0, 0.0), along_x, along_y, size)
            if other >= 0:
                set_voxel(flat, other)
                _extend_from(flat, depth, other, _heading(end, other, along_x, along_y, size), along_x, along_y, size)
                _extend_from(flat, depth, end, _heading(other, end, along_x, along_y, size), along_x, along_y, size)


@compiled
def _heading(
    start: int, stop: int, along_x: int, along_y: int, size: NDArray[np.float64]
) -> tuple[float, float, float]:
    return (
        (stop // along_x - start // along_x) * size[0],
        (stop % along_x // along_y - start % along_x // along_y) * size[1],
        (stop % along_y - start % along_y) * size[2],
    )


@compiled
def _extend_from(
    flat: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    at: int,
    heading: tuple[float, float, float],
    along_x: int,
    along_y: int,
    size: NDArray[np.float64],
) -> None:
    while at >= 0:
        at = _next_along(flat, depth, at, heading, along_x, along_y, size)
        if at >= 0:
            set_voxel(flat, at)


@compiled
def _follow(
    flat: NDArray[np.uint8],
    end: int,
    reach: float,
    path: NDArray[np.int64],
    along_x: int,
    along_y: int,
    size: NDArray[np.float64],
) -> tuple[int, float, bool]:
    """Follow a line from its end to a junction, to its other end, or as far as ``reach``, and write it to ``path``.

    Returns:
        The number of steps, their length, and whether the last voxel of the path is a junction.
    """
    voxels, length, before, path[0] = 0, 0.0, AROUND, end
    while length < reach:
        ahead = block_around(flat, path[voxels], along_x, along_y) & before
        if ahead == 0 or ahead & (ahead - 1):
            return voxels, length, ahead != 0
        bit = lowest_bit(ahead)
        length += _distance(bit, size)
        before = AROUND & ~(1 << (26 - bit))
        voxels += 1
        path[voxels] = neighbour(path[voxels - 1], bit, along_x, along_y)
    return voxels, length, False


@compiled
def _next_along(
    flat: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    at: int,
    heading: tuple[float, float, float],
    along_x: int,
    along_y: int,
    size: NDArray[np.float64],
) -> int:
    """The deepest voxel that extends the line straight on, touches nothing else and is not in a narrower part; or -1.

    Without a heading, any direction is straight on.
    """
    best, found, here = -1.0, -1, depth_at(depth, at, along_x, along_y)
    norm = np.sqrt(heading[0] ** 2 + heading[1] ** 2 + heading[2] ** 2)
    at_x, at_y, at_z = at // along_x - 1, at % along_x // along_y - 1, at % along_y - 1  # the first voxel of the block
    for bit in range(27):
        z = at_z + bit % 3
        if z < 0 or z >= depth.shape[2]:
            continue
        near, deep = neighbour(at, bit, along_x, along_y), depth[at_x + bit // 9, at_y + bit // 3 % 3, z]
        if deep == 0 or is_set(flat, near):
            continue
        ahead = (bit // 9 - 1) * size[0] * heading[0] + (bit // 3 % 3 - 1) * size[1] * heading[1]
        ahead += (bit % 3 - 1) * size[2] * heading[2]
        step = _distance(bit, size)
        straight = ahead / (step * norm) if norm else 1.0
        wide = deep >= here - _NARROWING * step * STEPS
        # A term below one step of depth prefers, among voxels that are equally deep, the straightest.
        better = wide and straight >= _STRAIGHT and deep + 0.9 * straight > best
        if better and is_end(block_around(flat, near, along_x, along_y) & AROUND):
            best, found = deep + 0.9 * straight, near
    return found


@compiled
def _distance(bit: int, size: NDArray[np.float64]) -> float:
    """Distance of a voxel of a block from the centre."""
    x, y, z = (bit // 9 - 1) * size[0], (bit // 3 % 3 - 1) * size[1], (bit % 3 - 1) * size[2]
    return np.sqrt(x * x + y * y + z * z)
