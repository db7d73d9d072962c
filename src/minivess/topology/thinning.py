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
from minivess.topology.voxel_state import KEPT, SELF, STAYS, block_around, delete, initial_state


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
    voxels, ends_of_groups = _in_groups(depth, state)
    _keep_ends(state, voxels)
    space = np.empty_like(voxels)
    _remove(state, voxels, ends_of_groups, space, True)
    line = voxels[state.reshape(-1)[voxels] & SELF > 0]
    to_visit = line
    while len(to_visit):
        _remove(state, *_in_subfields(to_visit, state), space, False)
        to_visit = np.unique(prune(state, depth, to_visit, size, space))
    extend(state, depth, line, size, space)
    return np.argwhere(state[1:-1, 1:-1, 1:-1] & SELF)


@compiled
def _in_groups(depth: NDArray[np.uint16], state: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat indices of the foreground sorted by depth and then by subfield, and where each of these groups ends."""
    deep, flat = depth.reshape(-1), state.reshape(-1)
    counts = np.zeros((deep.max() + 1, 8), np.int64)
    for at in range(deep.size):
        if deep[at]:
            counts[deep[at], flat[at] >> 5] += 1
    ends = counts.reshape(-1).cumsum()
    places = (ends - counts.reshape(-1)).reshape(counts.shape)
    voxels = np.empty(ends[-1], np.int64)
    for at in range(deep.size):
        if deep[at]:
            subfield = flat[at] >> 5
            voxels[places[deep[at], subfield]] = at
            places[deep[at], subfield] += 1
    return voxels, ends.reshape(counts.shape)[counts.sum(axis=1) > 0].reshape(-1)


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
def _in_subfields(voxels: NDArray[np.int64], state: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The voxels sorted by subfield, and where each of the eight subfields ends."""
    flat, counts = state.reshape(-1), np.zeros(8, np.int64)
    for at in voxels:
        counts[flat[at] >> 5] += 1
    ends = counts.cumsum()
    places, ordered = ends - counts, np.empty_like(voxels)
    for at in voxels:
        subfield = flat[at] >> 5
        ordered[places[subfield]] = at
        places[subfield] += 1
    return ordered, ends


@compiled
def _remove(
    state: NDArray[np.uint8],
    voxels: NDArray[np.int64],
    ends_of_groups: NDArray[np.int64],
    again: NDArray[np.int64],
    keep_isthmuses: bool,
) -> None:
    """Remove simple points until none is left but those to keep.

    Args:
        state: (X, Y, Z); changed.
        voxels: Flat indices of the voxels to visit, level by level and subfield by subfield. Neighbours of a removed
            voxel that were visited before are visited again.
        ends_of_groups: Where each subfield ends in ``voxels``, eight for each level.
        again: Space for the voxels to visit again, at most all that are left.
        keep_isthmuses: Keep isthmuses and the ends that lead to one. Otherwise keep the ends of lines of at least
            three voxels.
    """
    along_x, along_y = state.shape[1] * state.shape[2], state.shape[2]
    flat = state.reshape(-1)
    for at in voxels:
        flat[at] &= 255 - KEPT
    start = 0
    for group, end in enumerate(ends_of_groups):
        if group % 8 == 0:
            count = 0
        count = _visit(flat, voxels[start:end], again, count, keep_isthmuses, along_x, along_y)
        start = end
        while group % 8 == 7 and count:
            ordered, ends = _in_subfields(again[:count], state)
            count = _visit(flat, ordered, again, 0, keep_isthmuses, along_x, along_y)


@compiled
def _visit(
    flat: NDArray[np.uint8],
    voxels: NDArray[np.int64],
    again: NDArray[np.int64],
    count: int,
    keep_isthmuses: bool,
    along_x: int,
    along_y: int,
) -> int:
    """Visit voxels, one after the other; append those to visit again to the first ``count``, and return the new count."""
    for at in voxels:
        if not flat[at] & SELF:
            continue
        if _must_stay(flat, at, keep_isthmuses, along_x, along_y):
            flat[at] |= KEPT
            continue
        delete(flat, at)
        for x in (-along_x, 0, along_x):
            for y in (-along_y, 0, along_y):
                for near in range(at + x + y - 1, at + x + y + 2):
                    if flat[near] & KEPT:
                        flat[near] &= 255 - KEPT
                        again[count] = near
                        count += 1
    return count


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
