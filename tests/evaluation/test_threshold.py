"""The baseline."""

from __future__ import annotations

import numpy as np

from minivess.data.store import Store
from minivess.evaluation.threshold import apply_threshold, choose_threshold
from minivess.metrics.overlap import dsc


class TestThreshold:
    def test_no_other_level_does_better_on_the_training_cases(self, store: Store) -> None:
        case = store.case("phantom02")
        chosen = choose_threshold([case])
        scores = {
            level: dsc(apply_threshold(case, level) != 0, case.label != 0)
            for level in (chosen - 0.5, chosen, chosen + 0.5)
        }
        assert max(scores, key=lambda level: scores[level]) == chosen
        assert scores[chosen] > 0.4

    def test_the_mask_is_what_lies_at_or_above_it(self, store: Store) -> None:
        case = store.case("phantom01")
        mask = apply_threshold(case, 1.0)
        np.testing.assert_array_equal(mask, case.stats.normalise(case.image) >= 1.0)
