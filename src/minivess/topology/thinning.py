"""Thinning of a mask to its centreline, with the same pieces, tunnels and cavities.

Voxels are removed in the order of their depth, and only if they are simple points: a removal then never splits, joins
or fills anything. So the centreline is complete: every piece of the mask, however small, keeps at least one voxel. Four
rules make it a curve that represents the vessels:

1. A voxel that joins two parts of what is left (an isthmus) stays, and so does the end of a line that leads to one
   (Palágyi 2014, doi:10.1007/978-3-319-14364-4_39).
2. Voxels of the same depth are removed in eight subfields, one after the other. As no two voxels of a subfield touch,
   the order within a subfield does not matter.
3. A side branch that leaves its vessel by less than its own radius is removed.
4. An end is extended along the vessel until the vessel becomes thinner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minivess.topology.depth import depth_of
from minivess.topology.end_branches import extend, is_end, prune
from minivess.topology.simple_points import AROUND, compiled, is_one_piece, is_simple
from minivess.topology.voxel_state import SELF, STAYS, WAITS, block_around, delete, initial_state

_ALL_DEPTHS = 65535


def thin(mask: NDArray[np.bool_], spacing_um: Sequence[float] = (1.0, 1.0, 1.0)) -> NDArray[np.intp]:
    """Find the voxels of the centreline of a mask.

    Foreground is 26-connected, background 6-connected; voxels outside the array are background. Takes about 8 bytes of
    memory a voxel, and 24 a foreground voxel.

    Args:
        mask: (X, Y, Z) bool.
        spacing_um: Voxel size along X, Y and Z, in micrometres. Only the ratios matter.

    Returns:
        Indices of the voxels, (N, 3), in the order of the array. As a mask, they have the Betti numbers of ``mask``.
        Thinning them again changes nothing.
    """
    size = np.asarray(spacing_um, np.float64) / min(spacing_um)
    depth = depth_of(np.pad(mask, 1), size)
    state = initial_state(depth)
    voxels, ends_of_levels = _by_depth(depth)
    _keep_ends(state, voxels)
    _remove(state, depth, voxels, ends_of_levels, True)
    line = _foreground(state, voxels)
    while True:
        _remove(state, depth, line, np.array([len(line)]), False)
        line = _foreground(state, line)
        if not prune(state, depth, line, size):
            break
    extend(state, depth, line, size)
    return np.argwhere(state[1:-1, 1:-1, 1:-1] & SELF)


def _foreground(state: NDArray[np.uint8], voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    return voxels[state.reshape(-1)[voxels] & SELF > 0]


@compiled
def _by_depth(depth: NDArray[np.uint16]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat indices of the foreground, sorted by depth, and where each depth ends among them."""
    flat = depth.reshape(-1)
    counts = np.zeros(_ALL_DEPTHS + 1, np.int64)
    for value in flat:
        counts[value] += 1
    counts[0] = 0
    ends = np.cumsum(counts)
    voxels, places = np.empty(ends[-1], np.int64), ends - counts
    for at in range(flat.size):
        if flat[at]:
            voxels[places[flat[at]]] = at
            places[flat[at]] += 1
    return voxels, ends[counts > 0]


@compiled
def _keep_ends(state: NDArray[np.uint8], voxels: NDArray[np.int64]) -> None:
    """Mark the ends of lines that are thin already, so that a centreline stays as it is."""
    along_x, along_y = state.shape[1] * state.shape[2], state.shape[2]
    flat = state.reshape(-1)
    for at in voxels:
        around = block_around(flat, at, along_x, along_y) & AROUND
        if is_end(around):
            beyond = block_around(flat, _neighbour(at, around, along_x, along_y), along_x, along_y) & AROUND
            if not is_end(beyond):
                flat[at] |= STAYS


@compiled
def _remove(
    state: NDArray[np.uint8],
    depth: NDArray[np.uint16],
    voxels: NDArray[np.int64],
    ends_of_levels: NDArray[np.int64],
    keep_isthmuses: bool,
) -> None:
    """Remove simple points until none is left but those to keep.

    Args:
        state: (X, Y, Z); changed.
        depth: (X, Y, Z).
        voxels: Flat indices of the voxels that may be removed, level by level.
        ends_of_levels: Where each level ends in ``voxels``.
        keep_isthmuses: Keep isthmuses and the ends that lead to one. Otherwise keep the ends of lines of at least
            three voxels.
    """
    along_x, along_y = state.shape[1] * state.shape[2], state.shape[2]
    flat, deep = state.reshape(-1), depth.reshape(-1)
    waiting, following = np.empty_like(voxels), np.empty_like(voxels)
    start = 0
    for end in ends_of_levels:
        level = deep[voxels[start]] if keep_isthmuses else _ALL_DEPTHS
        count = end - start
        waiting[:count] = voxels[start:end]
        for at in voxels[start:end]:
            flat[at] |= WAITS
        while count:
            count = _remove_once(flat, deep, level, waiting, count, following, keep_isthmuses, along_x, along_y)
            waiting, following = following, waiting
        start = end


@compiled
def _remove_once(
    flat: NDArray[np.uint8],
    deep: NDArray[np.uint16],
    level: int,
    waiting: NDArray[np.int64],
    count: int,
    following: NDArray[np.int64],
    keep_isthmuses: bool,
    along_x: int,
    along_y: int,
) -> int:
    """Visit all waiting voxels, one subfield after the other; return the number of voxels to visit in the next round."""
    found = 0
    for subfield in range(8):
        for at in waiting[:count]:
            if flat[at] >> 5 != subfield:
                continue
            flat[at] &= 255 - WAITS
            if not flat[at] & SELF or _must_stay(flat, at, keep_isthmuses, along_x, along_y):
                continue
            delete(flat, at)
            for x in (-along_x, 0, along_x):
                for y in (-along_y, 0, along_y):
                    for near in range(at + x + y - 1, at + x + y + 2):
                        if flat[near] & (SELF | WAITS) == SELF and deep[near] <= level:
                            flat[near] |= WAITS
                            following[found] = near
                            found += 1
    return found


@compiled
def _must_stay(flat: NDArray[np.uint8], at: int, keep_isthmuses: bool, along_x: int, along_y: int) -> bool:
    if keep_isthmuses and flat[at] & STAYS:
        return True
    block = block_around(flat, at, along_x, along_y)
    around = block & AROUND
    if is_end(around):
        neighbour = _neighbour(at, around, along_x, along_y)
        if keep_isthmuses:
            return flat[neighbour] & STAYS != 0
        return not is_end(block_around(flat, neighbour, along_x, along_y) & AROUND)
    if keep_isthmuses and not is_one_piece(around):
        flat[at] |= STAYS
        return True
    return not is_simple(~block)  # foreground and background have the other connectivity here


@compiled
def _neighbour(at: int, around: int, along_x: int, along_y: int) -> int:
    """The voxel of the lowest bit of a block."""
    bit = 0
    while not around >> bit & 1:
        bit += 1
    return at + (bit // 9 - 1) * along_x + (bit // 3 % 3 - 1) * along_y + bit % 3 - 1
