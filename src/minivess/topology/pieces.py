"""The connected pieces of a packed mask, and its cavities: row by row, from the runs of voxels in each row.

The foreground is 26-connected and the background is 6-connected.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled, inlined
from minivess.topology.packed import lowest_bit


class Pieces(NamedTuple):
    """Connected pieces, in the order of their first voxels.

    Attributes:
        sizes: Voxels of each piece, (N,).
        firsts: Flat index of the first voxel of each piece in the packed mask, (N,).
    """

    sizes: NDArray[np.int64]
    firsts: NDArray[np.int64]

    def some(self, numbers: NDArray[np.intp]) -> Pieces:
        """The pieces with these numbers."""
        return Pieces(self.sizes[numbers], self.firsts[numbers])


def find_pieces(packed: NDArray[np.uint8]) -> Pieces:
    """Find the 26-connected pieces of the foreground."""
    return Pieces(*_components(packed.view(np.uint64), False))


def find_cavities(packed: NDArray[np.uint8]) -> Pieces:
    """Find the 6-connected pieces of the background that do not reach the outside."""
    sizes, firsts = _components(packed.view(np.uint64), True)
    return Pieces(sizes[1:], firsts[1:])  # the first one is the outside


@compiled
def row_runs(
    row: NDArray[np.uint64], flip: bool, starts: NDArray[np.int32], ends: NDArray[np.int32], count: int
) -> int:
    """Append the runs of foreground in a row of words (of background if ``flip``) to the first ``count`` runs.

    Returns:
        The new number of runs. A run goes from its start to the voxel before its end.
    """
    inside = np.uint64(0)
    for word in range(row.size):
        value = ~row[word] if flip else row[word]
        changes = value ^ (value << np.uint64(1) | inside)
        while changes:
            if inside:
                ends[count] = 64 * word + lowest_bit(changes)
                count += 1
            else:
                starts[count] = 64 * word + lowest_bit(changes)
            inside ^= np.uint64(1)
            changes &= changes - np.uint64(1)
    if inside:
        ends[count] = 64 * row.size
        count += 1
    return count


@inlined
def _root(parents: NDArray[np.int32], label: int) -> int:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@inlined
def _join(parents, labels, starts, ends, first, last, at, end, reach):  # type: ignore[no-untyped-def]
    """Join runs ``first`` to ``last`` of a row with the touching runs ``at`` to ``end`` of a neighbouring row."""
    for run in range(first, last):
        while at < end and ends[at] + reach <= starts[run]:
            at += 1
        other = at
        while other < end and starts[other] < ends[run] + reach:
            root = _root(parents, labels[other])
            if labels[run] < 0:
                labels[run] = root
            else:
                mine = _root(parents, labels[run])
                parents[max(mine, root)] = min(mine, root)
            other += 1


@compiled
def _components(words: NDArray[np.uint64], flip: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sizes and first voxels of the pieces; memory for the runs of two slices and one entry per provisional label."""
    height, width = words.shape[1], 64 * words.shape[2]
    most = height * (width // 2 + 1)
    # The runs of even slices are in the first half of these arrays, those of odd ones in the second half.
    starts, ends, labels = np.empty(2 * most, np.int32), np.empty(2 * most, np.int32), np.empty(2 * most, np.int32)
    rows = np.zeros((2, height + 1), np.int64)
    parents, sizes, firsts = np.empty(1024, np.int32), np.empty(1024, np.int64), np.empty(1024, np.int64)
    known = 0
    reach = 0 if flip else 1
    for x in range(words.shape[0]):
        now, before = x % 2, (x + 1) % 2
        count = now * most
        rows[now, 0] = count
        for y in range(height):
            first, count = count, row_runs(words[x, y], flip, starts, ends, count)
            rows[now, y + 1] = count
            if first == count:
                continue
            labels[first:count] = -1
            if flip and known and starts[first] == 0:
                labels[first] = 0  # background at the start of a row reaches the outside
            if y:
                _join(parents, labels, starts, ends, first, count, rows[now, y - 1], rows[now, y], reach)
            if x:
                for other in range(max(0, y - reach), min(height, y + reach + 1)):
                    start, stop = rows[before, other], rows[before, other + 1]
                    _join(parents, labels, starts, ends, first, count, start, stop, reach)
            for run in range(first, count):
                if labels[run] < 0:
                    if known == parents.size:
                        parents = np.concatenate((parents, np.empty(known, np.int32)))
                        sizes = np.concatenate((sizes, np.empty(known, np.int64)))
                        firsts = np.concatenate((firsts, np.empty(known, np.int64)))
                    parents[known], sizes[known] = known, 0
                    firsts[known] = (np.int64(x) * height + y) * width + starts[run]
                    labels[run] = known
                    known += 1
                sizes[labels[run]] += ends[run] - starts[run]
    return _merged(parents[:known], sizes[:known], firsts[:known])


@compiled
def _merged(
    parents: NDArray[np.int32], sizes: NDArray[np.int64], firsts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Size and first voxel of each label that is its own root; the others are added to their roots."""
    roots = np.zeros(parents.size, np.bool_)
    for label in range(parents.size):
        root = _root(parents, label)
        roots[label] = root == label
        if root != label:
            sizes[root] += sizes[label]
    return sizes[roots], firsts[roots]
