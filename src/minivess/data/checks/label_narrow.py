"""The narrow places of a label: bridges of one voxel, and passages one voxel wide. Compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.packed import block_around, is_set, lowest_bit, neighbour, set_voxel, strides
from minivess.topology.simple_points import AROUND, grown_by_corners

_FACE_BITS = (4, 10, 12, 14, 16, 22)  # -z, -y, -x, +x, +y, +z: bit and opposite bit add up to 26
_CUBES = np.array(
    [sum(1 << 9 * (z + c) + 3 * (y + b) + x + a for c in (0, 1) for b in (0, 1) for a in (0, 1))
     for z in (0, 1) for y in (0, 1) for x in (0, 1)]
)  # fmt: skip
"""The eight blocks of 2x2x2 voxels that contain the centre."""


@compiled
def mark_narrow(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mark the bridges and the passages of one voxel.

    A bridge is a foreground voxel without which the foreground around it falls into 26-connected pieces, of which two or
    more touch a cube of 2x2x2 foreground voxels. A vessel one voxel wide has no such cubes, so it has no bridges. A
    passage is a background voxel with foreground on four of its faces, whose two other faces do not meet around an edge.

    Args:
        packed: The label, from ``LabelBits.packed``.

    Returns:
        Bridges and passages, packed as the label.
    """
    bridges, passages = np.zeros_like(packed), np.zeros_like(packed)
    words, flat, (along_z, along_y) = packed.view(np.uint64), packed.reshape(-1), strides(packed)
    for z in range(1, words.shape[0] - 1):
        for y in range(1, words.shape[1] - 1):
            for word in range(words.shape[2]):
                fours, twos, ones = _neighbours(words, z, y, word)
                vessel = words[z, y, word]
                # Without a voxel with four neighbours or more, the others around it stay connected.
                possible = vessel & ~fours | ~vessel & fours & ~twos & ~ones
                while possible:
                    at = z * along_z + y * along_y + 64 * word + lowest_bit(possible)
                    possible &= possible - np.uint64(1)
                    if is_set(flat, at):
                        if _is_bridge(flat, at, along_z, along_y):
                            set_voxel(bridges.reshape(-1), at)
                    elif _is_passage(block_around(flat, at, along_z, along_y)):
                        set_voxel(passages.reshape(-1), at)
    return bridges, passages


@compiled
def _neighbours(words: NDArray[np.uint64], z: int, y: int, word: int) -> tuple[int, int, int]:
    """For 64 voxels at once, the number of face neighbours in the vessel, as three words: its 4s, 2s and 1s."""
    one_bit, last_bit = np.uint64(1), np.uint64(63)
    left, right = words[z, y, word] << one_bit, words[z, y, word] >> one_bit
    if word:
        left |= words[z, y, word - 1] >> last_bit
    if word + 1 < words.shape[2]:
        right |= words[z, y, word + 1] << last_bit
    a, b, c, d = words[z, y - 1, word], words[z, y + 1, word], words[z - 1, y, word], words[z + 1, y, word]
    one, two = left ^ right ^ a, left & right | left & a | right & a
    other, double = b ^ c ^ d, b & c | b & d | c & d
    carry = one & other
    return two & double | two & carry | double & carry, two ^ double ^ carry, one ^ other


@compiled
def _is_bridge(flat: NDArray[np.uint8], at: int, along_z: int, along_y: int) -> bool:
    """Whether the vessel around a voxel falls into pieces without it, of which two or more touch a cube of 2x2x2."""
    left, bulks = block_around(flat, at, along_z, along_y) & AROUND, 0
    whole = left
    while left:
        piece, grown = 0, left & -left
        while grown != piece:
            piece = grown
            grown = whole & grown_by_corners(piece)
        left &= ~piece
        if left == 0 and bulks == 0:
            return False
        while piece:
            near = neighbour(at, lowest_bit(piece), along_z, along_y)
            piece &= piece - 1
            if _in_cube(block_around(flat, near, along_z, along_y)):
                bulks += 1
                break
    return bulks > 1


@compiled
def _in_cube(block: int) -> bool:
    for cube in _CUBES:  # noqa: SIM110 - Numba has no any(...)
        if block & cube == cube:
            return True
    return False


@compiled
def _is_passage(block: int) -> bool:
    """Whether the two open faces of a background voxel do not meet around an edge."""
    first = second = -1
    for bit in _FACE_BITS:
        if block >> bit & 1 == 0:
            first, second = second, bit
    return first + second == 26 or block >> first + second - 13 & 1 == 1
