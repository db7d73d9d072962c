"""How far vessels jump sideways: planted jumps are counted with their sizes."""

from __future__ import annotations

import numpy as np

from minivess.data.checks.label_jumps import count_jumps
from minivess.topology.packed import pack


def _packed(mask: np.ndarray) -> np.ndarray:
    return pack(mask.transpose(2, 1, 0))


class TestCountJumps:
    def test_a_straight_oblique_bar_does_not_jump(self) -> None:
        mask = np.zeros((40, 9, 10), bool)
        for z in range(10):
            mask[3 * z : 3 * z + 8, 2:6, z] = True
        counts, sums = count_jumps(_packed(mask), 0, 1, 64)
        assert counts[0] == counts.sum() == 4 * 8  # four rows in the eight slices with two neighbours
        assert not sums.any()

    def test_a_slice_moved_by_two_voxels_jumps_by_two(self) -> None:
        mask = np.zeros((40, 9, 5), bool)
        mask[10:20, 2:6] = True
        mask[:, :, 2] = np.roll(mask[:, :, 2], 2, axis=0)
        counts, sums = count_jumps(_packed(mask), 0, 1, 64)
        # The moved slice is 2 voxels from its neighbours; each neighbour is 1 voxel from the mean of its own two.
        assert (counts[8], counts[4], counts.sum()) == (4, 8, 12)
        assert sums.tolist() == [0, 0, 16, 16, 16, 16, 0, 0, 0]
        assert count_jumps(_packed(mask), 1, 0, 64)[0][1:].sum() == 0

    def test_runs_that_fork_or_are_too_long_do_not_count(self) -> None:
        mask = np.zeros((40, 3, 3), bool)
        mask[5:30, 1] = True
        mask[15:18, 1, 2] = False
        assert count_jumps(_packed(mask), 0, 1, 64)[0].sum() == 0
        mask[15:18, 1, 2] = True
        assert count_jumps(_packed(mask), 0, 1, 64)[0].sum() == 1
        assert count_jumps(_packed(mask), 0, 1, 24)[0].sum() == 0
