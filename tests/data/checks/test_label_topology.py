"""Pieces, cavities, bridges and passages, compared with other libraries and with their definitions."""

from __future__ import annotations

from itertools import product

import cc3d
import numpy as np
import pytest

from minivess.data.checks.label_bits import LabelBits, unpack
from minivess.data.checks.label_topology import (
    cavities,
    count_jumps,
    euler_characteristic,
    mark_narrow,
    vessel_pieces,
)
from minivess.metrics.betti import betti_numbers


def words_of(mask: np.ndarray) -> np.ndarray:
    bits = LabelBits()
    bits.take(mask.ravel(order="F"))
    return bits.words(mask.shape)


def _random(seed: int, shape: tuple[int, int, int] = (9, 8, 7)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < rng.uniform(0.05, 0.95)


def _marked(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bridges, passages = mark_narrow(words_of(mask))
    return unpack(bridges, (0, 0, 0), mask.shape), unpack(passages, (0, 0, 0), mask.shape)


class TestBettiNumbers:
    @pytest.mark.parametrize("seed", range(20))
    def test_are_those_of_the_metric(self, seed: int) -> None:
        mask = _random(seed, (70, 9, 6))
        words, expected = words_of(mask), betti_numbers(mask)
        pieces, holes = vessel_pieces(words, 70), cavities(words, 70)
        assert (len(pieces.sizes), len(holes.sizes)) == (expected.b0, expected.b2)
        assert expected.b0 + expected.b2 - expected.b1 == euler_characteristic(words)

    def test_sizes_and_first_voxels(self) -> None:
        mask = np.zeros((40, 6, 5), bool)
        mask[33:36, 1:4, 1:4] = True
        mask[34, 2, 2] = False  # a cavity
        mask[0, 5, 4] = True
        words = words_of(mask)
        pieces, holes = vessel_pieces(words, 40), cavities(words, 40)
        assert pieces.sizes.tolist() == [26, 1]
        assert pieces.firsts.tolist() == [[33, 1, 1], [0, 5, 4]]
        assert (holes.sizes.tolist(), holes.firsts.tolist()) == ([1], [[34, 2, 2]])


class TestMarkNarrow:
    @pytest.mark.parametrize("seed", range(8))
    def test_bridges_follow_their_definition(self, seed: int) -> None:
        mask = _random(seed)
        padded = np.pad(mask, 2)
        cubes = np.zeros_like(padded)
        for corner in product(*(range(size - 1) for size in padded.shape)):
            box = tuple(slice(at, at + 2) for at in corner)
            if padded[box].all():
                cubes[box] = True
        expected = np.zeros_like(mask)
        for at in np.argwhere(mask):
            box = tuple(slice(place + 1, place + 4) for place in at)
            around = padded[box].copy()
            around[1, 1, 1] = False
            parts, number = cc3d.connected_components(around, connectivity=26, return_N=True)
            expected[tuple(at)] = sum(cubes[box][parts == part].any() for part in range(1, number + 1)) > 1
        assert (_marked(mask)[0] == expected).all()

    @pytest.mark.parametrize("seed", range(8))
    def test_filling_passages_joins_nothing_and_opens_no_tunnel(self, seed: int) -> None:
        mask = _random(seed, (20, 20, 20))
        before, after = betti_numbers(mask), betti_numbers(mask | _marked(mask)[1])
        assert before.b0 == after.b0
        assert before.b1 >= after.b1

    def test_a_vessel_one_voxel_wide_is_no_bridge(self) -> None:
        mask = np.zeros((20, 20, 5), bool)
        mask[np.arange(20), np.arange(20), 2] = True
        assert not _marked(mask)[0].any()

    def test_two_cubes_at_a_corner_are_bridged_by_both_corner_voxels(self) -> None:
        mask = np.zeros((8, 8, 8), bool)
        mask[1:4, 1:4, 1:4] = mask[4:7, 4:7, 4:7] = True
        assert np.argwhere(_marked(mask)[0]).tolist() == [[3, 3, 3], [4, 4, 4]]

    def test_a_gap_between_two_plates_is_no_passage(self) -> None:
        mask = np.ones((9, 9, 9), bool)
        mask[:, 4] = False
        assert not _marked(mask)[1].any()

    def test_a_bend_is_a_passage_only_if_its_inner_edge_is_filled(self) -> None:
        mask = np.ones((7, 7, 7), bool)
        mask[3:, 3:, 3] = False  # a slot; its corner (3, 3, 3) has vessel on four faces
        assert not _marked(mask)[1][3, 3, 3]
        mask[4, 4, 3] = True
        assert _marked(mask)[1][3, 3, 3]


class TestCountJumps:
    def test_a_straight_oblique_bar_does_not_jump(self) -> None:
        mask = np.zeros((40, 9, 10), bool)
        for z in range(10):
            mask[3 * z : 3 * z + 8, 2:6, z] = True
        counts, sums = count_jumps(words_of(mask), 40, 0, 1, 64)
        assert counts[0] == counts.sum() == 4 * 8  # four rows in the eight slices with two neighbours
        assert not sums.any()

    def test_a_slice_moved_by_two_voxels_jumps_by_two(self) -> None:
        mask = np.zeros((40, 9, 5), bool)
        mask[10:20, 2:6] = True
        mask[:, :, 2] = np.roll(mask[:, :, 2], 2, axis=0)
        counts, sums = count_jumps(words_of(mask), 40, 0, 1, 64)
        # The moved slice is 2 voxels from its neighbours; each neighbour is 1 voxel from the mean of its own two.
        assert (counts[8], counts[4], counts.sum()) == (4, 8, 12)
        assert sums.tolist() == [0, 0, 16, 16, 16, 16, 0, 0, 0]
        assert count_jumps(words_of(mask), 40, 1, 0, 64)[0][1:].sum() == 0

    def test_runs_that_fork_or_are_too_long_do_not_count(self) -> None:
        mask = np.zeros((40, 3, 3), bool)
        mask[5:30, 1] = True
        mask[15:18, 1, 2] = False
        assert count_jumps(words_of(mask), 40, 0, 1, 64)[0].sum() == 0
        mask[15:18, 1, 2] = True
        assert count_jumps(words_of(mask), 40, 0, 1, 64)[0].sum() == 1
        assert count_jumps(words_of(mask), 40, 0, 1, 24)[0].sum() == 0
