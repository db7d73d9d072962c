from __future__ import annotations

import numpy as np
from numba import njit
from scipy.ndimage import generate_binary_structure, label

from minivess.topology.simple_points import flip_simple_points, is_simple

CENTRE = 1 << 13


def block(*voxels):
    """Bits of a 3x3x3 block in which ``voxels`` are set, each (x, y, z) from -1 to 1."""
    return sum(1 << 9 * (x + 1) + 3 * (y + 1) + z + 1 for x, y, z in voxels)


def is_simple_by_labelling(bits):
    """Compute `is_simple` from the two topological numbers, with SciPy's connected components."""
    vessel = np.array([bits >> bit & 1 for bit in range(27)], dtype=bool).reshape(3, 3, 3)
    off_centre = np.abs(np.indices((3, 3, 3)) - 1).sum(axis=0)
    pieces, _ = label(vessel & (off_centre > 0) & (off_centre < 3), generate_binary_structure(3, 1))
    _, outside = label(~vessel & (off_centre > 0), generate_binary_structure(3, 3))
    return len(set(pieces[off_centre == 1]) - {0}) == 1 and outside == 1


@njit
def count_simple():
    count = 0
    for bits in range(1 << 26):
        count += is_simple((bits >> 13) << 14 | bits & 0x1FFF)
    return count


class TestIsSimple:
    def test_end_of_a_line_is_simple(self):
        assert is_simple(block((1, 0, 0)))

    def test_middle_of_a_line_is_not_simple(self):
        assert not is_simple(block((1, 0, 0), (-1, 0, 0)))

    def test_voxel_that_closes_a_ring_is_not_simple(self):
        assert is_simple(block((1, 0, 0), (1, 1, 0), (0, 1, 0)))
        assert not is_simple(block((1, 0, 0), (0, 1, 0)))

    def test_edge_and_corner_neighbours_do_not_connect(self):
        assert not is_simple(block((1, 1, 0)))
        assert not is_simple(block((1, 1, 1)))
        assert is_simple(
            block((1, 0, 0), (-1, 1, 0))
        )  # the second voxel is a separate vessel, before and after the flip

    def test_centre_of_an_empty_or_full_block_is_not_simple(self):
        assert not is_simple(0)
        assert not is_simple((1 << 27) - 1)

    def test_value_of_the_centre_does_not_matter(self):
        for bits in np.random.default_rng(0).integers(0, 1 << 27, 200).tolist():
            assert is_simple(bits) == is_simple(bits ^ CENTRE)

    def test_equals_labelling_of_components(self):
        rng = np.random.default_rng(1)
        for density in (0.1, 0.3, 0.5, 0.7, 0.9):
            for voxels in rng.random((300, 27)) < density:
                bits = int(voxels @ (1 << np.arange(27)))
                assert is_simple(bits) == is_simple_by_labelling(bits)

    def test_number_of_simple_blocks_equals_that_of_the_literature(self):
        assert count_simple() == 25_985_144


class TestFlipSimplePoints:
    def test_flips_in_order_and_keeps_points_that_are_not_simple(self):
        line = np.zeros((7, 3, 3), dtype=bool)
        line[1:6, 1, 1] = True
        flip_simple_points(line, np.ravel_multi_index(([5, 4, 3, 2, 1], [1] * 5, [1] * 5), line.shape))
        assert np.argwhere(line).tolist() == [[1, 1, 1]]

    def test_visits_again_points_that_became_simple(self):
        line = np.zeros((7, 3, 3), dtype=bool)
        line[1:6, 1, 1] = True
        flip_simple_points(line, np.ravel_multi_index(([3, 4, 5], [1] * 3, [1] * 3), line.shape))
        assert np.argwhere(line)[:, 0].tolist() == [1, 2]
