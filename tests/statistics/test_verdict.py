from __future__ import annotations

import numpy as np

from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison


def compared(*means: float, n: int = 24) -> Comparison:
    """Methods a, b, ... with these mean overlaps on the same cases."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.05, size=n)
    rows = [
        {"method": name, "fold": k % 3, "case": f"mv{k:02d}", "measured_masd": 1 - score}
        for name, mean in zip("abc", means, strict=False)
        for k, score in enumerate(mean + difficulty + rng.normal(0, 0.01, size=n))
    ]
    return compare(rows, ("measured_masd",), resamples=1000)


class TestMetricVerdict:
    def test_the_winner_is_said_to_be_better_than_those_it_is_shown_to_beat(self):
        first, *_, last = compared(0.7, 0.8, 0.8).metrics[0].verdict
        assert "b has the lowest mean on the 24 cases all share" in first or "c has the lowest mean" in first
        assert first.endswith("and is shown to be better than a.")
        assert "not told apart, which does not make them equal: b and c (p = " in last

    def test_a_shown_difference_is_written_from_the_better_to_the_worse(self):
        sentence = compared(0.7, 0.8).metrics[0].verdict[1]
        assert sentence.startswith("MASD: b is better than a: mean difference -0.099 [")
        assert sentence.endswith("µm, p = 0.0001, effect size -1.00, better on 24 of 24 cases.")

    def test_the_order_of_the_methods_does_not_change_it(self):
        assert compared(0.8, 0.7).metrics[0].verdict[1].startswith("MASD: a is better than b: mean difference -0.")

    def test_one_method_has_nothing_to_be_compared_with(self):
        (only,) = compared(0.8).metrics[0].verdict
        assert only.endswith("there is nothing to compare it with.")

    def test_enough_cases_need_no_warning_and_too_few_get_one(self):
        assert "however large" not in " ".join(compared(0.8, 0.7, n=6).metrics[0].limits)  # 2 / 2^6 = 0.03
        assert "however large" in compared(0.8, 0.7, n=5).metrics[0].limits[-1]

    def test_few_cases_of_one_method_say_nothing_of_the_others(self):
        rows = [
            {"method": name, "fold": k % 3, "case": f"mv{k:02d}", "dsc": mean + 0.01 * k}
            for name, mean, n in (("a", 0.5, 24), ("b", 0.3, 24), ("c", 0.4, 3))
            for k in range(n)
        ]
        found = compare(rows, ("dsc",), resamples=1000).metrics[0]
        assert any(sentence.startswith("DSC: a is better than b") for sentence in found.verdict)
        assert found.limits == ()

    def test_a_pair_of_one_case_has_no_interval_to_be_told(self):
        told = compared(0.8, 0.7, n=1).metrics[0].verdict[-1]
        assert "difference -0." in told
        assert told.endswith(" µm, one case, no interval).")
        assert "between" not in told


class TestGeneralNotes:
    def test_intervals_of_few_cases_are_said_to_be_too_narrow(self):
        note = "Intervals of 4 cases are too narrow: a nominal 95% is about 86% with 4 cases and 50% with 2."
        assert note in compared(0.8, 0.7, n=4).notes
        assert "too narrow" not in " ".join(compared(0.8, 0.7, n=5).notes)

    def test_what_the_sample_stands_for_is_always_said(self):
        sample, _ = compared(0.8, 0.7).notes
        assert "with another seed, would rank the methods alike is not tested" in sample
        assert "over the pairs of each metric but not over metrics" in sample

    def test_what_p_assumes_is_said_where_there_is_a_p(self):
        assert (
            compared(0.8, 0.7).notes[-1].startswith("p is exact for losses that could swap their scores on any case.")
        )
        (only,) = compared(0.8).notes
        assert "p is exact" not in only

    def test_folds_too_small_to_stratify_are_said(self):
        note = "Some folds have fewer than 5 cases: there the intervals resample all cases as one sample, not within folds."
        assert note in compared(0.8, 0.7, n=14).notes  # folds of 5, 5 and 4
        assert note not in compared(0.8, 0.7, n=15).notes
