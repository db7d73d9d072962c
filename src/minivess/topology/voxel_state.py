"""The state of every voxel during a thinning, one byte each.

The lowest three bits are the foreground along z: of the voxel itself (2) and of its two neighbours (1 and 4). So nine
bytes contain a block of 3x3x3 voxels. Two bits are flags of the thinning. The highest three bits are the subfield: the
parities of x, y and z. No two voxels of a subfield touch.

KEPT: the voxel was visited and kept, and no voxel around it was deleted since. STAYS: the voxel is kept in any case.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.simple_points import compiled

SELF, KEPT, STAYS = 2, 8, 16

_FOREGROUND = 7


@compiled
def initial_state(depth: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """State of a padded array, (X, Y, Z) uint8; foreground is where ``depth`` is above 0."""
    state = np.zeros(depth.shape, np.uint8)
    for x in range(1, depth.shape[0] - 1):
        for y in range(1, depth.shape[1] - 1):
            for z in range(1, depth.shape[2] - 1):
                subfield = (x & 1) << 7 | (y & 1) << 6 | (z & 1) << 5
                before, here, after = depth[x, y, z - 1] > 0, depth[x, y, z] > 0, depth[x, y, z + 1] > 0
                state[x, y, z] = subfield | before | here << 1 | after << 2
    return state


@compiled
def block_around(state: NDArray[np.uint8], at: int, along_x: int, along_y: int) -> int:
    """The 3x3x3 block around a voxel, as 27 bits (see ``simple_points.is_simple``).

    Args:
        state: Flat.
        at: Flat index of the voxel.
        along_x: Distance of neighbours along x in the flat array.
        along_y: The same along y.
    """
    block, shift = 0, 0
    for x in (-along_x, 0, along_x):
        for y in (-along_y, 0, along_y):
            block |= (state[at + x + y] & _FOREGROUND) << shift
            shift += 3
    return block


@compiled
def delete(state: NDArray[np.uint8], at: int) -> None:
    """Make a voxel background."""
    state[at] &= 255 - 2
    state[at - 1] &= 255 - 4
    state[at + 1] &= 255 - 1


@compiled
def insert(state: NDArray[np.uint8], at: int) -> None:
    """Make a voxel foreground."""
    state[at] |= 2
    state[at - 1] |= 4
    state[at + 1] |= 1


@compiled
def visit_again(state: NDArray[np.uint8], at: int, along_x: int, along_y: int) -> None:
    """Remove the flag KEPT from the voxels around a voxel."""
    for x in (-along_x, 0, along_x):
        for y in (-along_y, 0, along_y):
            for near in range(at + x + y - 1, at + x + y + 2):
                state[near] &= 255 - KEPT
