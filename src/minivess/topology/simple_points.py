"""Simple points: voxels that can be flipped without changing the topology of a mask. Exact, and compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled, inlined
from minivess.topology.packed import set_bits

# A block of 3x3x3 voxels is stored as 27 bits. Voxel (x, y, z) of the block is bit 9 x + 3 y + z; bit 13 is the centre.
_BITS = range(27)
_OFF_CENTRE = [abs(bit // 9 - 1) + abs(bit // 3 % 3 - 1) + abs(bit % 3 - 1) for bit in _BITS]
_FACES = sum(1 << bit for bit in _BITS if _OFF_CENTRE[bit] == 1)
AROUND = sum(1 << bit for bit in _BITS if _OFF_CENTRE[bit] >= 1)
"""All voxels of a block but its centre."""
_BLOCK = AROUND | 1 << 13
_NOT_FIRST_Y, _NOT_LAST_Y = (sum(1 << bit for bit in _BITS if bit // 3 % 3 != end) for end in (0, 2))
_NOT_FIRST_Z, _NOT_LAST_Z = (sum(1 << bit for bit in _BITS if bit % 3 != end) for end in (0, 2))

# The eight corners and twelve edges of the centre are bits too. Corner (x, y, z) is bit 9 x + 3 y + z, where x, y and z
# are 0 or 1. The four edges along each axis have the bits of the corners at their starts, shifted to different places.
_CORNERS = 0b011_011_000_011_011
_ALONG_Z, _ALONG_Y, _ALONG_X = 0b001_001_000_001_001, 0b110_000_000_110, 0b110_110_000
_EDGES = (
    [(bit, bit, bit + 1) for bit in (0, 3, 9, 12)]
    + [(bit + 1, bit, bit + 3) for bit in (0, 1, 9, 10)]
    + [(bit + 4, bit, bit + 9) for bit in (0, 1, 3, 4)]
)
"""For each edge its bit and the bits of its two corners."""


def _pieces_of_corners() -> NDArray[np.int8]:
    """For each set of edges, the number of pieces of the eight corners, minus 8."""
    edges = np.arange(1 << 13)
    names = np.tile(np.arange(14), (len(edges), 1))  # each corner gets the lowest bit of its piece
    for _ in range(7):
        for edge, first, second in _EDGES:
            lowest = np.minimum(names[:, first], names[:, second])
            names[:, (first, second)] = np.where(
                (edges >> edge & 1 == 1)[:, None], lowest[:, None], names[:, (first, second)]
            )
    corners = [bit for bit in range(14) if _CORNERS >> bit & 1]
    return ((names[:, corners] == corners).sum(axis=1) - 8).astype(np.int8)


_PIECES_OF_CORNERS = _pieces_of_corners()


@inlined
def is_simple(block: int) -> bool:
    """Return True if the centre of a block is a simple point: flipping it keeps the topology.

    The foreground is 6-connected and the background 26-connected. The value of the centre does not matter.

    Args:
        block: 27 bits. Voxel (x, y, z) of the 3x3x3 block is bit 9 x + 3 y + z; 1 is foreground.
    """
    return pieces_and_tunnels(~block & AROUND) == (1, 0)


@inlined
def pieces_and_tunnels(around: int) -> tuple[int, int]:
    """Count the 26-connected pieces of the voxels around the centre of a block, and the tunnels through the centre.

    Two voxels around the centre that touch each other touch a common corner of the centre. So it is enough to look at the
    centre's surface: at its corners, edges and faces that are touched. They are a patch without holes if the centre is a
    simple point of a 26-connected foreground: one piece, no tunnel.

    Args:
        around: The voxels around the centre, bits of `AROUND`.

    Returns:
        Pieces and tunnels. The tunnels are -1 if all faces are touched by voxels: the centre is then within the foreground.
    """
    pairs = around | around >> 1
    squares = pairs | pairs >> 3
    corners = (squares | squares >> 9) & _CORNERS
    columns = around | around >> 3
    edges = (columns | columns >> 9) >> 1 & _ALONG_Z
    edges |= (pairs | pairs >> 9) >> 2 & _ALONG_Y | squares >> 5 & _ALONG_X
    count = set_bits(corners)
    pieces = _PIECES_OF_CORNERS[edges] + count
    return pieces, pieces - (count - set_bits(edges) + set_bits(around & _FACES))  # by the Euler characteristic


@inlined
def is_one_piece(around: int) -> bool:
    """Return True if the voxels around the centre of a block are one 26-connected piece; also True without any voxel."""
    return pieces_and_tunnels(around)[0] <= 1


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
def grown_by_corners(bits: int) -> int:
    """Add the 26-neighbours of every voxel in a block."""
    bits |= (bits & _NOT_LAST_Z) << 1 | (bits & _NOT_FIRST_Z) >> 1
    bits |= (bits & _NOT_LAST_Y) << 3 | (bits & _NOT_FIRST_Y) >> 3
    return (bits | bits << 9 | bits >> 9) & _BLOCK
