from __future__ import annotations

import numpy as np
import pytest

from minivess.metrics.overlap import centreline, centreline_dsc, dsc


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 5, 5), bool)
    mask[start:stop, 1:4, 1:4] = True
    return mask


class TestDsc:
    def test_half_of_a_bar_is_found(self):
        assert dsc(bar(0, 5), bar(0, 10)) == pytest.approx(2 * 5 / 15)

    def test_two_empty_masks_agree_and_one_does_not(self):
        assert (dsc(bar(0, 0), bar(0, 0)), dsc(bar(0, 0), bar(0, 5))) == (1, 0)

    def test_the_inverted_mask_scores_nothing(self):
        assert dsc(~bar(0, 10), bar(0, 10)) == 0


class TestCentreline:
    def test_a_thick_bar_becomes_its_axis(self):
        line = centreline(bar(0, 10))
        assert (line[:, 1:] == 2).all()
        assert len(line) == len(set(line[:, 0])) > 6

    @pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (4, 4, 4), (6, 6, 1)])
    def test_a_blob_that_thinning_deletes_keeps_a_centreline(self, shape: tuple[int, int, int]):
        line = centreline(np.ones(shape, bool))
        assert 1 <= len(line) <= np.prod(shape)


class TestCentrelineDsc:
    def test_harmonic_mean_of_precision_and_sensitivity(self):
        prediction, reference = np.zeros((10, 3, 3), bool), np.zeros((10, 3, 3), bool)
        prediction[0:4, 1, 1] = reference[2:10, 1, 1] = True  # 2 shared of 4 and of 8
        score = centreline_dsc(prediction, reference, np.argwhere(prediction), np.argwhere(reference))
        assert score == pytest.approx(2 * (1 / 2) * (1 / 4) / (1 / 2 + 1 / 4))

    def test_masks_that_never_meet_score_zero_and_not_nan(self):
        prediction, reference = bar(0, 4), bar(6, 10)
        assert centreline_dsc(prediction, reference, centreline(prediction), centreline(reference)) == 0

    def test_a_thinner_vessel_keeps_its_centreline_and_a_broken_one_does_not(self):
        whole, thin, broken = bar(0, 12), np.zeros((12, 5, 5), bool), bar(0, 12)
        thin[:, 2, 2] = True
        broken[4:8] = False
        scores = [centreline_dsc(mask, whole, centreline(mask), centreline(whole)) for mask in (thin, broken)]
        assert scores[0] == 1 > scores[1]
