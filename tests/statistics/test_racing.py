"""Tests of the rule that stops losses early."""

from __future__ import annotations

import pytest

from minivess.statistics.racing import find_beaten, mean_by_unit

BASE = [0.5, 0.6, 0.7, 0.8, 0.9, 0.5, 0.6]


def _table(**gains: float) -> dict[str, dict[str, float]]:
    """Seven cases; each loss is better than ``BASE`` by its gain on every case."""
    return {loss: {f"c{i}": score + gain for i, score in enumerate(BASE)} for loss, gain in gains.items()}


class TestFindBeaten:
    def test_p_is_the_one_sided_exact_p_after_holm(self) -> None:
        """Of 128 patterns of signs, one is as extreme in this direction: 1/128, times 2 for the first of two losses."""
        first, second = find_beaten(_table(a=0.1, b=0.0, c=0.05, d=0.2), higher_is_better=True, reference="a", keep=1)
        assert (first.loss, first.leader, first.units) == ("b", "d", 7)
        assert first.difference == pytest.approx(0.2)
        assert first.p_holm == second.p_holm == 3 / 128
        assert second.loss == "c"

    def test_the_reference_is_never_stopped(self) -> None:
        found = find_beaten(_table(a=0.0, b=0.1, c=0.2), higher_is_better=True, reference="a", keep=1)
        assert [one.loss for one in found] == ["b"]

    @pytest.mark.parametrize(
        ("keep", "stopped"), [(1, ["b", "c", "d"]), (2, ["b", "c", "d"]), (3, ["b", "c"]), (9, [])]
    )
    def test_the_worst_are_stopped_until_keep_remain(self, keep: int, stopped: list[str]) -> None:
        table = _table(a=0.0, b=0.1, c=0.2, d=0.3, e=0.4)
        found = find_beaten(table, higher_is_better=True, reference="a", keep=keep)
        assert [one.loss for one in found] == stopped

    def test_lower_is_better_for_errors(self) -> None:
        found = find_beaten(_table(a=0.1, b=0.0, c=0.2), higher_is_better=False, reference="a", keep=1)
        assert [(one.loss, one.leader) for one in found] == [("c", "b")]

    def test_a_difference_that_is_not_shown_stops_nothing(self) -> None:
        table = _table(a=0.0, b=0.1)
        table["b"]["c0"] -= 0.9  # b is worse on one of seven cases, by more than it is better on the others
        assert find_beaten(table, higher_is_better=True, reference="x", keep=1) == ()
        assert find_beaten(_table(a=0.1, b=0.1), higher_is_better=True, reference="x", keep=1) == ()

    def test_few_groups_stop_nothing(self) -> None:
        table = {loss: {f"g{i}": gain for i in range(4)} for loss, gain in (("a", 0.5), ("b", 0.1))}
        assert find_beaten(table, higher_is_better=True, reference="a", keep=1) == ()

    def test_the_level_decides(self) -> None:
        found = [
            find_beaten(_table(a=0.1, b=0.0), higher_is_better=True, reference="a", keep=1, level=p)
            for p in (0.007, 0.008)
        ]
        assert [len(one) for one in found] == [0, 1]


def test_repeats_and_cases_of_a_group_are_averaged() -> None:
    scores = [("a", "g", 0.1), ("a", "g", 0.3), ("a", "h", 0.5), ("b", "g", 1.0)]
    assert mean_by_unit(scores) == {"a": {"g": pytest.approx(0.2), "h": 0.5}, "b": {"g": 1.0}}
