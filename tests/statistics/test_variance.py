from __future__ import annotations

import numpy as np
import pytest

from minivess.statistics.nested import Design
from minivess.statistics.sample_size import find_needs
from minivess.statistics.variance import Plan, Variances, measure_variances, parts_of_variance, predict_error

TRUE = Variances(groups=0.04, cases=0.01, networks=0.0225, rest=0.0025)


def drawn(groups: int = 400, cases: int = 3, repeats: int = 3, folds: int = 100) -> tuple[Design, np.ndarray]:
    """Draw a large study with the variances ``TRUE``."""
    rng, group = np.random.default_rng(0), np.repeat(np.arange(groups), cases)
    n, fold = len(group), np.repeat(np.arange(groups), cases) % folds
    values = 0.2 * rng.normal(size=groups)[group][:, None] + 0.1 * rng.normal(size=(n, 1))
    values = values + 0.15 * rng.normal(size=(folds, repeats))[fold] + 0.05 * rng.normal(size=(n, repeats))
    return Design.complete(group, fold, repeats), values


class TestMeasureVariances:
    def test_each_source_of_a_large_study_is_found(self):
        found = measure_variances(*drawn())
        assert (found.groups, found.cases) == pytest.approx((TRUE.groups, TRUE.cases), rel=0.25)
        assert (found.networks, found.rest) == pytest.approx((TRUE.networks, TRUE.rest), rel=0.25)

    def test_two_groups_by_hand(self):
        """Cases 1, 3 and 5, 7: variance 2 inside, so 1 in a mean of two; between the means 2 and 6 it is 8."""
        found = measure_variances(Design.complete("aabb", [0, 0, 1, 1], 1), [[1], [3], [5], [7]])
        assert found == Variances(groups=7.0, cases=2.0, networks=None, rest=0.0)

    def test_without_groups_there_is_only_the_variance_between_cases(self):
        found = measure_variances(Design.complete("abc", [0, 0, 0], 1), [[1], [2], [3]])
        assert found == Variances(groups=0.0, cases=1.0, networks=None, rest=0.0)

    def test_no_variance_is_negative(self):
        found = measure_variances(Design.complete("aabb", [0, 0, 1, 1], 1), [[1], [7], [3], [5]])
        assert found.groups == 0


class TestPredictError:
    def test_the_parts_are_divided_by_what_averages_them(self):
        parts = parts_of_variance(TRUE, Plan(groups=6, cases=4, folds=3, repeats=5))
        assert parts == pytest.approx(
            {"groups": 0.04 / 6, "cases": 0.01 / 24, "networks": 0.0225 / 15, "rest": 0.0025 / 120}
        )

    def test_it_is_what_such_studies_find_on_average(self):
        errors = []
        rng, group = np.random.default_rng(0), np.repeat(np.arange(6), 4)
        for _ in range(800):
            values = 0.2 * rng.normal(size=6)[group][:, None] + 0.1 * rng.normal(size=(24, 1))
            values = values + 0.15 * rng.normal(size=(3, 3))[group % 3] + 0.05 * rng.normal(size=(24, 3))
            errors.append(Design.complete(group, group % 3, 3).estimate(values).variance)
        error, freedom = predict_error(TRUE, Plan(groups=6, cases=4, folds=3, repeats=3))
        assert error**2 == pytest.approx(np.mean(errors), rel=0.06)
        assert 5 < freedom < 11


class TestNeeds:
    def test_repeats_decide_if_the_variance_is_that_of_the_networks(self):
        noisy = Variances(groups=0, cases=1e-5, networks=4e-3, rest=0)
        repeats, cases = find_needs(0.06, noisy, Plan(24, 1, 3, 2), 0.01, 0.95, grouped=False)
        assert (repeats.what, repeats.cheapest, repeats.volumes) == ("repeats", True, 0)
        # (1.96 + 0.84) sqrt(0.004 / 3 / R) = 0.05 gives R = 4.2; t with few degrees of freedom needs one more
        assert repeats.further == 3
        assert not cases.cheapest

    def test_no_number_of_repeats_decides_if_the_variance_is_between_volumes(self):
        steady = Variances(groups=0, cases=2.5e-3, networks=1e-6, rest=0)
        repeats, cases = find_needs(0.03, steady, Plan(7, 1, 3, 3), 0.01, 0.95, grouped=False)
        assert (repeats.further, repeats.reason) == (None, "the variance between volumes remains")
        # Student's t for 80 % of studies: n = (1.96 + 0.84)^2 0.0025 / 0.02^2 = 49, and a few more
        assert cases.cheapest
        assert 40 <= cases.further <= 48

    def test_further_animals_decide_if_the_variance_is_between_animals(self):
        nested = Variances(groups=2.5e-3, cases=1e-5, networks=None, rest=0)
        repeats, cases, groups = find_needs(0.03, nested, Plan(6, 4, 3, 1), 0.01, 0.95, grouped=True)
        assert repeats.reason == "one repeat does not measure the luck of training"
        assert (cases.further, groups.cheapest, groups.volumes) == (None, True, 4 * groups.further)

    def test_nothing_decides_a_difference_at_the_margin(self):
        found = find_needs(0.01, TRUE, Plan(7, 1, 3, 3), 0.01, 0.95, grouped=False)
        assert not any(need.further or need.cheapest for need in found)
