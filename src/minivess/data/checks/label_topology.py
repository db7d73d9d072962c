"""Pieces, holes and narrow places of a label that is stored as bits (``LabelBits.words``). Compiled by Numba.

Vessels are 26-connected and the background is 6-connected, as in ``minivess.metrics.betti``. All compiled functions are in
this file, because Numba's cache does not detect changes in other files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Function = TypeVar("_Function", bound=Callable)
Words = NDArray[np.uint32]

_FULL = 2**32 - 1
_BITS = range(27)  # of a block of 3x3x3 voxels: voxel (x, y, z) is bit 9 z + 3 y + x; bit 13 is the centre
_CENTRE = 1 << 13
_AROUND = 2**27 - 1 - _CENTRE
_NOT_FIRST_X, _NOT_LAST_X = (sum(1 << bit for bit in _BITS if bit % 3 != end) for end in (0, 2))
_NOT_FIRST_Y, _NOT_LAST_Y = (sum(1 << bit for bit in _BITS if bit // 3 % 3 != end) for end in (0, 2))
_FACE_BITS = (4, 10, 12, 14, 16, 22)  # -z, -y, -x, +x, +y, +z: bit and opposite bit add up to 26
_CUBES = np.array(
    [sum(1 << 9 * (z + c) + 3 * (y + b) + x + a for c in (0, 1) for b in (0, 1) for a in (0, 1))
     for z in (0, 1) for y in (0, 1) for x in (0, 1)]
)  # fmt: skip
"""The eight blocks of 2x2x2 voxels that contain the centre."""


def _compiled(function: _Function) -> _Function:
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no cache folder can be written, so each process compiles the function
        return njit(nogil=True)(function)


class Pieces(NamedTuple):
    """Connected pieces, in the order of their first voxels (X fastest).

    Attributes:
        sizes: Voxels of each piece, (N,).
        firsts: First voxel of each piece as x, y, z, (N, 3), counted in the label without its border.
    """

    sizes: NDArray[np.int64]
    firsts: NDArray[np.int64]

    def some(self, numbers: NDArray[np.intp]) -> Pieces:
        """The pieces with these numbers."""
        return Pieces(self.sizes[numbers], self.firsts[numbers])


def vessel_pieces(words: Words, width: int) -> Pieces:
    """Find the 26-connected pieces of the foreground. ``width`` is the number of voxels along X."""
    return _as_pieces(words, width, *_components(words, width + 2, False))


def cavities(words: Words, width: int) -> Pieces:
    """Find the 6-connected pieces of the background that do not reach the outside."""
    sizes, firsts = _components(words, width + 2, True)
    return _as_pieces(words, width, sizes[1:], firsts[1:])  # the first one is the outside


def _as_pieces(words: Words, width: int, sizes: NDArray[np.int64], firsts: NDArray[np.int64]) -> Pieces:
    rest, x = np.divmod(firsts, width + 2)
    z, y = np.divmod(rest, words.shape[1])
    return Pieces(sizes, np.stack([x, y, z], axis=-1) - 1)


@_compiled
def _ones(value):  # type: ignore[no-untyped-def]
    """Number of set bits of a 32-bit word."""
    value -= value >> 1 & 0x55555555
    value = (value & 0x33333333) + (value >> 2 & 0x33333333)
    value = value + (value >> 4) & 0x0F0F0F0F
    return (value * 0x01010101 & _FULL) >> 24


@_compiled
def _row_runs(row, width, flip, starts, ends, count):  # type: ignore[no-untyped-def]
    """Append the runs of set bits of a row (of unset bits if ``flip``); return the new number of runs."""
    inside = 0
    for word in range(row.size):
        value = np.int64(row[word]) ^ _FULL if flip else np.int64(row[word])
        changes = (value ^ (value << 1 | inside)) & _FULL
        while changes:
            place = 32 * word + _ones((changes & -changes) - 1)
            if inside:
                ends[count] = place
                count += 1
            else:
                starts[count] = place
            inside = 1 - inside
            changes &= changes - 1
    if inside:
        ends[count] = width
        count += 1
    return count


@_compiled
def _root(parents, label):  # type: ignore[no-untyped-def]
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@_compiled
def _join(parents, labels, own, first, last, starts, ends, others, at, end, reach):  # type: ignore[no-untyped-def]
    """Join runs ``first`` to ``last`` with the touching runs ``at`` to ``end`` of a neighbouring row.

    ``starts`` and ``ends`` are pairs: of the own row, and of the neighbouring one, whose labels are ``others``.
    """
    for run in range(first, last):
        while at < end and ends[1][at] + reach <= starts[0][run]:
            at += 1
        other = at
        while other < end and starts[1][other] < ends[0][run] + reach:
            root = _root(parents, others[other])
            if labels[run] < 0:
                labels[run] = root
            else:
                mine = _root(parents, labels[run])
                parents[max(mine, root)] = min(mine, root)
            other += 1


@_compiled
def _components(words, width, flip):  # type: ignore[no-untyped-def]
    """Sizes and first voxels of the pieces; memory for the runs of two slices and one entry per provisional label."""
    depth, height = words.shape[0], words.shape[1]
    most = height * (width // 2 + 1)
    starts, ends = np.empty((2, most), np.int32), np.empty((2, most), np.int32)
    labels, rows = np.empty((2, most), np.int32), np.zeros((2, height + 1), np.int32)
    parents, sizes, firsts = np.empty(1024, np.int32), np.empty(1024, np.int64), np.empty(1024, np.int64)
    known = 0
    reach = 0 if flip else 1
    for z in range(depth):
        now, before = z % 2, (z + 1) % 2
        count = 0
        for y in range(height):
            first, count = count, _row_runs(words[z, y], width, flip, starts[now], ends[now], count)
            rows[now, y + 1] = count
            labels[now, first:count] = -1
            both_starts, both_ends = (starts[now], starts[now]), (ends[now], ends[now])
            if y:
                _join(parents, labels[now], now, first, count, both_starts, both_ends, labels[now],
                      rows[now, y - 1], rows[now, y], reach)  # fmt: skip
            if z:
                both_starts, both_ends = (starts[now], starts[before]), (ends[now], ends[before])
                for other in range(max(0, y - reach), min(height, y + reach + 1)):
                    _join(parents, labels[now], now, first, count, both_starts, both_ends, labels[before],
                          rows[before, other], rows[before, other + 1], reach)  # fmt: skip
            for run in range(first, count):
                if labels[now, run] < 0:
                    if known == parents.size:
                        parents = np.concatenate((parents, np.empty(known, np.int32)))
                        sizes = np.concatenate((sizes, np.empty(known, np.int64)))
                        firsts = np.concatenate((firsts, np.empty(known, np.int64)))
                    parents[known], sizes[known] = known, 0
                    firsts[known] = (np.int64(z) * height + y) * width + starts[now, run]
                    labels[now, run] = known
                    known += 1
                sizes[labels[now, run]] += ends[now, run] - starts[now, run]
    return _merged(parents[:known], sizes[:known], firsts[:known])


@_compiled
def _merged(parents, sizes, firsts):  # type: ignore[no-untyped-def]
    """Size and first voxel of each label that is its own root; the others are added to their roots."""
    roots = np.zeros(parents.size, np.bool_)
    for label in range(parents.size):
        root = _root(parents, label)
        roots[label] = root == label
        if root != label:
            sizes[root] += sizes[label]
    return sizes[roots], firsts[roots]


@_compiled
def euler_characteristic(words):  # type: ignore[no-untyped-def]
    """Number of vertices - edges + faces - cubes of the union of the closed voxels."""
    total = 0
    for z in range(1, words.shape[0]):
        for y in range(1, words.shape[1]):
            carry = 0  # the last bit of the word before, of: voxel, pair along y, pair along z, four voxels
            for word in range(words.shape[2]):
                one, along_y = (
                    np.int64(words[z, y, word]),
                    np.int64(words[z, y, word]) | np.int64(words[z, y - 1, word]),
                )
                along_z = one | np.int64(words[z - 1, y, word])
                four = along_y | along_z | np.int64(words[z - 1, y - 1, word])
                if four | carry == 0:
                    continue
                across = (one << 1 | carry & 1, along_y << 1 | carry >> 1 & 1, along_z << 1 | carry >> 2 & 1,
                          four << 1 | carry >> 3 & 1)  # fmt: skip
                total += _ones((four | across[3]) & _FULL)
                total -= _ones(four) + _ones((along_y | across[1]) & _FULL) + _ones((along_z | across[2]) & _FULL)
                total += _ones(along_y) + _ones(along_z) + _ones((one | across[0]) & _FULL) - _ones(one)
                carry = one >> 31 | along_y >> 31 << 1 | along_z >> 31 << 2 | four >> 31 << 3
    return total


@_compiled
def _block(words, z, y, x):  # type: ignore[no-untyped-def]
    """The 27 bits of the block around a voxel, all indices with the border."""
    word, offset, block = (x - 1) >> 5, (x - 1) & 31, 0
    for near in range(9):
        row = words[z + near // 3 - 1, y + near % 3 - 1]
        value = np.int64(row[word]) >> offset
        if offset > 29:
            value |= np.int64(row[word + 1]) << 32 - offset
        block |= (value & 7) << 3 * near
    return block


@_compiled
def _grown(piece):  # type: ignore[no-untyped-def]
    """Add the 26-neighbours of every voxel in a block."""
    piece |= (piece << 1 & _NOT_FIRST_X) | (piece >> 1 & _NOT_LAST_X)
    piece |= (piece << 3 & _NOT_FIRST_Y) | (piece >> 3 & _NOT_LAST_Y)
    return (piece | piece << 9 | piece >> 9) & (_CENTRE | _AROUND)


@_compiled
def _is_bridge(words, z, y, x):  # type: ignore[no-untyped-def]
    """Whether the vessel around a voxel falls into pieces without it, of which two or more touch a cube of 2x2x2."""
    left, bulks = _block(words, z, y, x) & _AROUND, 0
    whole = left
    while left:
        piece, grown = 0, left & -left
        while grown != piece:
            piece = grown
            grown = whole & _grown(piece)
        left &= ~piece
        if left == 0 and bulks == 0:
            return False
        for bit in range(27):
            if piece >> bit & 1:
                around = _block(words, z + bit // 9 - 1, y + bit // 3 % 3 - 1, x + bit % 3 - 1)
                if _in_cube(around):
                    bulks += 1
                    break
    return bulks > 1


@_compiled
def _in_cube(block):  # type: ignore[no-untyped-def]
    for cube in _CUBES:  # noqa: SIM110 - Numba has no any(...)
        if block & cube == cube:
            return True
    return False


@_compiled
def _is_passage(block):  # type: ignore[no-untyped-def]
    """Whether the two open faces of a background voxel do not meet around an edge."""
    first = second = -1
    for bit in _FACE_BITS:
        if block >> bit & 1 == 0:
            first, second = second, bit
    return first + second == 26 or block >> first + second - 13 & 1 == 1


@_compiled
def _neighbours(words, z, y, word):  # type: ignore[no-untyped-def]
    """For 32 voxels at once, the number of face neighbours in the vessel, as three words: its 4s, 2s and 1s."""
    centre = np.int64(words[z, y, word])
    left = (centre << 1 | (np.int64(words[z, y, word - 1]) >> 31 if word else 0)) & _FULL
    right = centre >> 1 | ((np.int64(words[z, y, word + 1]) & 1) << 31 if word + 1 < words.shape[2] else 0)
    a, b = np.int64(words[z, y - 1, word]), np.int64(words[z, y + 1, word])
    c, d = np.int64(words[z - 1, y, word]), np.int64(words[z + 1, y, word])
    one, two = left ^ right ^ a, left & right | left & a | right & a
    other, double = b ^ c ^ d, b & c | b & d | c & d
    carry = one & other
    return two & double | two & carry | double & carry, two ^ double ^ carry, one ^ other


@_compiled
def mark_narrow(words):  # type: ignore[no-untyped-def]
    """Mark the bridges and the passages of one voxel.

    A bridge is a foreground voxel without which the foreground around it falls into 26-connected pieces, of which two or
    more touch a cube of 2x2x2 foreground voxels. A vessel one voxel wide has no such cubes, so it has no bridges. A
    passage is a background voxel with foreground on four of its faces, whose two other faces do not meet around an edge.

    Args:
        words: The label.

    Returns:
        Bridges and passages, each as bits in the layout of ``words``.
    """
    bridges, passages = np.zeros_like(words), np.zeros_like(words)
    for z in range(1, words.shape[0] - 1):
        for y in range(1, words.shape[1] - 1):
            for word in range(words.shape[2]):
                fours, twos, ones = _neighbours(words, z, y, word)
                vessel = np.int64(words[z, y, word])
                # Without a voxel with four neighbours or more, the others around it stay connected.
                possible = (vessel & ~fours) | (~vessel & fours & ~twos & ~ones)
                bit = 0
                while possible >> bit:
                    if possible >> bit & 1:
                        if vessel >> bit & 1:
                            if _is_bridge(words, z, y, 32 * word + bit):
                                bridges[z, y, word] |= np.uint32(1 << bit)
                        elif _is_passage(_block(words, z, y, 32 * word + bit)):
                            passages[z, y, word] |= np.uint32(1 << bit)
                    bit += 1
    return bridges, passages


@_compiled
def take_pieces(words, firsts, sizes):  # type: ignore[no-untyped-def]
    """Remove pieces from the label.

    Args:
        words: The label; changed in place.
        firsts: First voxel of each piece as x, y, z, (N, 3).
        sizes: Voxels of each piece, (N,).

    Returns:
        The voxels of one piece after the other as x, y, z, counted from the lowest corner of the piece, (sum of sizes, 3)
        int32; and the extent of each piece along x, y, z, (N, 3).
    """
    voxels, extents = np.empty((sizes.sum(), 3), np.int32), np.empty((sizes.size, 3), np.int64)
    start = 0
    for piece in range(sizes.size):
        end = start + sizes[piece]
        _take_piece(words, firsts[piece], voxels[start:end])
        for axis in range(3):
            low = voxels[start:end, axis].min()
            voxels[start:end, axis] -= low
            extents[piece, axis] = voxels[start:end, axis].max() + 1
        start = end
    return voxels, extents


@_compiled
def _take_piece(words, first, voxels):  # type: ignore[no-untyped-def]
    voxels[0] = first
    _clear(words, voxels[0])
    found = 1
    for number in range(voxels.shape[0]):
        x, y, z = voxels[number]
        block = _block(words, z + 1, y + 1, x + 1)
        for bit in range(27):
            if block >> bit & 1:
                voxels[found, 0] = x + bit % 3 - 1
                voxels[found, 1] = y + bit // 3 % 3 - 1
                voxels[found, 2] = z + bit // 9 - 1
                _clear(words, voxels[found])
                found += 1


@_compiled
def _clear(words, voxel):  # type: ignore[no-untyped-def]
    words[voxel[2] + 1, voxel[1] + 1, (voxel[0] + 1) >> 5] ^= np.uint32(1 << ((voxel[0] + 1) & 31))


@_compiled
def count_jumps(words, width, step_y, step_z, most):  # type: ignore[no-untyped-def]
    """Count how far vessels jump sideways, along X, from row to row.

    A run is a series of foreground voxels along X. For each run whose only touching runs, one step before and one step
    after, touch only it, the jump is the distance of its middle from the mean of the other two middles. A vessel that
    runs straight on does not jump, whatever its direction.

    Args:
        words: The label.
        width: Voxels along X.
        step_y: Rows between neighbours along Y.
        step_z: Slices between neighbours along Z. One of the two steps is 0.
        most: Longest run that counts: longer ones lie along X, and their middles say little.

    Returns:
        Number of jumps of each size in quarters of a voxel, (128,), the last one for all larger ones; and the sum of the
        jumps in quarters of a voxel at each row, (Y,).
    """
    counts, sums = np.zeros(128, np.int64), np.zeros(words.shape[1] - 2, np.int64)
    starts, ends = np.empty((3, width // 2 + 2), np.int32), np.empty((3, width // 2 + 2), np.int32)
    numbers, at = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for z in range(1 + step_z, words.shape[0] - 1 - step_z):
        for y in range(1 + step_y, words.shape[1] - 1 - step_y):
            numbers[1] = _row_runs(words[z, y], width + 2, False, starts[1], ends[1], 0)
            if numbers[1] == 0:
                continue
            for side in (0, 2):
                row = words[z + (side - 1) * step_z, y + (side - 1) * step_y]
                numbers[side], at[side] = _row_runs(row, width + 2, False, starts[side], ends[side], 0), 0
            for run in range(numbers[1]):
                for side in (0, 2):
                    while at[side] < numbers[side] and ends[side, at[side]] <= starts[1, run]:
                        at[side] += 1
                before = _only_partner(starts, ends, numbers, run, 0, at[0])
                after = _only_partner(starts, ends, numbers, run, 2, at[2])
                if before < 0 or after < 0:
                    continue
                longest = max(ends[0, before] - starts[0, before], ends[1, run] - starts[1, run],
                              ends[2, after] - starts[2, after])  # fmt: skip
                if longest <= most:
                    middles = starts[0, before] + ends[0, before] + starts[2, after] + ends[2, after]
                    jump = min(127, abs(2 * (starts[1, run] + ends[1, run]) - middles))
                    counts[jump] += 1
                    sums[y - 1] += jump
    return counts, sums


@_compiled
def _only_partner(starts, ends, numbers, run, side, at):  # type: ignore[no-untyped-def]
    """The run of the other row that touches this one, if there is one and it touches no other run; -1 otherwise.

    ``at`` is the first run of the other row that does not end before this one.
    """
    if at >= numbers[side] or starts[side, at] >= ends[1, run]:
        return -1
    if at + 1 < numbers[side] and starts[side, at + 1] < ends[1, run]:
        return -1
    if run and ends[1, run - 1] > starts[side, at]:
        return -1
    if run + 1 < numbers[1] and starts[1, run + 1] < ends[side, at]:
        return -1
    return at
