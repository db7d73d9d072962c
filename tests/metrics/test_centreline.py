from __future__ import annotations

import numpy as np
import pytest

from minivess.metrics.centreline import centreline, cldice, lee_skeleton

SPACING_UM = (1.0, 1.0, 1.0)


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 5, 5), bool)
    mask[start:stop, 1:4, 1:4] = True
    return mask


class TestCentreline:
    def test_centreline_of_a_thick_bar_is_its_axis(self):
        line = centreline(bar(0, 10), SPACING_UM)
        assert (line[:, 1:] == 2).all()
        assert len(line) == len(set(line[:, 0])) > 6

    def test_a_tube_of_even_width_beside_another_keeps_its_centreline(self):
        mask = np.zeros((20, 9, 4), bool)
        mask[:, 1:3, 1:3] = mask[:, 5:8, 1:4] = True
        assert {int(y) // 4 for y in centreline(mask, SPACING_UM)[:, 1]} == {0, 1}
        assert {int(y) // 4 for y in lee_skeleton(mask)[:, 1]} == {1}

    def test_centreline_follows_the_spacing(self):
        plate = np.ones((9, 9, 3), bool)
        assert centreline(plate, (1, 1, 9)).tolist() != centreline(plate, (9, 1, 1)).tolist()


class TestLeeSkeleton:
    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (4, 4, 4), (6, 6, 1)])
    def test_a_blob_that_thinning_deletes_keeps_a_skeleton(self, shape: tuple[int, int, int]):
        line = lee_skeleton(np.ones(shape, bool))
        assert 1 <= len(line) <= np.prod(shape)


class TestCldice:
    def test_harmonic_mean_of_precision_and_sensitivity(self):
        prediction, reference = np.zeros((10, 3, 3), bool), np.zeros((10, 3, 3), bool)
        prediction[0:4, 1, 1] = reference[2:10, 1, 1] = True  # 2 common voxels of 4 and of 8
        score = cldice(prediction, reference, np.argwhere(prediction), np.argwhere(reference))
        assert score == pytest.approx(2 * (1 / 2) * (1 / 4) / (1 / 2 + 1 / 4))

    def test_disjoint_masks_score_zero_and_not_nan(self):
        prediction, reference = bar(0, 4), bar(6, 10)
        assert cldice(prediction, reference, lee_skeleton(prediction), lee_skeleton(reference)) == 0

    def test_thinner_vessel_scores_one_and_broken_vessel_less(self):
        whole, thin, broken = bar(0, 12), np.zeros((12, 5, 5), bool), bar(0, 12)
        thin[:, 2, 2] = True
        broken[4:8] = False
        lines = (centreline(mask, SPACING_UM) for mask in (thin, broken, whole))
        of_thin, of_broken, of_whole = lines
        assert cldice(thin, whole, of_thin, of_whole) == 1 > cldice(broken, whole, of_broken, of_whole)
