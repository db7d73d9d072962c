from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from minivess.errors import ConfigError, DataError
from minivess.statistics.compare_methods import Fixed, compare
from minivess.statistics.comparison import Comparison
from minivess.statistics.decide import holm_levels
from minivess.statistics.decision import LossDecision
from minivess.statistics.rule import ComparisonConfig

RULE = ComparisonConfig(primary="dsc", margin=0.02, against="a")


def study(repeats: int = 3, noise: float = 0.002, groups: int = 6, **means: float) -> list[dict[str, Any]]:
    """Return rows of 24 cases in groups and three folds; the methods differ by their means and by noise."""
    rng, rows = np.random.default_rng(0), []
    difficulty = rng.normal(0, 0.05, size=24)
    for (name, mean), repeat, case in product(means.items(), range(1, repeats + 1), range(24)):
        group = case % groups
        score = mean + difficulty[case] + rng.normal(0, noise)
        rows.append(
            {
                "method": name,
                "repeat": repeat,
                "fold": group % 3,
                "group": f"g{group}",
                "case": f"c{case:02d}",
                "dsc": score,
            }
        )
    return rows


def decided(rows: list[dict[str, Any]], **options: Any) -> Comparison:
    return compare(rows, ("dsc",), rule=options.pop("rule", RULE), resamples=1000, **options)


def loss(rows: list[dict[str, Any]], name: str = "b", **options: Any) -> LossDecision:
    decision = decided(rows, **options).decision
    assert decision is not None
    return decision.loss(name)


class TestVerdict:
    @pytest.mark.parametrize(
        ("mean", "verdict", "shown"),
        [(0.75, "better", "better"), (0.65, "worse", "worse"), (0.7, "equivalent", ""), (0.72, "undecided", "better")],
    )
    def test_the_interval_and_the_margin_decide(self, mean: float, verdict: str, shown: str):
        found = loss(study(a=0.7, b=mean))
        assert (found.verdict, found.shown, found.about) == (verdict, shown, "losses")
        assert found.low < found.difference < found.high
        assert found.difference == pytest.approx(mean - 0.7, abs=0.002)

    def test_noise_leaves_it_undecided_and_says_what_would_decide_it(self):
        found = loss(study(noise=0.1, a=0.7, b=0.74))
        assert (found.verdict, found.shown) == ("undecided", "")
        assert [need.what for need in found.needs] == ["repeats", "cases", "groups"]
        assert found.confidence_better + found.confidence_equivalent + found.confidence_worse == pytest.approx(1)

    def test_a_smaller_distance_is_better(self):
        rows = [{**row, "measured_masd": 10 * (1 - row["dsc"])} for row in study(a=0.7, b=0.75)]
        rule = ComparisonConfig(primary="measured_masd", margin=0.1, against="a")
        found = compare(rows, ("dsc",), rule=rule, resamples=1000)
        assert [metric.metric for metric in found.metrics] == ["measured_masd", "dsc"]  # the primary one first
        assert found.decision.loss("b").verdict == "better"
        assert found.decision.loss("b").high < -0.1

    def test_exchanging_loss_and_reference_exchanges_better_and_worse(self):
        rows = study(a=0.7, b=0.75)
        one, other = loss(rows), loss(rows, "a", rule=RULE.model_copy(update={"against": "b"}))
        assert (one.verdict, other.verdict) == ("better", "worse")
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
        assert one.undone_by == pytest.approx(-other.undone_by)

    def test_the_order_of_the_rows_does_not_matter(self):
        rows = study(noise=0.05, a=0.7, b=0.73)
        one, other = loss(rows), loss(rows[::-1])
        assert (one.low, one.high, one.p_value) == pytest.approx((other.low, other.high, other.p_value))
        assert [need.further for need in one.needs] == [need.further for need in other.needs]

    def test_one_training_is_a_statement_about_these_networks(self):
        found = loss(study(repeats=1, a=0.7, b=0.75))
        assert (found.about, found.repeats, found.groups, found.cases) == ("networks", 1, 6, 24)
        assert {source.source for source in found.sources} == {"groups", "cases"}

    def test_a_loss_that_was_trained_once_is_compared_with_the_mean_of_the_repeats(self):
        rows = [row for row in study(a=0.7, b=0.75) if row["method"] == "a" or row["repeat"] == 1]
        assert (loss(rows).about, loss(rows).repeats) == ("networks", 1)

    @pytest.mark.parametrize(
        ("rows", "reason"),
        [
            (study(groups=1, a=0.7, b=0.8), "one group has no interval"),
            (study(noise=0, a=0.5, b=0.75), "all groups have the same difference"),
        ],
    )
    def test_without_a_variance_nothing_is_decided(self, rows: list[dict[str, Any]], reason: str):
        found = loss(rows)
        assert (found.verdict, found.known, found.reason, found.p_value) == ("undecided", False, reason, 1)
        assert (found.low, found.high) == (found.difference, found.difference)

    def test_one_further_group_with_that_difference_undoes_the_verdict(self):
        rows = study(repeats=1, a=0.7, b=0.75)
        worst = loss(rows).undone_by
        for difference, verdict in ((worst - 0.001, "undecided"), (worst + 0.001, "better")):
            new = [{"group": "new", "case": "new", "fold": 0, "repeat": 1, "dsc": 0.5}] * 2
            added = [{**new[0], "method": "a"}, {**new[1], "method": "b", "dsc": 0.5 + difference}]
            assert loss([*rows, *added]).verdict == verdict


class TestFamily:
    def test_holm_by_hand(self):
        """The smallest p is tested at 0.05 / 3, the next at 0.05 / 2; there it stops, so the last keeps 0.05 / 2."""
        levels, adjusted = holm_levels({"x": 0.2, "y": 0.01, "z": 0.03}, 0.95)
        assert levels == pytest.approx({"y": 1 - 0.05 / 3, "z": 0.975, "x": 0.975})
        assert adjusted == pytest.approx({"y": 0.03, "z": 0.06, "x": 0.2})

    def test_the_interval_is_wider_if_more_losses_are_compared(self):
        two, four = study(noise=0.1, a=0.7, b=0.71), study(noise=0.1, a=0.7, b=0.71, c=0.7, d=0.7)
        assert [loss(rows).level for rows in (two, four)] == pytest.approx([0.95, 1 - 0.05 / 3])

    def test_only_pairs_with_the_reference_are_tested_and_agree_with_the_decision(self):
        metric = decided(study(a=0.7, b=0.75, c=0.75, d=0.7)).metrics[0]
        pairs = {(pair.first, pair.second): pair for pair in metric.pairs}
        assert [pair for pair in pairs if not pairs[pair].exploratory] == [("a", "b"), ("a", "c"), ("a", "d")]
        assert (pairs["a", "b"].better, pairs["a", "d"].better, pairs["c", "d"].better) == ("b", "", "c")

    def test_without_a_rule_all_pairs_are_tested_and_none_is_exploratory(self):
        found = compare(study(a=0.7, b=0.75, c=0.75), ("dsc",), resamples=1000)
        assert found.decision is None
        assert [pair.exploratory for pair in found.metrics[0].pairs] == [False] * 3
        assert (len(found.groups), found.repeats, found.metrics[0].methods[0].interval.n) == (6, 3, 6)


class TestBest:
    def test_the_best_loss_beats_the_reference_and_the_baseline(self):
        rows = study(a=0.7, b=0.75, c=0.8, threshold=0.4)
        assert decided(rows).decision.best == "c"

    def test_the_reference_is_best_if_all_others_are_worse(self):
        assert decided(study(a=0.8, b=0.75, c=0.7)).decision.best == "a"

    @pytest.mark.parametrize("baseline", [0.75, 0.9])
    def test_a_loss_that_ties_or_loses_to_a_baseline_is_not_best(self, baseline: float):
        decision = decided(study(noise=0.01, a=0.7, b=0.75, threshold=baseline)).decision
        assert decision.loss("b").verdict == "better"
        assert (decision.best, decision.loss("b").not_above) == ("", ("threshold",))
        assert any("b is not shown to be better than the baseline threshold" in line for line in decision.text)

    def test_no_loss_is_best_while_one_is_undecided_against_the_reference(self):
        assert decided(study(a=0.7, b=0.7, c=0.6)).decision.best == ""


class TestRule:
    def test_values_that_are_left_out_are_filled_in(self):
        rule = ComparisonConfig(primary="MASD")
        assert rule.primary == "measured_masd"
        assert (rule.completed(["warp", "dice_ce"]).against, rule.completed(["warp"]).against) == ("dice_ce", "warp")
        assert rule.completed(["warp"]).margin == 0.1

    def test_an_unknown_reference_is_an_error_that_names_the_methods(self):
        with pytest.raises(ConfigError) as caught:
            decided(study(a=0.7, b=0.7), rule=RULE.model_copy(update={"against": "c"}))
        assert "a, b" in caught.value.expected

    def test_a_reference_without_scores_so_far_gives_no_decision(self):
        assert decided(study(b=0.7, c=0.7), planned=("a", "b", "c")).decision is None

    def test_a_loss_without_a_case_of_the_reference_is_listed(self):
        rows = [*study(a=0.7, b=0.75), {"method": "c", "fold": 0, "case": "other", "dsc": 0.5}]
        assert decided(rows).decision.untested == ("c",)

    def test_what_was_fixed_before_the_run_is_stated(self):
        rows = study(a=0.7, b=0.75)
        assert decided(rows).decision.text[0].startswith("Fixed before the run")
        after = decided(rows, fixed=Fixed(beforehand=False, before=RULE.model_copy(update={"margin": 0.05}))).decision
        assert "Chosen after the run" in after.text[0]
        assert "margin 0.05" in after.text[0]
        assert after.fixed.margin == 0.05

    def test_a_case_in_two_groups_is_refused(self):
        rows = study(a=0.7, b=0.75)
        with pytest.raises(DataError, match="c00 in g0 and in g5"):
            decided([*rows, {**rows[0], "method": "c", "group": "g5"}])

    def test_the_comparison_can_be_written_and_read(self):
        found = decided(study(a=0.7, b=0.75, threshold=0.3))
        assert Comparison.model_validate_json(found.model_dump_json()) == found
