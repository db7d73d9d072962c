"""Distances from the voxels of one set to the nearest voxel of another set: exact, by two methods.

Most borders are close to each other. Then the rows of voxels around a voxel are searched, the nearest row first. Where
many voxels are far from all others, as in a speckled mask, a distance transform of the volume takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.packed import highest_bit, lowest_bit, pack_voxels

_ROWS = (200, 5000, None)
"""Rows that are searched around a voxel, until its nearest is found: 8 voxels away on a square grid, 40, and all."""

_SAMPLE, _FEW = 1000, 0.02
"""Of so many voxels, this share may be farther than the near rows. Otherwise the volume is transformed."""


def nearest_distances(
    voxels: NDArray[np.intp], others: NDArray[np.intp], shape: tuple[int, int, int], spacing: Sequence[float]
) -> NDArray[np.float64]:
    """Compute the distance from every voxel to the nearest of the others.

    Args:
        voxels: Indices (N, 3).
        others: Indices (M, 3), not empty.
        shape: Shape (X, Y, Z) of an array that contains all voxels.
        spacing: Voxel size along X, Y and Z; the unit of the result.

    Returns:
        (N,).
    """
    size = np.array(spacing, np.float64)
    words = pack_voxels(others, shape).view(np.uint64)
    sample = voxels[:: len(voxels) // _SAMPLE + 1]
    near = _rows_around(shape, size, _ROWS[0])
    if np.isnan(_search_rows(sample, words, *near, size)).mean() > _FEW:
        return _transformed(voxels, words, shape[2], size)
    distances = _search_rows(voxels, words, *near, size)
    for count in _ROWS[1:]:
        left = np.flatnonzero(np.isnan(distances))
        if len(left):
            distances[left] = _search_rows(voxels[left], words, *_rows_around(shape, size, count), size)
    return distances


def _rows_around(
    shape: tuple[int, int, int], size: NDArray[np.float64], count: int | None
) -> tuple[NDArray[np.int64], float]:
    """Offsets (K, 2) of the ``count`` nearest rows along X and Y, nearest first, and the least distance of all others."""
    reach, radius = [shape[0] - 1, shape[1] - 1], np.inf
    if count is not None:  # the nearest rows are within about this radius
        radius = 1.2 * float(np.sqrt(count * size[0] * size[1] / np.pi) + size[:2].max())
        reach = [min(extent, int(radius / step)) for extent, step in zip(reach, size[:2], strict=True)]
    x, y = (offsets.ravel() for offsets in np.mgrid[-reach[0] : reach[0] + 1, -reach[1] : reach[1] + 1])
    distances = np.hypot(x * size[0], y * size[1])
    order = np.argsort(distances, kind="stable")
    far = float(distances[order[count]]) if count is not None and count < len(order) else np.inf
    return np.stack([x, y], axis=1)[order[:count]], min(far, radius)


@compiled
def _search_rows(
    voxels: NDArray[np.intp],
    words: NDArray[np.uint64],
    rows: NDArray[np.int64],
    far: float,
    size: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distances to the nearest voxel in the rows, or NaN if a row at the distance ``far`` may contain a nearer one."""
    squares = (rows[:, 0] * size[0]) ** 2 + (rows[:, 1] * size[1]) ** 2
    distances = np.empty(len(voxels))
    for place in range(len(voxels)):
        x, y, z = voxels[place]
        least = np.inf
        for row in range(len(rows)):
            if squares[row] >= least:
                break
            near_x, near_y = x + 1 + rows[row, 0], y + 1 + rows[row, 1]
            if 0 < near_x < words.shape[0] - 1 and 0 < near_y < words.shape[1] - 1:
                steps = _steps_to_nearest(words[near_x, near_y], z)
                if steps >= 0:
                    least = min(least, squares[row] + (steps * size[2]) ** 2)
        distances[place] = np.sqrt(least) if least <= far * far else np.nan
    return distances


@compiled
def _steps_to_nearest(row: NDArray[np.uint64], z: int) -> int:
    """Number of voxels from z to the nearest one that is set in a row, or -1 if none is."""
    word, bit = z >> 6, z & 63
    after = row[word] >> np.uint64(bit)
    forward, ahead = lowest_bit(after), word + 1
    if after == 0:
        forward = -1
        while ahead < len(row):
            if row[ahead]:
                forward = ahead * 64 + lowest_bit(row[ahead]) - z
                break
            ahead += 1
    before, behind = row[word] << np.uint64(63 - bit), word - 1
    backward = 63 - highest_bit(before)
    if before == 0:
        backward = -1
        while behind >= 0:
            if row[behind]:
                backward = z - behind * 64 - highest_bit(row[behind])
                break
            behind -= 1
    if forward < 0 or backward < 0:
        return max(forward, backward)
    return min(forward, backward)


@compiled
def _transformed(
    voxels: NDArray[np.intp], words: NDArray[np.uint64], extent_z: int, size: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances by a distance transform of the volume (Felzenszwalb and Huttenlocher 2012)."""
    shape = (words.shape[0] - 2, words.shape[1] - 2, extent_z)
    squared = np.empty(shape, np.float32)
    for x in range(shape[0]):
        for y in range(shape[1]):
            _along_line(words[x + 1, y + 1], squared[x, y], size[2])
        _lower_envelopes(squared[x], size[1])
    for y in range(shape[1]):
        _lower_envelopes(squared[:, y], size[0])
    distances = np.empty(len(voxels))
    for place in range(len(voxels)):
        x, y, z = voxels[place]
        distances[place] = np.sqrt(np.float64(squared[x, y, z]))
    return distances


@compiled
def _along_line(row: NDArray[np.uint64], squared: NDArray[np.float32], size: float) -> None:
    """Squared distances to the nearest voxel that is set within a row; infinite if none is."""
    steps = np.inf
    for z in range(len(squared)):
        steps = 0.0 if row[z >> 6] >> np.uint64(z & 63) & np.uint64(1) else steps + 1
        squared[z] = steps
    for z in range(len(squared) - 1, -1, -1):
        steps = 0.0 if squared[z] == 0 else steps + 1
        squared[z] = (min(squared[z], steps) * size) ** 2


@compiled
def _lower_envelopes(squared: NDArray[np.float32], size: float) -> None:
    """Replace each column of an array (N, Z) by the lower envelope of the parabolas that stand on its values."""
    count, columns = squared.shape
    values = np.empty(count)
    at, starts = np.empty(count, np.int64), np.empty(count + 1)
    square = size * size
    for z in range(columns):
        last = -1
        for place in range(count):
            value = np.float64(squared[place, z])
            values[place] = value
            if value == np.inf:
                continue
            start = -np.inf
            while last >= 0:
                top = at[last]
                start = ((value - values[top]) / square + place * place - top * top) / (2.0 * (place - top))
                if start > starts[last]:
                    break
                last -= 1
                start = -np.inf
            last += 1
            at[last], starts[last] = place, start
        if last < 0:
            continue
        starts[last + 1] = np.inf
        parabola = 0
        for place in range(count):
            while starts[parabola + 1] < place:
                parabola += 1
            top = at[parabola]
            squared[place, z] = values[top] + square * (place - top) * (place - top)
