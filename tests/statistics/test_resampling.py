from __future__ import annotations

import numpy as np
import pytest

from minivess.errors import DataError
from minivess.statistics.resampling import holm, mean_interval, paired_bootstrap_test, sign_flip_p_value

SIMULATIONS = 1500
SCORES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "bounded": lambda rng, n: rng.beta(12, 2.5, size=n),
    "heavy-tailed": lambda rng, n: rng.lognormal(0, 0.8, size=n),
    "failing on some cases": lambda rng, n: rng.normal(0, 0.05, size=n) - 0.5 * (rng.random(n) < 0.1),
}
SKEWED = {
    "log-normal": lambda rng, n: rng.lognormal(0, 1, size=n) - np.exp(0.5),
    "one fails": lambda rng, n: rng.normal(0.05, 0.05, size=n) - 0.5 * (rng.random(n) < 0.1),
}


class TestMeanInterval:
    def test_the_width_for_seventy_normal_values_is_that_of_the_t_interval(self):
        values = np.random.default_rng(0).normal(size=70)
        interval = mean_interval(values, folds=np.arange(70) % 3)
        half = 1.995 * values.std(ddof=1) / 70**0.5  # Student t, 69 degrees of freedom
        assert interval.mean == pytest.approx(values.mean())
        assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)
        assert (interval.n, interval.method) == (70, "BCa bootstrap, stratified by fold")

    def test_a_difference_between_folds_does_not_widen_the_interval(self):
        folds = np.arange(60) % 3
        values = np.random.default_rng(0).normal(size=60) + 10 * folds
        within, across = mean_interval(values, folds), mean_interval(values)
        assert within.high - within.low < 0.2 * (across.high - across.low)

    def test_folds_too_small_to_resample_are_one_stratum(self):
        assert mean_interval([1, 2, 3, 4, 5, 6, 9.0], folds=[0, 0, 0, 1, 1, 2, 2]).method == "BCa bootstrap"

    def test_the_same_seed_gives_the_same_interval(self):
        values = np.random.default_rng(0).normal(size=20)
        assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)

    def test_a_higher_level_gives_a_wider_interval(self):
        """The half width of Student's t with 69 degrees of freedom: 1.294 at 80 %, 2.649 at 99 %."""
        values = np.random.default_rng(0).normal(size=70)
        intervals = [mean_interval(values, level=level, resamples=4000) for level in (0.80, 0.99)]
        narrow, wide = (interval.high - interval.low for interval in intervals)
        assert wide / narrow == pytest.approx(2.649 / 1.294, rel=0.1)
        assert [interval.level for interval in intervals] == [0.80, 0.99]

    def test_folds_of_different_sizes_count_by_their_cases(self):
        """20 values near 0 and 5 near 10: the mean over the cases is 2, that of the folds would be 5."""
        values = np.concatenate([np.linspace(-0.1, 0.1, 20), np.linspace(9.9, 10.1, 5)])
        interval = mean_interval(values, folds=[0] * 20 + [1] * 5)
        assert interval.mean == pytest.approx(2.0)
        assert 1.9 < interval.low < 2.0 < interval.high < 2.1

    def test_one_case_has_no_interval(self):
        interval = mean_interval([0.8])
        assert (interval.low, interval.high, interval.resamples) == (0.8, 0.8, 0)
        assert str(interval) == "0.800 (one case, no interval)"

    def test_equal_cases_have_no_interval(self):
        assert str(mean_interval([0.1] * 7)) == "0.100 (all cases equal, no interval)"

    def test_cases_that_differ_by_rounding_have_no_interval(self):
        scores = np.random.default_rng(1).random(6)
        differences = (scores + 0.1) - scores
        assert len(set(differences)) > 1
        assert str(mean_interval(differences)) == "0.100 (all cases equal, no interval)"

    def test_folds_of_equal_values_still_give_an_interval(self):
        interval = mean_interval([0.0] * 5 + [1.0] * 5, folds=[0] * 5 + [1] * 5)
        assert 0 < interval.low < 0.5 < interval.high < 1

    def test_the_method_warns_about_too_few_cases(self):
        interval = mean_interval([0.7, 0.8])
        assert interval.too_narrow
        assert "2 cases, too narrow" in interval.method

    @pytest.mark.parametrize("values", [[], [0.5, float("nan")], [[0.5]]])
    def test_invalid_values_are_refused(self, values: list):
        with pytest.raises(DataError) as caught:
            mean_interval(values)
        assert caught.value.got == str(np.asarray(values, float))

    def test_folds_and_values_must_have_the_same_length(self):
        with pytest.raises(DataError, match="1 folds and 2 values"):
            mean_interval([1, 2], folds=[0])

    @pytest.mark.parametrize(("n", "least"), [(7, 0.91), (24, 0.93), (70, 0.93)])
    def test_the_coverage_is_close_to_the_nominal_95_percent(self, n: int, least: float):
        rng, folds = np.random.default_rng(3), np.arange(n) % 3
        drawn = [mean_interval(rng.normal(size=n), folds, resamples=1000, seed=seed) for seed in range(500)]
        assert least <= np.mean([interval.low <= 0 <= interval.high for interval in drawn]) <= 0.975


class TestFalsePositives:
    """Exchangeable losses: the differences are symmetric about zero for every distribution of the scores."""

    @pytest.mark.parametrize("scores", SCORES)
    @pytest.mark.parametrize("n", [7, 24, 70])
    def test_the_rate_is_the_nominal_five_percent(self, n: int, scores: str):
        rng, draw = np.random.default_rng(n), SCORES[scores]
        p = [sign_flip_p_value(draw(rng, n) - draw(rng, n), resamples=999, seed=k) for k in range(SIMULATIONS)]
        assert 0.033 <= np.mean(np.array(p) <= 0.05) <= 0.067  # 0.05 +- 3 standard errors

    @pytest.mark.parametrize(
        ("differences", "n", "percent"),
        [
            ("log-normal", 7, 18),
            ("log-normal", 24, 12),
            ("log-normal", 70, 9),
            ("one fails", 7, 26),
            ("one fails", 24, 11),
            ("one fails", 70, 8),
        ],
    )
    def test_the_rate_for_skewed_differences_is_as_documented(self, differences: str, n: int, percent: float):
        """Only the means are equal, which is not the null hypothesis of this test: docs/benchmarks/statistics.md."""
        rng, draw = np.random.default_rng(n), SKEWED[differences]
        p = [sign_flip_p_value(draw(rng, n), resamples=999, seed=k) for k in range(SIMULATIONS)]
        assert 100 * np.mean(np.array(p) <= 0.05) == pytest.approx(percent, abs=3.5)

    def test_a_real_difference_is_found(self):
        rng = np.random.default_rng(0)
        p = [sign_flip_p_value(rng.normal(0.5, 1, size=70), resamples=999, seed=k) for k in range(100)]
        assert np.mean(np.array(p) <= 0.05) > 0.95


class TestPairedBootstrap:
    def test_three_cases_give_the_values_computed_by_hand(self):
        test = paired_bootstrap_test([3, 5, 1], [1, 2, 2])  # differences 2, 3, -1
        assert test.difference == pytest.approx(4 / 3)
        assert test.p_value == 4 / 8  # sums of signed 2, 3, 1 with |sum| >= 4: 6, 4, -4, -6
        assert test.effect_size == pytest.approx((2 + 3 - 1) / 6)
        assert (test.n, test.a_larger, test.b_larger, test.smallest_p) == (3, 2, 1, 2 / 8)
        assert "all 8 patterns" in test.method

    def test_swapping_the_methods_only_changes_the_sign(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=20), rng.normal(size=20)
        one, other = paired_bootstrap_test(a, b), paired_bootstrap_test(b, a)
        assert (one.difference, one.effect_size) == pytest.approx((-other.difference, -other.effect_size))
        assert one.p_value == pytest.approx(other.p_value, abs=0.02)

    def test_the_seed_decides_the_random_patterns(self):
        differences = np.random.default_rng(0).normal(0.3, 1, size=30)
        p = [sign_flip_p_value(differences, 500, seed) for seed in (1, 1, 2, 3, 4)]
        assert p[0] == p[1]
        assert len(set(p)) > 2

    def test_p_is_never_zero(self):
        test = paired_bootstrap_test(np.arange(30) + 1.0, np.zeros(30), resamples=2000)
        assert test.p_value == test.smallest_p == pytest.approx(1 / 2001)

    def test_the_smallest_p_of_seven_cases_is_one_in_64(self):
        test = paired_bootstrap_test(np.arange(7) + 1.0, np.zeros(7))
        assert test.p_value == test.smallest_p == 1 / 64

    def test_identical_methods_do_not_differ(self):
        test = paired_bootstrap_test([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
        assert (test.difference, test.p_value, test.effect_size) == (0, 1, 0)
        assert f"{test.reversed} {test.reversed.effect_size:+.2f}" == f"{test} +0.00"

    def test_ties_do_not_count_in_the_effect_size(self):
        assert paired_bootstrap_test([1, 1, 1, 2], [1, 1, 1, 1]).effect_size == 1

    def test_the_reason_is_printed_if_there_is_no_interval(self):
        assert str(paired_bootstrap_test([0.8], [0.7])) == "+0.100 (one case, no interval)"
        equal = paired_bootstrap_test([0.75, 0.5], [0.5, 0.25])
        assert str(equal.reversed) == "-0.250 (all cases equal, no interval)"

    def test_the_reversed_interval_keeps_its_method(self):
        interval = paired_bootstrap_test([0.8, 0.6, 0.9], [0.7, 0.6, 0.5]).reversed.interval
        assert (interval.n, interval.resamples) == (3, 2000)
        assert interval.too_narrow
        assert interval.method.endswith("3 cases, too narrow")
        assert interval.low < interval.mean < interval.high < 0.01

    def test_one_case_gives_a_p_of_one(self):
        test = paired_bootstrap_test([0.9], [0.1])
        assert (test.p_value, test.smallest_p, test.effect_size) == (1, 1, 1)

    def test_lengths_that_differ_are_refused(self):
        with pytest.raises(DataError, match="2 and 3"):
            paired_bootstrap_test([1, 2], [1, 2, 3])


class TestHolm:
    def test_three_values_by_hand(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx(
            (0.03, 0.06, 0.06)
        )  # 3 x 0.01, 2 x 0.03, and never below the previous one

    def test_adjusted_values_are_at_most_one(self):
        assert holm([0.9, 0.8]) == (1, 1)

    def test_an_empty_family_gives_no_values(self):
        assert holm([]) == ()
