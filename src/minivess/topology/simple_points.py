"""Simple points: voxels that can be flipped without changing the topology of a mask. Exact, and compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled

# A block of 3x3x3 voxels is stored as 27 bits. Voxel (x, y, z) of the block is bit 9 x + 3 y + z; bit 13 is the centre.
_BITS = range(27)
_OFF_CENTRE = [abs(bit // 9 - 1) + abs(bit // 3 % 3 - 1) + abs(bit % 3 - 1) for bit in _BITS]
_FACES = sum(1 << bit for bit in _BITS if _OFF_CENTRE[bit] == 1)
_FACES_AND_EDGES = sum(1 << bit for bit in _BITS if 1 <= _OFF_CENTRE[bit] <= 2)
AROUND = sum(1 << bit for bit in _BITS if _OFF_CENTRE[bit] >= 1)
"""All voxels of a block but its centre."""
_BLOCK = AROUND | 1 << 13
_NOT_FIRST_Y, _NOT_LAST_Y = (sum(1 << bit for bit in _BITS if bit // 3 % 3 != end) for end in (0, 2))
_NOT_FIRST_Z, _NOT_LAST_Z = (sum(1 << bit for bit in _BITS if bit % 3 != end) for end in (0, 2))


@compiled
def is_simple(block: int) -> bool:
    """Return True if the centre of a block is a simple point: flipping it keeps the topology.

    The foreground is 6-connected and the background 26-connected. The centre is simple if both topological numbers are
    1 (Bertrand and Malandain 1994): the foreground of the 18-neighbourhood has exactly one 6-connected piece that
    touches a face of the centre, and the background of the 26-neighbourhood is exactly one 26-connected piece. The value
    of the centre does not matter.

    Args:
        block: 27 bits. Voxel (x, y, z) of the 3x3x3 block is bit 9 x + 3 y + z; 1 is foreground.
    """
    outside = ~block & AROUND
    return has_one_piece_at_faces(block) and outside != 0 and is_one_piece(outside)


@compiled
def has_one_piece_at_faces(block: int) -> bool:
    """Return True if exactly one 6-connected piece within the 18-neighbourhood touches a face of the centre."""
    faces, near = block & _FACES, block & _FACES_AND_EDGES
    piece, grown = 0, faces & -faces
    while grown != piece:
        piece = grown
        grown = near & _grown_by_faces(piece)
    return faces != 0 and faces & ~piece == 0


@compiled
def is_one_piece(bits: int) -> bool:
    """Return True if the voxels of a block are one 26-connected piece; also True without any voxel."""
    piece, grown = 0, bits & -bits
    while grown != piece:
        piece = grown
        grown = bits & grown_by_corners(piece)
    return piece == bits


@compiled
def flip_simple_points(mask: NDArray[np.bool_], candidates: NDArray[np.intp]) -> None:
    """Flip the candidates that are simple, in their order, each at most once. Repeat until no candidate left is simple.

    Args:
        mask: (X, Y, Z) bool, C-contiguous; changed in place.
        candidates: Flat indices of voxels; none of them at the border of the array.
    """
    flat = mask.reshape(-1)  # a view
    along_x, along_y = mask.shape[1] * mask.shape[2], mask.shape[2]
    waiting = candidates.copy()
    before, left = -1, len(waiting)
    while left != before:
        before, left = left, 0
        for place in range(before):
            at = waiting[place]
            if is_simple(_block_around(flat, at, along_x, along_y)):
                flat[at] = not flat[at]
            else:
                waiting[left] = at
                left += 1


@compiled
def _block_around(flat: NDArray[np.bool_], at: int, along_x: int, along_y: int) -> int:
    block, bit = 0, 1
    for x in (-along_x, 0, along_x):
        for y in (-along_y, 0, along_y):
            for z in (-1, 0, 1):
                if flat[at + x + y + z]:
                    block |= bit
                bit <<= 1
    return block


@compiled
def _grown_by_faces(bits: int) -> int:
    along_x = bits << 9 | bits >> 9
    along_y = (bits & _NOT_LAST_Y) << 3 | (bits & _NOT_FIRST_Y) >> 3
    along_z = (bits & _NOT_LAST_Z) << 1 | (bits & _NOT_FIRST_Z) >> 1
    return (bits | along_x | along_y | along_z) & _BLOCK


@compiled
def grown_by_corners(bits: int) -> int:
    """Add the 26-neighbours of every voxel in a block."""
    bits |= (bits & _NOT_LAST_Z) << 1 | (bits & _NOT_FIRST_Z) >> 1
    bits |= (bits & _NOT_LAST_Y) << 3 | (bits & _NOT_FIRST_Y) >> 3
    return (bits | bits << 9 | bits >> 9) & _BLOCK
