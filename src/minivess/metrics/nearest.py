"""Distances from the voxels of one set to the nearest voxel of another set: exact, by two methods.

Most borders are close to each other. Then the nearest places around a voxel are looked at, for 64 voxels at a time, and
for the voxels that are left the rows of voxels around them, the nearest row first. Where many voxels are far from all
others, as in a speckled mask, a distance transform of the volume takes less time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled, inlined
from minivess.topology.packed import highest_bit, lowest_bit, set_bits

_STEPS, _REACH = 100, 4
"""Places that are looked at for 64 voxels at a time, and how many voxels along each axis they are away at most."""

_ROWS = (200, 5000, 50_000, None)
"""Rows that are searched around a voxel, until its nearest is found: 8 voxels away on a square grid, 40, 126, and all."""

_SAMPLE, _FEW, _MOST = 1000, 0.02, 0.25
"""Of so many voxels, this share may be farther than the near rows. Otherwise the volume is transformed; completely if this
larger share is farther."""


def nearest_distances(
    voxels: NDArray[np.integer],
    packed: NDArray[np.uint8],
    others: NDArray[np.uint8],
    extent_z: int,
    spacing: Sequence[float],
) -> NDArray[np.float64]:
    """Compute the distance from every voxel to the nearest of the others.

    Args:
        voxels: Indices (N, 3), in the order of the array.
        packed: The same voxels as a packed mask, see ``packed.pack``.
        others: Packed mask of the others with the same shape, not empty.
        extent_z: Number of voxels along Z.
        spacing: Voxel size along X, Y and Z; the unit of the result.

    Returns:
        (N,).
    """
    size, words = np.array(spacing, np.float64), others.view(np.uint64)
    shape = (words.shape[0] - 2, words.shape[1] - 2, extent_z)
    sample = voxels[:: len(voxels) // _SAMPLE + 1]
    near = _rows_around(shape, size, _ROWS[0])
    far = np.isnan(_search_rows(sample, words, *near, size)).mean()
    if far > _FEW:
        return _transformed(voxels, words, extent_z, size, bool(far > _MOST))
    distances = _near_distances(packed.view(np.uint64), words, *_steps_around(size), len(voxels))
    for count in _ROWS:
        left = np.flatnonzero(np.isnan(distances))
        if len(left):
            distances[left] = _search_rows(voxels[left], words, *_rows_around(shape, size, count), size)
    return distances


def _steps_around(size: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest steps (K, 3) from a voxel to others, nearest first, and their lengths."""
    steps = np.indices((2 * _REACH + 1,) * 3).reshape(3, -1).T - _REACH
    lengths = np.sqrt((steps[:, 0] * size[0]) ** 2 + (steps[:, 1] * size[1]) ** 2 + (steps[:, 2] * size[2]) ** 2)
    order = np.argsort(lengths, kind="stable")[:_STEPS]
    order = order[lengths[order] < (_REACH + 1) * size.min()]  # from there on, other steps are as short
    return steps[order], lengths[order]


@compiled
def _near_distances(
    words: NDArray[np.uint64],
    others: NDArray[np.uint64],
    steps: NDArray[np.int64],
    lengths: NDArray[np.float64],
    voxels: int,
) -> NDArray[np.float64]:
    """Distances of the voxels that are set in ``words`` to those in ``others``, or NaN if no step leads to one."""
    distances, first = np.zeros(voxels), 0
    for x in range(1, words.shape[0] - 1):
        for y in range(1, words.shape[1] - 1):
            for word in range(words.shape[2]):
                here = words[x, y, word]
                left = here & ~others[x, y, word]
                step = 1
                while left:
                    found, length = left, np.nan
                    if step < len(steps):
                        along_x, along_y, along_z = steps[step]
                        found = left & _beside(others, x + along_x, y + along_y, word, along_z)
                        length = lengths[step]
                    left &= ~found
                    while found:
                        below = (found & (~found + np.uint64(1))) - np.uint64(1)
                        distances[first + set_bits(here & below)] = length
                        found &= found - np.uint64(1)
                    step += 1
                first += set_bits(here)
    return distances


@inlined
def _beside(words: NDArray[np.uint64], x: int, y: int, word: int, steps: int) -> np.uint64:
    """The 64 voxels of a row that are some steps along Z away from those of a word; 0 outside the array."""
    if x < 0 or y < 0 or x >= words.shape[0] or y >= words.shape[1]:
        return np.uint64(0)
    row, value = (np.uint64(x), np.uint64(y)), words[np.uint64(x), np.uint64(y), np.uint64(word)]
    if steps > 0:
        value >>= np.uint64(steps)
        if word + 1 < words.shape[2]:
            value |= words[row[0], row[1], np.uint64(word + 1)] << np.uint64(64 - steps)
    elif steps < 0:
        value <<= np.uint64(-steps)
        if word:
            value |= words[row[0], row[1], np.uint64(word - 1)] >> np.uint64(64 + steps)
    return value


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
    voxels: NDArray[np.integer],
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
                steps = _steps_to_nearest(words, near_x, near_y, z)
                if steps >= 0:
                    least = min(least, squares[row] + (steps * size[2]) ** 2)
        distances[place] = np.sqrt(least) if least <= far * far else np.nan
    return distances


@inlined
def _steps_to_nearest(words: NDArray[np.uint64], x: int, y: int, z: int) -> int:
    """Number of voxels from z to the nearest one that is set in a row, or -1 if none is."""
    word, bit, least = z >> 6, z & 63, -1
    for place in range(words.shape[2]):
        value = words[np.uint64(x), np.uint64(y), np.uint64(place)]
        if value == 0:
            continue
        start = 64 * place
        if place > word:
            steps = start + lowest_bit(value) - z
        elif place < word:
            steps = z - start - highest_bit(value)
        else:
            ahead, behind = value >> np.uint64(bit), value << np.uint64(63 - bit)
            steps = lowest_bit(ahead) if ahead else 64
            steps = min(steps, 63 - highest_bit(behind)) if behind else steps
        least = steps if least < 0 else min(least, steps)
    return least


@compiled
def _transformed(
    voxels: NDArray[np.integer], words: NDArray[np.uint64], extent_z: int, size: NDArray[np.float64], far: bool
) -> NDArray[np.float64]:
    """Distances by a distance transform of the volume (Felzenszwalb and Huttenlocher 2012).

    Unless most voxels are far from all others, the last pass, along X, looks at the places around each voxel: they are
    few, and the voxels are few compared with the volume.
    """
    shape = (words.shape[0] - 2, words.shape[1] - 2, extent_z)
    squared = np.empty(shape, np.float32)
    for x in range(shape[0]):
        for y in range(shape[1]):
            _along_line(words[x + 1, y + 1], squared[x, y], size[2])
        _lower_envelopes(squared[x], size[1])
    if far:
        across = np.empty((shape[0], shape[2]), np.float32)  # rows of different slices are far apart in memory
        for y in range(shape[1]):
            for x in range(shape[0]):
                across[x] = squared[x, y]
            _lower_envelopes(across, size[0])
            for x in range(shape[0]):
                squared[x, y] = across[x]
    distances, square = np.empty(len(voxels)), size[0] * size[0]
    for place in range(len(voxels)):
        x, y, z = voxels[place]
        least = np.float64(squared[x, y, z])
        step, added = 1, square
        while not far and added < least and step < shape[0]:
            if x >= step:
                least = min(least, squared[x - step, y, z] + added)
            if x + step < shape[0]:
                least = min(least, squared[x + step, y, z] + added)
            step += 1
            added = square * step * step
        distances[place] = np.sqrt(np.float64(np.float32(least)))
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
