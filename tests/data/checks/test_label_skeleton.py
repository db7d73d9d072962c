"""Pieces that scikit-image's skeleton loses."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from skimage.morphology import skeletonize

from minivess.data.checks.label_skeleton import find_lost
from minivess.topology.packed import pack
from minivess.topology.pieces import find_pieces


def _lost(mask: np.ndarray) -> list[list[int]]:
    packed = pack(mask.transpose(2, 1, 0))
    pieces = find_pieces(packed)
    z, y, x = np.unravel_index(pieces.firsts[find_lost(packed, pieces)], (*packed.shape[:2], 8 * packed.shape[2]))
    return np.stack([x, y - 1, z - 1], axis=-1).tolist()


def _blocks(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = rng.random((60, 40, 20)) < 0.01
    for corner in rng.integers(0, mask.shape, (15, 3)):
        mask[tuple(slice(low, low + size) for low, size in zip(corner, rng.integers(1, 9, 3), strict=True))] = True
    return mask


class TestFindLost:
    def test_a_tube_of_two_by_two_is_lost_and_one_of_three_by_three_is_not(self) -> None:
        mask = np.zeros((40, 20, 10), bool)
        mask[5:30, 2:4, 2:4] = True
        mask[5:30, 10:13, 2:5] = True
        assert _lost(mask) == [[5, 2, 2]]

    def test_a_long_piece_in_a_box_of_80_000_voxels_is_tried(self) -> None:
        mask = np.zeros((20_000, 4, 4), bool)
        mask[:, 1:3, 1:3] = True
        assert _lost(mask) == [[0, 1, 1]]

    @pytest.mark.parametrize("seed", range(10))
    def test_finds_what_the_thinning_of_the_whole_label_loses(self, seed: int) -> None:
        mask = _blocks(seed)
        parts = cc3d.connected_components(mask, connectivity=26)
        kept = np.unique(parts[skeletonize(mask, method="lee") > 0])
        found = [int(parts[tuple(first)]) for first in _lost(mask)]
        assert sorted(found) == sorted(set(range(1, parts.max() + 1)) - set(kept.tolist()))
