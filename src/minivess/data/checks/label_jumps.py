"""How far the vessels of a label jump sideways from row to row. Compiled by Numba."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.compiling import compiled
from minivess.topology.pieces import row_runs


@compiled
def count_jumps(
    packed: NDArray[np.uint8], step_y: int, step_z: int, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count how far vessels jump sideways, along X, from row to row.

    A run is a series of foreground voxels along X. For each run whose only touching runs, one step before and one step
    after, touch only it, the jump is the distance of its middle from the mean of the other two middles. A vessel that
    runs straight on does not jump, whatever its direction.

    Args:
        packed: The label, from ``LabelBits.packed``.
        step_y: Rows between neighbours along Y.
        step_z: Slices between neighbours along Z. One of the two steps is 0.
        most: Longest run that counts: longer ones lie along X, and their middles say little.

    Returns:
        Number of jumps of each size in quarters of a voxel, (128,), the last one for all larger ones; and the sum of the
        jumps in quarters of a voxel at each row, (Y,).
    """
    words = packed.view(np.uint64)
    counts, sums = np.zeros(128, np.int64), np.zeros(words.shape[1] - 2, np.int64)
    longest_row = 32 * words.shape[2] + 1
    starts, ends = np.empty((3, longest_row), np.int32), np.empty((3, longest_row), np.int32)
    numbers, at = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for z in range(1 + step_z, words.shape[0] - 1 - step_z):
        for y in range(1 + step_y, words.shape[1] - 1 - step_y):
            numbers[1] = row_runs(words[z, y], False, starts[1], ends[1], 0)
            if numbers[1] == 0:
                continue
            for side in (0, 2):
                row = words[z + (side - 1) * step_z, y + (side - 1) * step_y]
                numbers[side], at[side] = row_runs(row, False, starts[side], ends[side], 0), 0
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


@compiled
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
