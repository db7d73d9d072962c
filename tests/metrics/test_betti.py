from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import euler_number

from minivess.metrics.betti import betti_numbers


def volume(*points: tuple[int, int, int], shape: tuple[int, int, int] = (5, 5, 5)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(np.array(points, int).reshape(-1, 3).T)] = True
    return mask


class TestBettiNumbers:
    def test_empty_mask_has_no_pieces_tunnels_or_cavities(self):
        assert betti_numbers(volume()) == (0, 0, 0)

    def test_one_voxel_is_one_piece(self):
        assert betti_numbers(volume((2, 2, 2))) == (1, 0, 0)

    def test_a_ring_has_one_tunnel(self):
        mask = np.zeros((5, 5, 3), bool)
        mask[1:4, 1:4, 1] = True
        mask[2, 2, 1] = False
        assert betti_numbers(mask) == (1, 1, 0)

    def test_a_figure_of_eight_has_two_tunnels(self):
        mask = np.zeros((7, 5, 3), bool)
        mask[1:6, 1:4, 1] = True
        mask[[2, 4], 2, 1] = False
        assert betti_numbers(mask) == (1, 2, 0)

    def test_a_hollow_box_has_one_cavity(self):
        mask = np.ones((3, 3, 3), bool)
        mask[1, 1, 1] = False
        assert betti_numbers(mask) == (1, 0, 1)

    def test_a_full_volume_is_one_piece(self):
        assert betti_numbers(np.ones((4, 4, 4), bool)) == (1, 0, 0)

    @pytest.mark.parametrize("other", [(2, 2, 3), (2, 3, 3), (3, 3, 3)])
    def test_voxels_that_share_a_face_an_edge_or_a_corner_are_one_piece(self, other: tuple[int, int, int]):
        assert betti_numbers(volume((2, 2, 2), other)) == (1, 0, 0)

    def test_background_is_connected_through_faces_only(self):
        mask = np.ones((3, 3, 3), bool)
        mask[1, 1, 1] = mask[0, 0, 0] = False  # the corner touches the centre, but does not open the cavity
        assert betti_numbers(mask).b2 == 1

    @pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
    def test_random_masks_agree_with_scikit_image(self, share: float):
        mask = np.random.default_rng(0).random((9, 8, 7)) < share
        b0, b1, b2 = betti_numbers(mask)
        assert b0 - b1 + b2 == euler_number(mask, connectivity=3)
        assert min(b0, b1, b2) >= 0
