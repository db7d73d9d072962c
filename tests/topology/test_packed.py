from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from minivess.topology.packed import (
    block_around,
    border,
    euler_characteristic,
    extent_of,
    indices,
    pack,
    pack_voxels,
    strides,
)


def masks():
    rng = np.random.default_rng(0)
    for depth in (1, 7, 63, 64, 65, 130):
        yield rng.random((*rng.integers(1, 9, 2), depth)) < 0.4
        yield np.ones((3, 4, depth), bool)


@pytest.mark.parametrize("mask", list(masks()), ids=lambda mask: f"{mask.shape}")
class TestPacked:
    def test_indices_are_those_of_the_mask(self, mask):
        assert np.array_equal(indices(pack(mask)), np.argwhere(mask))
        assert np.array_equal(pack_voxels(np.argwhere(mask), mask.shape), pack(mask))

    def test_border_is_the_mask_without_its_erosion(self, mask):
        assert np.array_equal(indices(border(pack(mask))), np.argwhere(mask & ~ndimage.binary_erosion(mask)))

    def test_euler_characteristic_counts_all_cells(self, mask):
        total = 0
        for cells in np.ndindex(2, 2, 2):  # 1: between two voxels along that axis
            padded = np.pad(mask, 1)
            for axis in np.flatnonzero(cells):
                padded = np.maximum(
                    padded.take(range(1, padded.shape[axis]), axis), padded.take(range(padded.shape[axis] - 1), axis)
                )
            total += (-1) ** (3 - sum(cells)) * padded.sum()
        assert euler_characteristic(pack(mask)) == total


def test_a_view_in_another_memory_order_gives_the_same():
    mask = np.random.default_rng(1).random((9, 8, 7)) < 0.5
    assert np.array_equal(indices(pack(mask.transpose(2, 0, 1))), np.argwhere(mask.transpose(2, 0, 1)))


@pytest.mark.parametrize(("depth", "row_bytes"), [(1, 8), (57, 8), (58, 16), (64, 16), (121, 16), (122, 24)])
def test_the_two_bytes_around_the_last_voxel_are_within_its_row(depth, row_bytes):
    packed = pack(np.ones((1, 1, depth), bool))
    assert packed.shape == (3, 3, row_bytes)
    assert (depth - 2) // 8 + 1 < row_bytes  # block_around reads from the byte of the voxel before, and the next one


def test_block_around_the_first_voxel_reads_nothing_before_the_array():
    packed = pack(np.ones((2, 2, 2), bool))
    memory = np.full(packed.size + 16, 255, np.uint8)
    memory[8:-8] = packed.reshape(-1)
    block = block_around(memory[8:-8], sum(strides(packed)), *strides(packed))
    assert block == 0b110_110_000_110_110_000_000_000_000


def test_extent_of_two_sets_of_voxels():
    assert extent_of(np.array([[3, 0, 2], [0, 5, 1]]), np.array([[1, 1, 9]])) == (4, 6, 10)
