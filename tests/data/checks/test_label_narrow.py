"""Bridges and passages, compared with their definitions."""

from __future__ import annotations

from itertools import product

import cc3d
import numpy as np
import pytest

from minivess.data.checks.label_bits import unpack
from minivess.data.checks.label_narrow import mark_narrow
from minivess.metrics.betti import betti_numbers
from minivess.topology.packed import pack


def _random(seed: int, shape: tuple[int, int, int] = (9, 8, 7)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < rng.uniform(0.05, 0.95)


def _marked(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bridges, passages = mark_narrow(pack(mask.transpose(2, 1, 0)))
    return unpack(bridges, (0, 0, 0), mask.shape), unpack(passages, (0, 0, 0), mask.shape)


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

    @pytest.mark.parametrize("before", [50, 57, 60])
    def test_marks_move_with_the_mask_across_words_of_64_voxels(self, before: int) -> None:
        mask = _random(3, (20, 20, 20))
        moved = np.pad(mask, ((before, 20), (0, 0), (0, 0)))
        for marked, marked_moved in zip(_marked(mask), _marked(moved), strict=True):
            assert marked.any()
            assert np.array_equal(marked_moved, np.pad(marked, ((before, 20), (0, 0), (0, 0))))

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
