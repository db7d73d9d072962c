from __future__ import annotations

import pytest

from minivess.errors import PlanError, RunError
from minivess.findings import Finding, Level, grouped, raise_critical
from minivess.json_files import from_plain, to_plain


def finding(level: Level, got: str = "3") -> Finding:
    return Finding(level, "patch", "depth of the patch", "5 or less", got, "use a smaller patch")


class TestFinding:
    def test_prints_as_one_line(self) -> None:
        expected = "warning: patch: depth of the patch: expected 5 or less; got 1 2. Cure: use a smaller patch"
        assert str(finding("warning", got="1\n2")) == expected

    def test_information_has_no_expected_value_and_no_cure(self) -> None:
        assert str(Finding("info", "ram", "usable memory", "", "24.0 GiB", "")) == "info: ram: usable memory: 24.0 GiB"

    def test_round_trips_as_a_dict(self) -> None:
        assert from_plain(Finding, to_plain(finding("info"))) == finding("info")


def nan(name: str, count: int) -> Finding:
    return Finding("critical", "finite", name, "finite intensities", f"{count} NaN", "fix it")


class TestGrouped:
    def test_few_equal_findings_become_one_with_all_names(self) -> None:
        assert grouped([nan("a", 1), nan("b", 1), nan("c", 2)]) == [nan("a, b", 1), nan("c", 2)]

    def test_many_names_become_their_number_and_the_first_ones(self) -> None:
        (only,) = grouped([nan(f"mv{number}", 1) for number in range(40)])
        assert only == nan("mv0, mv1, mv2 and 37 more", 1)

    def test_many_values_of_one_fault_become_one_with_examples(self) -> None:
        (only,) = grouped([nan(f"mv{number}", number) for number in range(40)])
        assert (only.what, only.got) == ("mv0, mv1, mv2 and 37 more", "mv0: 0 NaN; mv1: 1 NaN; mv2: 2 NaN; ...")

    def test_a_finding_with_another_cure_stays_separate(self) -> None:
        other = Finding("critical", "finite", "b", "finite intensities", "1 NaN", "take it out")
        assert grouped([nan("a", 1), other]) == [nan("a", 1), other]


class TestRaiseCritical:
    def test_warnings_pass(self) -> None:
        raise_critical([finding("warning"), finding("info")], PlanError)

    def test_a_single_finding_keeps_its_parts(self) -> None:
        with pytest.raises(PlanError) as caught:
            raise_critical([finding("critical"), finding("info")], PlanError)
        assert caught.value.expected == "5 or less"
        assert caught.value.cure == "use a smaller patch"

    def test_a_single_finding_names_its_subject(self) -> None:
        with pytest.raises(PlanError) as caught:
            raise_critical([nan("a", 1)], PlanError)
        assert caught.value.got == "a: 1 NaN"

    def test_all_are_in_one_message(self) -> None:
        with pytest.raises(RunError) as caught:
            raise_critical([finding("critical", "16"), finding("critical", "23")], RunError)
        number, first, second = caught.value.got.splitlines()
        assert [text in line for text, line in (("2", number), ("16", first), ("23", second))] == [True] * 3

    def test_every_subject_is_named_even_if_there_are_many(self) -> None:
        many = [
            Finding("critical", "nan", f"mv{number}", "numbers", f"{number % 5} NaN", "fix it") for number in range(20)
        ]
        with pytest.raises(RunError) as caught:
            raise_critical(many, RunError)
        assert all(f"mv{number}" in str(caught.value) for number in range(20))
