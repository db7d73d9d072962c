from __future__ import annotations

import re

import pytest

from minivess.reporting.answer import answer_cards, answer_title
from minivess.reporting.decision_figures import difference_figure, variance_figure
from minivess.reporting.headline import headline
from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison
from minivess.statistics.rule import ComparisonConfig


def answer(*differences: float, margin: float = 0.05, noise: float = 0.01, metric: str = "cldice") -> Comparison:
    """Compare losses a, b and so on with dice_ce: 12 cases in 3 folds, each scored by 2 repeats, with these differences."""
    rows = []
    for case in range(12):
        for repeat in (1, 2):
            place = {"fold": case % 3, "case": f"c{case:02}", "repeat": repeat}
            for number, difference in enumerate((0.0, *differences)):
                wobble = noise * ((case * 7 + repeat * 3 + number * 5) % 11 - 5) / 5
                method = "dice_ce" if number == 0 else "abcd"[number - 1]
                rows.append({**place, "method": method, metric: 0.5 + 0.01 * case + difference + wobble})
    rule = ComparisonConfig(primary=metric, margin=margin, against="dice_ce")
    return compare(rows, [metric], baselines=[], rule=rule)


class TestTitle:
    @pytest.mark.parametrize(
        ("differences", "words"),
        [
            ((0.2, 0.0), "a is better than dice_ce"),
            ((-0.2, -0.3), "dice_ce is best"),
            ((0.2, 0.2), "a and b are better than dice_ce in clDice, by more than 0.05"),
            ((0.0, 0.001), "dice_ce, a and b are equivalent"),
            ((-0.2, 0.0), "No loss is shown to be better than dice_ce in clDice; a is worse; b is equivalent"),
        ],
    )
    def test_it_answers_which_loss_is_better_than_the_reference(self, differences: tuple[float, ...], words: str):
        found = answer(*differences)
        assert found.decision is not None
        assert answer_title(found, found.decision).startswith(words)

    def test_a_baseline_is_named_only_if_a_loss_is_not_shown_to_be_better_than_it(self):
        found = answer(0.2, 0.2)
        assert found.decision is not None
        assert found.decision.best == ""
        assert "baseline" not in answer_title(found, found.decision)
        behind = [loss.model_copy(update={"not_above": ("threshold",)}) for loss in found.decision.losses[:1]]
        decision = found.decision.model_copy(update={"losses": (*behind, *found.decision.losses[1:])})
        assert "but a is not shown to be better than every baseline" in answer_title(found, decision)

    def test_a_lower_distance_is_better(self):
        found = answer(-0.2, metric="measured_masd")
        assert found.decision is not None
        assert answer_title(found, found.decision).startswith("a is better than dice_ce in MASD")

    def test_noise_decides_nothing(self):
        found = answer(0.02, noise=0.5)
        assert found.decision is not None
        assert answer_title(found, found.decision).startswith("No loss is shown to be better")


class TestCards:
    def test_a_card_has_the_difference_and_what_would_decide_it(self):
        found = answer(0.4, 0.04, noise=0.1)
        assert found.decision is not None
        first, second = answer_cards(found, found.decision)
        assert (first.verdict, first.need) == ("better", "")
        assert second.verdict == "undecided"
        assert second.need
        assert sum(second.confidence.values()) == pytest.approx(1)


class TestHeadline:
    def test_limits_are_about_no_single_loss(self):
        found = headline(answer(0.02, noise=0.5))
        assert any("undecided" in line for line in found.not_shown)
        assert not any("undecided" in line for line in found.limits)
        assert set(found.limits) < set(found.not_shown)


class TestFigures:
    @pytest.mark.parametrize(("metric", "rises"), [("cldice", True), ("measured_masd", False)])
    def test_better_is_on_the_right(self, metric: str, rises: bool):
        found = answer(0.2, metric=metric)
        assert found.decision is not None
        picture = str(difference_figure(found.decision, {"a": "series-0"}))
        ticks = re.findall(r'<text[^>]* x="([\d.]+)"[^>]*>(−?[\d.]+)</text>', picture)
        places = [float(x) for x, number in sorted(ticks, key=lambda tick: float(tick[1].replace("−", "-")))]
        assert len(places) > 2
        assert places == sorted(places, reverse=not rises)

    def test_shares_of_variance_add_up(self):
        found = answer(0.1, noise=0.1)
        assert found.decision is not None
        assert "between volumes" in str(variance_figure(found.decision))
        assert sum(source.share for source in found.decision.losses[0].sources) == pytest.approx(1)
