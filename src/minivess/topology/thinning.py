"""Thinning of a mask to its centreline, with the same pieces, tunnels and cavities.

Voxels are removed in the order of their depth, and only if they are simple points: a removal then never splits, joins
or fills anything. So the centreline is complete: every piece of the mask, however small, keeps at least one voxel. Four
rules make it a curve that represents the vessels:

1. A voxel that joins two parts of what is left (an isthmus) stays, and so does the end of a line that leads to one
   (Palágyi 2014, doi:10.1007/978-3-319-14364-4_39).
2. Voxels that are equally deep are removed in eight subfields, one after the other. As no two voxels of a subfield touch,
   the order within a subfield does not matter.
3. A side branch that leaves its vessel by less than its own radius is removed.
4. An end is extended along the vessel until the vessel becomes thinner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.depth import STEPS, depth_of
from minivess.topology.end_branches import extend, is_end, prune
from minivess.topology.packed import (
    block_around,
    clear_voxel,
    indices,
    is_set,
    lowest_bit,
    neighbour,
    pack,
    set_voxel,
    strides,
)
from minivess.topology.simple_points import AROUND, pieces_and_tunnels

_LEVEL = STEPS // 4
"""Voxels whose depths differ by less are removed together."""


def thin(mask: NDArray[np.bool_], spacing_um: Sequence[float] = (1.0, 1.0, 1.0)) -> NDArray[np.int32]:
    """Find the voxels of the centreline of a mask.

    Foreground is 26-connected, background 6-connected; voxels outside the array are background. Takes about 3 bytes of
    memory a voxel, and 16 a foreground voxel.

    Args:
        mask: (X, Y, Z) bool.
        spacing_um: Voxel size along X, Y and Z, in micrometres. Only the ratios matter.

    A mask that is shifted within its array has the same centreline.

    Returns:
        Indices of the voxels, (N, 3), in the order of the array. As a mask, they have the Betti numbers of ``mask``.
        Thinning them again changes nothing.
    """
    packed = pack(mask)
    if not packed.any():
        return indices(packed)
    size = np.asarray(spacing_um, np.float64) / min(spacing_um)
    depth = depth_of(packed, mask.shape[2], size)
    first = _first_subfield(packed)
    voxels, ends_of_groups = _in_groups(packed, depth, first)
    subfields = _subfields_of_words(packed.view(np.uint64), first)
    kept, stays, space = np.zeros_like(packed), np.zeros_like(packed), np.empty(len(voxels) + 1, np.int64)
    _keep_ends(packed, stays, voxels[: ends_of_groups[7]])  # an end has the least depth
    _remove(packed, kept, stays, voxels, ends_of_groups, space, subfields, True)
    line = _left(packed, voxels)
    to_visit = line
    while len(to_visit):
        _remove(packed, kept, stays, *_in_subfields(to_visit, subfields), space, subfields, False)
        to_visit = _each_once(prune(packed, depth, to_visit, size, space))
    extend(packed, depth, line, size, space)
    return indices(packed)


def _first_subfield(packed: NDArray[np.uint8]) -> int:
    """The subfield of the lowest corner of the foreground: with it, a shifted mask has the same centreline."""
    x, y = (int(np.flatnonzero(packed.any(axis=others))[0]) for others in ((1, 2), (0, 2)))
    z = int(np.flatnonzero(np.unpackbits(np.bitwise_or.reduce(packed, axis=(0, 1)), bitorder="little"))[0])
    return (x & 1) << 2 | (y & 1) << 1 | z & 1


def _in_groups(
    packed: NDArray[np.uint8], depth: NDArray[np.uint16], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Flat indices of the foreground sorted by depth and then by subfield, and where each of these groups ends.

    Voxels belong to the same level if their depths, in quarters of the smallest voxel size, are the same.
    """
    words = packed.view(np.uint64)
    counts = np.zeros((int(depth.max()) // _LEVEL + 1, 8), np.int64)
    nowhere = np.empty(0, np.int64)
    _sort(words, depth, first, counts, nowhere)
    ends = counts.cumsum()
    voxels = np.empty(ends[-1], np.int64)
    _sort(words, depth, first, ends.reshape(counts.shape) - counts, voxels)
    return voxels, ends.reshape(counts.shape)[counts.any(axis=1)].ravel()


@compiled
def _sort(
    words: NDArray[np.uint64],
    depth: NDArray[np.uint16],
    first: int,
    places: NDArray[np.int64],
    voxels: NDArray[np.int64],
) -> None:
    """Write each voxel of the foreground to the next place of its group, or only count them if there is no space."""
    for x in range(words.shape[0]):
        for y in range(words.shape[1]):
            row = ((x & 1) << 2 | (y & 1) << 1) ^ first
            for word in range(words.shape[2]):
                left = words[x, y, word]
                while left:
                    z = 64 * word + lowest_bit(left)
                    left &= left - np.uint64(1)
                    level, subfield = depth[x, y, z] // _LEVEL, row ^ z & 1
                    if len(voxels):
                        voxels[places[level, subfield]] = ((x * words.shape[1] + y) * words.shape[2]) * 64 + z
                    places[level, subfield] += 1


@compiled
def _subfields_of_words(words: NDArray[np.uint64], first: int) -> NDArray[np.uint8]:
    """The subfield of the first voxel of each word, in the order of the array."""
    subfields = np.empty(words.shape, np.uint8)
    for x in range(words.shape[0]):
        for y in range(words.shape[1]):
            subfields[x, y] = ((x & 1) << 2 | (y & 1) << 1) ^ first
    return subfields.reshape(-1)


@compiled
def _in_subfields(
    voxels: NDArray[np.int64], subfields_of_words: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The voxels sorted by subfield, and where each of the eight subfields ends."""
    subfields, counts = np.empty(len(voxels), np.uint8), np.zeros(8, np.int64)
    for place, at in enumerate(voxels):
        subfields[place] = subfields_of_words[at >> 6] ^ at & 1
        counts[subfields[place]] += 1
    ends = counts.cumsum()
    places, ordered = ends - counts, np.empty_like(voxels)
    for place, at in enumerate(voxels):
        ordered[places[subfields[place]]] = at
        places[subfields[place]] += 1
    return ordered, ends


@compiled
def _left(packed: NDArray[np.uint8], voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The voxels that are still foreground; written over the first ones of ``voxels``."""
    flat, left = packed.reshape(-1), 0
    for at in voxels:
        if is_set(flat, at):
            voxels[left] = at
            left += 1
    return voxels[:left]


def _each_once(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The voxels in the order of the array, each once; several times as fast as NumPy's ``unique``."""
    ordered = np.sort(voxels)
    return ordered[np.diff(ordered, prepend=-1) != 0]


@compiled
def _keep_ends(packed: NDArray[np.uint8], stays: NDArray[np.uint8], voxels: NDArray[np.int64]) -> None:
    """Mark the ends of lines that are thin already, so that a centreline stays as it is."""
    along_x, along_y = strides(packed)
    flat, flat_stays = packed.reshape(-1), stays.reshape(-1)
    for at in voxels:
        around = block_around(flat, at, along_x, along_y) & AROUND
        if is_end(around):
            beyond = neighbour(at, lowest_bit(around), along_x, along_y)
            if not is_end(block_around(flat, beyond, along_x, along_y) & AROUND):
                set_voxel(flat_stays, at)


@compiled
def _remove(
    packed: NDArray[np.uint8],
    kept: NDArray[np.uint8],
    stays: NDArray[np.uint8],
    voxels: NDArray[np.int64],
    ends_of_groups: NDArray[np.int64],
    space: NDArray[np.int64],
    subfields: NDArray[np.uint8],
    keep_isthmuses: bool,
) -> None:
    """Remove simple points until none is left but those to keep.

    Args:
        packed: The mask; changed.
        kept: Voxels that were visited and kept, and around which none was removed since; packed, changed.
        stays: Voxels that are kept in any case; packed, changed.
        voxels: Flat indices of the voxels to visit, level by level and subfield by subfield. Voxels that were visited
            before are visited again if a neighbour is removed.
        ends_of_groups: Where each subfield ends in ``voxels``, eight for each level.
        space: Space for the voxels to visit again, at most all that are left.
        subfields: See ``_subfields_of_words``.
        keep_isthmuses: Keep isthmuses and the ends that lead to one. Otherwise keep the ends of lines of at least
            three voxels.
    """
    along_x, along_y = strides(packed)
    masks = packed.reshape(-1), kept.reshape(-1), stays.reshape(-1)
    for at in voxels:
        clear_voxel(masks[1], at)
    start = 0
    for group, end in enumerate(ends_of_groups):
        if group % 8 == 0:
            count = 0
        count = _visit(masks, voxels[start:end], space, count, keep_isthmuses, along_x, along_y)
        start = end
        while group % 8 == 7 and count:
            ordered, _ = _in_subfields(space[:count], subfields)
            count = _visit(masks, ordered, space, 0, keep_isthmuses, along_x, along_y)


@compiled
def _visit(
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]],
    voxels: NDArray[np.int64],
    space: NDArray[np.int64],
    count: int,
    keep_isthmuses: bool,
    along_x: int,
    along_y: int,
) -> int:
    """Visit voxels, one after the other; append those to visit again to the first ``count``, and return the new count."""
    flat, kept, stays = masks
    for at in voxels:
        if not is_set(flat, at):
            continue
        if _must_stay(flat, stays, at, keep_isthmuses, along_x, along_y):
            set_voxel(kept, at)
            continue
        clear_voxel(flat, at)
        around = block_around(kept, at, along_x, along_y)
        while around:
            near = neighbour(at, lowest_bit(around), along_x, along_y)
            around &= around - 1
            clear_voxel(kept, near)
            space[count] = near
            count += 1
    return count


@compiled
def _must_stay(
    flat: NDArray[np.uint8], stays: NDArray[np.uint8], at: int, keep_isthmuses: bool, along_x: int, along_y: int
) -> bool:
    if keep_isthmuses and is_set(stays, at):
        return True
    block = block_around(flat, at, along_x, along_y)
    around = block & AROUND
    if around == 0:
        return True
    if is_end(around):
        beyond = neighbour(at, lowest_bit(around), along_x, along_y)
        if keep_isthmuses:
            return is_set(stays, beyond) == 1
        return not is_end(block_around(flat, beyond, along_x, along_y) & AROUND)
    pieces, tunnels = pieces_and_tunnels(around)
    if pieces > 1 and keep_isthmuses:
        set_voxel(stays, at)
    return pieces > 1 or tunnels != 0
