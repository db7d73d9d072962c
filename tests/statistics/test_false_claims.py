from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from minivess.statistics.false_claims import false_claim_probability, find_false_claim


class TestFalseClaimProbability:
    def test_three_cases_by_hand(self):
        """Differences 0.1, 0.1 and 0: mean 0.0667, error 0.0333, t = 2. With 2 degrees of freedom, T(-2) = 0.0918."""
        assert false_claim_probability([0.9, 0.8, 0.7], [0.8, 0.7, 0.7]) == pytest.approx(0.0918, abs=1e-4)

    def test_the_formula_of_the_paper_is_the_one_sided_paired_t_test(self):
        a, b = np.random.default_rng(0).normal(0.8, 0.1, size=(2, 30))
        s_a, s_b, r = a.std(ddof=1), b.std(ddof=1), np.corrcoef(a, b)[0, 1]
        t = 30**0.5 * (b.mean() - a.mean()) / (s_a**2 + s_b**2 - 2 * r * s_a * s_b) ** 0.5
        assert false_claim_probability(a, b) == pytest.approx(stats.t.cdf(t, 29))
        assert false_claim_probability(a, b) == pytest.approx(stats.ttest_rel(a, b, alternative="greater").pvalue)

    @pytest.mark.parametrize(("b", "probability"), [([0.5, 0.6], 0.5), ([0.4, 0.5], 0.0)])
    def test_equal_differences_have_no_variance(self, b: list[float], probability: float):
        assert false_claim_probability([0.5, 0.6], b) == probability


class TestFindFalseClaim:
    def test_the_best_is_compared_with_the_second(self):
        scores = {"a": [0.1, 0.2], "b": [0.8, 0.9], "c": [0.7, 0.9]}
        higher, lower = (find_false_claim(scores, higher_is_better=better) for better in (True, False))
        assert (higher.first, higher.second, higher.cases) == ("b", "c", 2)
        assert (lower.first, lower.second) == ("a", "c")
        assert lower.probability < 0.1 < higher.probability < 0.5

    @pytest.mark.parametrize("scores", [{}, {"a": [0.1, 0.2]}, {"a": [0.1], "b": [0.2]}])
    def test_one_method_or_one_case_has_none(self, scores: dict[str, list[float]]):
        assert find_false_claim(scores, higher_is_better=True) is None
