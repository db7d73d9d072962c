from __future__ import annotations

from typing import Any

import numpy as np

from minivess.reporting.headline import Headline, headline
from minivess.statistics.compare_methods import compare

METRICS = ("dsc", "measured_masd")


def rows(method: str, dsc: float, masd: float, n: int = 24, **others: Any) -> list[dict[str, Any]]:
    """Return one row per case around these means. A case has the same difficulty for every method."""
    rng = np.random.default_rng(len(method) + round(1000 * dsc))
    noise = np.random.default_rng(0).normal(0, 0.05, n) + rng.normal(0, 0.01, n)
    return [
        {"method": method, "fold": k % 3, "case": f"mv{k:02d}", "dsc": dsc + e, "measured_masd": masd - e, **others}
        for k, e in enumerate(noise)
    ]


def headline_of(*tables: list[dict[str, Any]]) -> Headline:
    return headline(compare([row for table in tables for row in table], METRICS, resamples=1000))


class TestTitle:
    def test_a_loss_that_is_better_than_all_others_in_all_metrics_is_best(self):
        found = headline_of(rows("a", 0.8, 1), rows("b", 0.7, 2), rows("c", 0.6, 3))
        assert found.title.startswith("a is best")
        assert all(value in found.lead for value in ("best mean DSC and MASD", "24 held-out cases", "3 folds"))
        assert found.shown[0].startswith("DSC and MASD: a is better")
        assert "2 differences" in found.shown[1]
        (nothing,) = found.not_shown
        assert "baseline" in nothing

    def test_a_baseline_that_was_run_is_not_missed(self):
        assert headline_of(rows("a", 0.8, 1), rows("b", 0.7, 2), rows("threshold", 0.6, 3)).not_shown == ()

    def test_a_lead_that_few_cases_cannot_show_may_be_due_to_chance(self):
        found = headline_of(rows("a", 0.8, 1, n=3), rows("b", 0.7, 2, n=3))
        assert found.title.startswith("a ")
        assert "chance" in found.title
        (nothing,) = found.shown
        assert nothing.startswith("No difference")
        assert "5%" in nothing
        assert found.not_shown[0].startswith("DSC and MASD: a is not")
        assert "from b." in found.not_shown[0]
        assert all(value in found.not_shown[1] for value in ("3 cases", "0.25", "5%", "6 cases"))

    def test_a_lead_that_is_shown_in_one_of_two_metrics_is_neither_best_nor_chance(self):
        tied = [row | {"measured_masd": 1.0} for row in rows("b", 0.7, 1)]
        found = headline_of([row | {"measured_masd": 1.0} for row in rows("a", 0.8, 1)], tied)
        assert found.title.startswith("a has the best mean")
        assert "some of the tests" in found.title
        assert "chance" not in found.title

    def test_metrics_may_disagree(self):
        found = headline_of(rows("a", 0.8, 3), rows("b", 0.7, 2))
        assert found.title.endswith("best means: a in DSC; b in MASD")
        assert "is shown" not in found.title

    def test_metrics_that_disagree_by_chance_show_nothing(self):
        found = headline_of(rows("a", 0.8, 3, n=3), rows("b", 0.7, 2, n=3))
        assert found.title.endswith("best means: a in DSC; b in MASD")
        assert "is shown to be better" in found.title
        assert found.title.startswith("No loss")

    def test_one_loss_and_no_loss_are_not_compared(self):
        alone, baseline = (
            headline_of(rows("a", 0.8, 1), rows("threshold", 0.6, 3)),
            headline_of(rows("threshold", 0.6, 3)),
        )
        assert alone.title.startswith("a is the only loss")
        assert baseline.title.startswith("Only baselines have finished")
        assert alone.shown == baseline.shown == ()

    def test_losses_without_a_common_case_are_not_ranked(self):
        found = headline_of(rows("a", 0.8, 1)[:5], rows("b", 0.7, 2)[5:])
        assert "no case in common" in found.title
        assert any(line.startswith("DSC: not tested") and "a and b" in line for line in found.not_shown)

    def test_losses_that_a_baseline_beats_in_every_metric_are_not_ranked(self):
        found = headline_of(rows("a", 0.5, 4), rows("b", 0.4, 5), rows("threshold", 0.6, 1))
        assert "baseline" in found.title
        assert "best mean" not in found.lead
        assert all(value in found.lead for value in ("24 held-out cases", "3 folds"))

    def test_means_are_compared_on_the_cases_that_all_share(self):
        threshold = [row | {"dsc": row["dsc"] + 0.3 * (row["fold"] != 0)} for row in rows("threshold", 0.5, 4)]
        folds_0 = [[row for row in rows(*loss) if row["fold"] == 0] for loss in (("a", 0.7, 1), ("b", 0.6, 2))]
        found = headline_of(threshold, *folds_0)
        assert found.title.startswith("a is best") or found.title.startswith("a has the best mean")
        assert all(value in found.lead for value in ("8 cases", "24 held-out cases", "3 folds"))

    def test_a_loss_without_a_finished_cell_is_in_the_title(self):
        table = [*rows("a", 0.8, 1), *rows("b", 0.7, 2)]
        found = headline(compare(table, METRICS, planned=("a", "b", "warp"), resamples=1000))
        assert all(value in found.title for value in ("3 planned losses", ": warp)"))


class TestCautions:
    def test_a_baseline_with_a_better_mean_than_every_loss_is_reported(self):
        found = headline_of(rows("a", 0.8, 2), rows("b", 0.7, 3), rows("threshold", 0.6, 1))
        (line,) = (line for line in found.not_shown if "baseline" in line)
        assert line.startswith("MASD: the baseline threshold ")
        assert "µm)" in line

    def test_missing_cases_and_empty_masks_are_counted(self):
        found = headline_of(rows("a", 0.8, 1), rows("b", 0.7, 2, empty="prediction")[:22])
        assert any(line.startswith("b ") and "2 cases (mv22, mv23)" in line for line in found.not_shown)
        assert any(line.startswith("b predicts an empty mask") and "22 cases" in line for line in found.not_shown)
