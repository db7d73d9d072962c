from __future__ import annotations

import numpy as np
import pytest

from minivess.statistics.confidence import bounds, confidence_above
from minivess.statistics.nested import Design, Estimate


def column(*values: float) -> np.ndarray:
    """Return values of cases that were scored once, (cases, 1)."""
    return np.array(values, float)[:, None]


class TestEstimate:
    def test_every_group_counts_once(self):
        found = Design.complete(["rat", "rat", "mouse"], [0, 0, 1], 1).estimate(column(1, 3, 5))
        assert (found.mean, found.freedom) == (3.5, 1)  # group means 2 and 5; the mean of the cases would be 3
        assert found.variance == pytest.approx(4.5 / 2)  # their variance is 4.5

    def test_repeats_are_averaged_and_their_common_part_adds_variance(self):
        luck = np.array([0.1, -0.1])  # shared by all cases of the fold
        found = Design.complete("abc", [0, 0, 0], 2).estimate(column(1, 2, 3) + luck)
        assert found.mean == 2
        assert found.variance == pytest.approx(1 / 3 + 0.02 / 2)  # 1 between cases; 0.02 between repeats
        assert found.freedom == pytest.approx((1 / 3 + 0.01) ** 2 / ((1 / 3) ** 2 / 2 + 0.01**2 / 1))

    def test_luck_that_differs_between_cases_is_no_luck_of_a_network(self):
        rest = np.array([[0.1, -0.1], [-0.1, 0.1], [0, 0]])
        assert Design.complete("abc", [0, 0, 0], 2).estimate(column(1, 2, 3) + rest).variance == pytest.approx(1 / 3)

    @pytest.mark.parametrize(("folds", "share"), [([0, 1, 2] * 2, 0.6), ([0, 0, 1, 1, 2, 2], 0.6), ([0] * 6, 1)])
    def test_the_variance_between_groups_contains_a_part_of_that_of_the_networks(self, folds, share):
        """Three folds with weight 1/3: 1 - (1 - 1/3) / (5 / 3) = 0.6."""
        assert Design.complete(range(6), folds, 2).network_share == pytest.approx(share)

    def test_one_group_per_fold_contains_all_luck(self):
        design = Design.complete(range(3), range(3), 2)
        assert design.network_share == 0
        assert design.estimate(column(1, 2, 3) + np.array([0.1, -0.1])).variance == pytest.approx(1 / 3)

    def test_a_group_in_two_folds_gets_the_whole_variance_of_the_networks(self):
        assert Design.complete(["a", "a", "b"], [0, 1, 0], 2).network_share == 1

    def test_a_repeat_of_one_fold_only_is_used(self):
        measured = np.array([[1, 1], [1, 1], [1, 0], [1, 0]], bool)
        design = Design(range(4), [0, 0, 1, 1], measured)
        found = design.estimate([[1, 3], [2, 4], [5, np.nan], [6, np.nan]])
        assert (design.repeats_of_fold.tolist(), design.network_freedom, found.mean) == ([2, 1], 1, 4)

    def test_the_order_of_the_cases_does_not_matter(self):
        rng = np.random.default_rng(0)
        values, order = rng.normal(size=(12, 3)), rng.permutation(12)
        groups, folds = np.arange(12) // 2, np.arange(12) // 4
        one = Design.complete(groups, folds, 3).estimate(values)
        other = Design.complete(groups[order], folds[order], 3).estimate(values[order])
        for name in ("mean", "variance", "freedom", "skewness"):
            assert float(getattr(one, name)) == pytest.approx(float(getattr(other, name)))

    @pytest.mark.parametrize("values", [column(0.1), column(0.1, 0.1, 0.1), column(0.1 + 1e-17, 0.1, 0.3 - 0.2)])
    def test_one_case_and_equal_cases_have_no_known_variance(self, values):
        found = Design.complete(range(len(values)), [0] * len(values), 1).estimate(values)
        assert (found.mean, found.variance, found.freedom) == (pytest.approx(0.1), 0, 0)


class TestConfidence:
    def test_three_symmetric_values_have_the_interval_of_students_t(self):
        low, high = bounds(Design.complete("abc", [0, 0, 0], 1).estimate(column(1, 2, 3)), 0.95)
        assert (low, high) == pytest.approx((2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5), abs=1e-3)

    def test_a_long_tail_moves_the_bound_on_its_side_only(self):
        plain, skewed = (bounds(Estimate(0.0, 1.0, 10.0, skewness), 0.95) for skewness in (0, -0.3))
        assert skewed[1] == plain[1] == pytest.approx(2.228, abs=1e-3)
        assert skewed[0] == pytest.approx(-2.228 - 2 * 0.3 * (2 * 2.228**2 + 1) / 6, abs=1e-3)

    @pytest.mark.parametrize("skewness", [-0.4, 0, 0.4])
    def test_the_confidence_at_a_bound_is_that_of_the_interval(self, skewness):
        estimate = Estimate(0.3, 0.04, 4.0, skewness)
        low, high = bounds(estimate, 0.9)
        found = [confidence_above(estimate, value) for value in (low, 0.3, high)]
        assert found == pytest.approx([0.95, 0.5, 0.05])

    def test_nothing_is_known_without_a_variance(self):
        assert confidence_above(Estimate(0.3, 0.0, 0.0, 0.0), 0) == 0.5
        assert bounds(Estimate(0.3, 0.0, 0.0, 0.0), 0.95) == (-np.inf, np.inf)


class TestCoverage:
    """Studies with a true difference of 0; the whole table is in docs/benchmarks/statistics.md."""

    @pytest.mark.parametrize(("groups", "cases", "repeats"), [(3, 4, 3), (6, 4, 3), (7, 1, 3), (24, 1, 2)])
    def test_intervals_cover_the_truth_if_groups_and_networks_vary(self, groups: int, cases: int, repeats: int):
        rng, group = np.random.default_rng(1), np.repeat(np.arange(groups), cases)
        design = Design.complete(group, group % 3, repeats)
        values = 0.03 * rng.normal(size=(1000, groups))[:, group][..., None] * (cases > 1)
        values = (
            values + 0.04 * rng.normal(size=(1000, len(group), 1)) + 0.02 * rng.normal(size=(1000, len(group), repeats))
        )
        values = values + 0.02 * rng.normal(size=(1000, 3, repeats))[:, group % 3]
        low, high = bounds(design.estimate(values), 0.95)
        assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.985
        rows = values.reshape(1000, -1)
        naive = 1.96 * rows.std(axis=1) / rows.shape[1] ** 0.5
        assert np.mean(abs(rows.mean(axis=1)) <= naive) < 0.85
