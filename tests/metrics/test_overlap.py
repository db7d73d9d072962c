from __future__ import annotations

import numpy as np
import pytest

from minivess.metrics.overlap import dsc


def bar(start: int, stop: int) -> np.ndarray:
    mask = np.zeros((12, 5, 5), bool)
    mask[start:stop, 1:4, 1:4] = True
    return mask


class TestDsc:
    def test_dsc_of_half_of_a_bar(self):
        assert dsc(bar(0, 5), bar(0, 10)) == pytest.approx(2 * 5 / 15)

    def test_two_empty_masks_score_one_and_a_single_empty_mask_zero(self):
        assert (dsc(bar(0, 0), bar(0, 0)), dsc(bar(0, 0), bar(0, 5))) == (1, 0)

    def test_the_inverted_mask_scores_zero(self):
        assert dsc(~bar(0, 10), bar(0, 10)) == 0
