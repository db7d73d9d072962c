"""Connected pieces of foreground and background, counted on the runs of a packed mask.

A run is a stretch of voxels of a row. There are far fewer runs than voxels, and nothing is written for a voxel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.packed import lowest_bit


@compiled
def count_pieces(packed: NDArray[np.uint8], extent_z: int) -> int:
    """Number of 26-connected pieces of the foreground of a packed mask (see ``packed.pack``) of Z voxels a row."""
    starts, stops, rows = _runs(packed, extent_z, False)
    return _count(starts, stops, rows, packed.shape[1], True)


@compiled
def count_cavities(packed: NDArray[np.uint8], extent_z: int) -> int:
    """Number of 6-connected pieces of the background that do not touch the outside of the array."""
    starts, stops, rows = _runs(packed, extent_z, True)
    return _count(starts, stops, rows, packed.shape[1], False) - 1


@compiled
def _runs(
    packed: NDArray[np.uint8], extent_z: int, of_background: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """First and last voxel of every run, and where the runs of each row start.

    Runs of the background may start before the first voxel of a row, or end after the last one: outside the array.
    """
    words = packed.view(np.uint64)
    rows = np.zeros(words.shape[0] * words.shape[1] + 1, np.int64)
    edges = np.empty(words.shape[2] * 64 + 2, np.int32)
    starts, stops = np.empty(1 << 16, np.int32), np.empty(1 << 16, np.int32)
    count = 0
    for x in range(words.shape[0]):
        for y in range(words.shape[1]):
            edge, carried = 0, np.uint64(0)
            if of_background:
                edges[0], edge = -1, 1
            for z in range(words.shape[2]):
                # A bit is set where a voxel differs from the one before it.
                changes = words[x, y, z] ^ (words[x, y, z] << np.uint64(1) | carried)
                carried = words[x, y, z] >> np.uint64(63)
                while changes:
                    edges[edge] = z * 64 + lowest_bit(changes)
                    edge += 1
                    changes &= changes - np.uint64(1)
            if of_background:
                edges[edge] = extent_z + 1
                edge += 1
            if count + edge > len(starts):
                starts, stops = _twice(starts), _twice(stops)
            for place in range(0, edge, 2):
                starts[count], stops[count] = edges[place], edges[place + 1] - 1
                count += 1
            rows[x * words.shape[1] + y + 1] = count
    return starts[:count], stops[:count], rows


@compiled
def _twice(values: NDArray[np.int32]) -> NDArray[np.int32]:
    larger = np.empty(2 * len(values), np.int32)
    larger[: len(values)] = values
    return larger


@compiled
def _count(
    starts: NDArray[np.int32], stops: NDArray[np.int32], rows: NDArray[np.int64], extent_y: int, diagonal: bool
) -> int:
    """Number of sets of runs that touch; with ``diagonal`` also at edges and corners of voxels."""
    parents, pieces = np.arange(len(starts)), len(starts)
    before = np.array([-1, -extent_y, -extent_y - 1, -extent_y + 1])[: 4 if diagonal else 2]
    reach = 1 if diagonal else 0
    for row in range(len(rows) - 1):
        for offset in before:
            if row + offset < 0:
                continue
            run, other = rows[row], rows[row + offset]
            while run < rows[row + 1] and other < rows[row + offset + 1]:
                if starts[run] <= stops[other] + reach and starts[other] <= stops[run] + reach:
                    pieces -= _join(parents, run, other)
                if stops[run] < stops[other]:
                    run += 1
                else:
                    other += 1
    return pieces


@compiled
def _join(parents: NDArray[np.int64], run: int, other: int) -> int:
    """Join the sets of two runs; return 1 if they were apart."""
    first, second = _root(parents, run), _root(parents, other)
    parents[max(first, second)] = min(first, second)
    return 1 if first != second else 0


@compiled
def _root(parents: NDArray[np.int64], run: int) -> int:
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run
