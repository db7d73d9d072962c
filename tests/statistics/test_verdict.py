from __future__ import annotations

import numpy as np

from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison


def compared(*means: float, n: int = 24) -> Comparison:
    """Compare methods a, b and c on the same cases. The MASD of a case is 1 minus a score with the given mean."""
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 0.05, size=n)
    rows = [
        {"method": name, "fold": k % 3, "case": f"mv{k:02d}", "measured_masd": 1 - score}
        for name, mean in zip("abc", means, strict=False)
        for k, score in enumerate(mean + difficulty + rng.normal(0, 0.01, size=n))
    ]
    return compare(rows, ("measured_masd",), resamples=1000)


class TestMetricVerdict:
    def test_the_verdict_names_the_best_mean_what_it_beats_and_what_is_not_shown(self):
        metric = compared(0.7, 0.8, 0.8).metrics[0]
        first, *_, last = metric.verdict
        assert metric.best in ("b", "c")
        assert f"{metric.best} has the lowest mean" in first
        assert "24 cases" in first
        assert first.endswith("better than a.")
        assert "b and c (p = " in last

    def test_a_shown_difference_is_better_minus_worse(self):
        sentence = compared(0.7, 0.8).metrics[0].verdict[1]
        assert sentence.startswith("MASD: b is better than a")
        values = ("-0.099 [", " µm,", "p = 0.0001,", "effect size -1.00,", "24 of 24 cases")
        assert all(value in sentence for value in values)

    def test_the_order_of_the_methods_does_not_change_the_sign(self):
        sentence = compared(0.8, 0.7).metrics[0].verdict[1]
        assert sentence.startswith("MASD: a is better than b")
        assert "mean difference -0." in sentence

    def test_a_single_method_has_one_sentence_without_a_test(self):
        metric = compared(0.8).metrics[0]
        (only,) = metric.verdict
        assert f"a is the only loss ({metric.methods[0].interval} µm" in only
        assert "better" not in only

    def test_only_too_few_cases_give_a_limit(self):
        assert compared(0.8, 0.7, n=6).metrics[0].limits == ()  # 2 / 2^6 = 0.03
        (limit,) = compared(0.8, 0.7, n=5).metrics[0].limits
        assert all(value in limit for value in ("5 cases", "0.062", "1 pair", "5%", "6 cases"))  # 2 / 2^5 = 0.0625

    def test_few_cases_of_one_method_do_not_limit_the_others(self):
        rows = [
            {"method": name, "fold": k % 3, "case": f"mv{k:02d}", "dsc": mean + 0.01 * k}
            for name, mean, n in (("a", 0.5, 24), ("b", 0.3, 24), ("c", 0.4, 3))
            for k in range(n)
        ]
        found = compare(rows, ("dsc",), resamples=1000).metrics[0]
        assert any(sentence.startswith("DSC: a is better than b") for sentence in found.verdict)
        assert found.limits == ()

    def test_a_pair_of_one_case_is_reported_without_an_interval(self):
        metric = compared(0.8, 0.7, n=1).metrics[0]
        test = metric.pairs[0].test
        assert f"difference {test.parts[0]} µm, {test.interval.method})" in metric.verdict[-1]
        assert " to " not in metric.verdict[-1]


class TestGeneralNotes:
    def test_intervals_of_few_cases_are_reported_as_too_narrow(self):
        (note,) = (note for note in compared(0.8, 0.7, n=4).notes if "too narrow" in note)
        assert all(value in note for value in ("4 cases", "95%", "86%", "50%"))
        assert "too narrow" not in " ".join(compared(0.8, 0.7, n=5).notes)

    def test_the_unit_the_luck_and_the_correction_are_always_stated(self):
        unit, luck, correction, _ = compared(0.8, 0.7).notes
        assert unit == "The unit of analysis is the case."
        assert "seed" in luck
        assert all(word in correction for word in ("95%", "Holm", "pairs of each metric", "not over metrics"))

    def test_without_a_rule_it_is_stated_that_nothing_was_fixed_beforehand(self):
        assert any("Nothing was fixed before the run" in note for note in compared(0.8, 0.7).notes)
        assert not any("Nothing was fixed" in note for note in compared(0.8).notes)

    def test_folds_that_are_too_small_to_stratify_are_reported(self):
        assert any("fewer than 5 cases" in note for note in compared(0.8, 0.7, n=14).notes)  # folds of 5, 5 and 4
        assert not any("fewer than 5 cases" in note for note in compared(0.8, 0.7, n=15).notes)
