from __future__ import annotations

from typing import Any

import numpy as np

from minivess.reporting.headline import Headline, headline
from minivess.statistics.compare_methods import compare

METRICS = ("dsc", "measured_masd")


def rows(method: str, dsc: float, masd: float, n: int = 24, **others: Any) -> list[dict[str, Any]]:
    """One row a case around these means; the same difficulty of a case for every method."""
    rng = np.random.default_rng(len(method) + round(1000 * dsc))
    noise = np.random.default_rng(0).normal(0, 0.05, n) + rng.normal(0, 0.01, n)
    return [
        {"method": method, "fold": k % 3, "case": f"mv{k:02d}", "dsc": dsc + e, "measured_masd": masd - e, **others}
        for k, e in enumerate(noise)
    ]


def told(*tables: list[dict[str, Any]]) -> Headline:
    return headline(compare([row for table in tables for row in table], METRICS, resamples=1000))


class TestTitle:
    def test_a_loss_shown_to_beat_all_others_in_all_metrics_is_best(self):
        found = told(rows("a", 0.8, 1), rows("b", 0.7, 2), rows("c", 0.6, 3))
        assert found.title == "a is best: shown to be better than every other loss in every metric"
        assert found.lead == "Of all losses it has the best mean DSC and MASD, over 24 held-out cases in 3 folds."
        assert found.shown[0] == "DSC and MASD: a is better than every other loss."
        assert found.shown[1] == "2 differences between the other losses, listed among the tests."

    def test_a_lead_that_few_cases_cannot_show_may_be_chance(self):
        found = told(rows("a", 0.8, 1, n=3), rows("b", 0.7, 2, n=3))
        assert found.title == "a looks best, but its lead may be chance"
        assert found.shown == ("No difference between losses is shown at 5%.",)
        assert found.not_shown[0] == "DSC and MASD: a is not told apart from b, which does not make them equal."
        assert "no difference can be shown at 5%, however large" in found.not_shown[1]

    def test_a_lead_in_one_metric_of_two_is_shown_in_part(self):
        tied = [row | {"measured_masd": 1.0} for row in rows("b", 0.7, 1)]
        found = told([row | {"measured_masd": 1.0} for row in rows("a", 0.8, 1)], tied)
        assert found.title == "a looks best, and part of its lead is shown"

    def test_metrics_may_disagree(self):
        found = told(rows("a", 0.8, 3), rows("b", 0.7, 2))
        assert found.title == "No loss is best in everything; best means: DSC with a; MASD with b"

    def test_metrics_that_disagree_by_chance_show_nothing(self):
        found = told(rows("a", 0.8, 3, n=3), rows("b", 0.7, 2, n=3))
        assert found.title == "No loss is shown to be better; best means: DSC with a; MASD with b"

    def test_one_loss_and_no_loss_are_not_compared(self):
        alone, baseline = told(rows("a", 0.8, 1), rows("threshold", 0.6, 3)), told(rows("threshold", 0.6, 3))
        assert alone.title == "a stands alone: there is no other loss to compare it with"
        assert baseline.title == "Only the baseline has finished: there is no loss to judge yet"
        assert alone.shown == baseline.shown == ()

    def test_losses_without_a_common_case_are_not_ranked(self):
        found = told(rows("a", 0.8, 1)[:5], rows("b", 0.7, 2)[5:])
        assert found.title == "No case is shared by all losses yet: none can be called best"
        assert "DSC: not tested, for they share no case: a and b." in found.not_shown

    def test_losses_that_a_baseline_beats_in_everything_are_not_ranked(self):
        found = told(rows("a", 0.5, 4), rows("b", 0.4, 5), rows("threshold", 0.6, 1))
        assert found.title.startswith("A baseline is ahead of every loss in everything")
        assert found.lead == "Means are over 24 held-out cases in 3 folds."

    def test_means_are_compared_on_the_cases_that_all_share(self):
        threshold = [row | {"dsc": row["dsc"] + 0.3 * (row["fold"] != 0)} for row in rows("threshold", 0.5, 4)]
        folds_0 = [[row for row in rows(*loss) if row["fold"] == 0] for loss in (("a", 0.7, 1), ("b", 0.6, 2))]
        found = told(threshold, *folds_0)
        assert found.title.startswith("a is best") or found.title.startswith("a looks best")
        assert found.lead.endswith("over the 8 cases that all losses share, of 24 held-out cases in 3 folds.")

    def test_a_loss_of_which_nothing_finished_is_in_the_title(self):
        table = [*rows("a", 0.8, 1), *rows("b", 0.7, 2)]
        found = headline(compare(table, METRICS, planned=("a", "b", "warp"), resamples=1000))
        assert found.title.endswith("(of 3 losses warp could not be compared)")


class TestCautions:
    def test_a_baseline_ahead_of_every_loss_is_said(self):
        found = told(rows("a", 0.8, 2), rows("b", 0.7, 3), rows("threshold", 0.6, 1))
        said = [line for line in found.not_shown if "baseline" in line]
        assert len(said) == 1
        assert said[0].startswith("MASD: the baseline threshold has a better mean than every loss (")

    def test_missing_cases_and_empty_masks_are_counted(self):
        found = told(rows("a", 0.8, 1), rows("b", 0.7, 2, empty="prediction")[:22])
        assert (
            "b lacks 2 cases (mv22, mv23); it is compared on those that it shares with each other loss."
            in found.not_shown
        )
        assert "b predicts nothing on 22 cases, which count as failures." in found.not_shown
