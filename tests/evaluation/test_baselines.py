from __future__ import annotations

import numpy as np
import pytest

from minivess.data.store import Store
from minivess.evaluation.baselines import BASELINES
from minivess.metrics.overlap import dsc


class TestBaselines:
    @pytest.mark.parametrize(("name", "factor"), [("threshold", 0.5), ("frangi", 0.2)])
    def test_no_other_level_does_better_on_the_training_cases(self, name: str, factor: float, store: Store) -> None:
        case, baseline = store.case("phantom02"), BASELINES[name]
        chosen = baseline.choose_level([case])
        scores = {
            level: dsc(baseline.mask(case, level) != 0, case.label != 0)
            for level in (chosen * factor, chosen, chosen / factor)
        }
        assert max(scores, key=lambda level: scores[level]) == chosen
        assert scores[chosen] > 0.3

    def test_the_mask_is_what_lies_at_or_above_the_level(self, store: Store) -> None:
        case = store.case("phantom01")
        mask = BASELINES["threshold"].mask(case, 1.0)
        np.testing.assert_array_equal(mask, case.stats.normalise(case.image) >= 1.0)
