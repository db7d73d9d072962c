"""Pieces of a label that scikit-image's skeleton loses. Compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.lee_thinning import thin_packed
from minivess.topology.packed import block_around, clear_voxel, lowest_bit, neighbour, pack_voxels, strides
from minivess.topology.pieces import Pieces

LARGEST_BOX = 2**18
"""Voxels of the largest bounding box of a piece that is tried. Larger pieces have loops or bends, which are not lost."""


def find_lost(packed: NDArray[np.uint8], pieces: Pieces) -> NDArray[np.intp]:
    """Find the pieces of which ``skeletonize(method="lee")`` keeps no voxel.

    Args:
        packed: The label, from ``LabelBits.packed``; the pieces that are tried are removed from it.
        pieces: Its pieces.

    Returns:
        Numbers of the lost pieces, ascending.
    """
    # One or two voxels are an end of a line, which the thinning keeps.
    tried = np.flatnonzero((pieces.sizes > 2) & (pieces.sizes <= LARGEST_BOX))
    return tried[_vanish(packed, *pieces.some(tried), LARGEST_BOX)]


@compiled
def _vanish(
    packed: NDArray[np.uint8], sizes: NDArray[np.int64], firsts: NDArray[np.int64], largest_box: int
) -> NDArray[np.bool_]:
    """Whether the thinning keeps no voxel of each piece; what it keeps of a piece depends on no other piece."""
    vanish = np.zeros(sizes.size, np.bool_)
    for piece in range(sizes.size):
        voxels, shape = _take_piece(packed, firsts[piece], sizes[piece])
        if shape[0] * shape[1] * shape[2] <= largest_box:
            thinned = pack_voxels(voxels, shape)
            thin_packed(thinned, sizes[piece], 6)
            vanish[piece] = not thinned.any()
    return vanish


@compiled
def _take_piece(packed: NDArray[np.uint8], first: int, size: int) -> tuple[NDArray[np.intp], tuple[int, int, int]]:
    """Remove a piece from the label; return its voxels (N, 3), from their lowest corner, and their extent, as X, Y, Z."""
    along_z, along_y = strides(packed)
    flat, found, places = packed.reshape(-1), 1, np.empty(size, np.int64)
    places[0] = first
    clear_voxel(flat, first)
    for number in range(size):
        block = block_around(flat, places[number], along_z, along_y)
        while block:
            places[found] = neighbour(places[number], lowest_bit(block), along_z, along_y)
            clear_voxel(flat, places[found])
            block &= block - 1
            found += 1
    voxels = np.empty((size, 3), np.intp)
    voxels[:, 0], voxels[:, 1], voxels[:, 2] = places % along_y, places % along_z // along_y, places // along_z
    for axis in range(3):
        voxels[:, axis] -= voxels[:, axis].min()
    return voxels, (voxels[:, 0].max() + 1, voxels[:, 1].max() + 1, voxels[:, 2].max() + 1)
