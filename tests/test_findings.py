from __future__ import annotations

import pytest

from minivess.errors import PlanError, RunError
from minivess.findings import Finding, Level, raise_critical


def finding(level: Level, got: str = "3") -> Finding:
    return Finding(level, "patch", "depth of the patch", "5 or less", got, "use a smaller patch")


class TestFinding:
    def test_prints_as_one_line(self) -> None:
        expected = "warning: patch: depth of the patch: expected 5 or less; got 1 2. Cure: use a smaller patch"
        assert str(finding("warning", got="1\n2")) == expected

    def test_information_has_nothing_to_expect_or_cure(self) -> None:
        assert str(Finding("info", "ram", "usable memory", "", "24.0 GiB", "")) == "info: ram: usable memory: 24.0 GiB"

    def test_round_trips_as_a_dict(self) -> None:
        assert Finding(**finding("info").as_dict()) == finding("info")  # type: ignore[arg-type]


class TestRaiseCritical:
    def test_warnings_pass(self) -> None:
        raise_critical([finding("warning"), finding("info")], PlanError)

    def test_a_single_one_keeps_its_parts(self) -> None:
        with pytest.raises(PlanError) as caught:
            raise_critical([finding("critical"), finding("info")], PlanError)
        assert caught.value.expected == "5 or less"
        assert caught.value.cure == "use a smaller patch"

    def test_all_are_in_one_message(self) -> None:
        with pytest.raises(RunError, match=r"2 of them:\n.*got 16\.[^\n]*\n.*got 23\."):
            raise_critical([finding("critical", "16"), finding("critical", "23")], RunError)
