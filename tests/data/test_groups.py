"""Tests of the groups of cases, from a file and from names."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.data.groups import check_pattern, read_groups, refuse_shared_groups
from minivess.errors import DataError

NAMES = ("mouse1_a", "mouse1_b", "mouse2_a")
GROUPS = {"mouse1_a": "1", "mouse1_b": "1", "mouse2_a": "2"}


class TestFromAFile:
    @pytest.mark.parametrize(
        "text",
        [
            "case,group\nmouse1_a,1\nmouse1_b,1\nmouse2_a,2\n",
            "mouse2_a,2\nmouse1_b,1\nmouse1_a,1",
            "\ufeffCase;Group\r\nmouse1_a; 1\r\n\r\nmouse1_b;1\r\nmouse2_a;2\r\n",
        ],
        ids=["heading", "no heading", "a spreadsheet"],
    )
    def test_reads_what_people_save(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "g.csv").write_text(text, encoding="utf-8")
        assert read_groups("g.csv", tmp_path, NAMES) == GROUPS
        assert read_groups(str(tmp_path / "g.csv"), Path("elsewhere"), NAMES) == GROUPS

    @pytest.mark.parametrize(
        ("change", "got"),
        [
            (("mouse2_a,2", "mouse2_a,2\nmouse1_a,2"), "mouse1_a"),
            (("mouse2_a,2", "mouse2_a,2\nmouse3,3"), "mouse3"),
            (("mouse2_a,2", ""), "mouse2_a"),
            (("mouse2_a,2", "mouse2_a"), "row 3: mouse2_a"),
            (("mouse2_a,2", "mouse2_a, "), "row 3: mouse2_a, "),
        ],
        ids=["twice", "unknown", "missing", "one column", "no group"],
    )
    def test_a_wrong_line_is_named(self, change: tuple[str, str], got: str, tmp_path: Path) -> None:
        (tmp_path / "g.csv").write_text("mouse1_a,1\nmouse1_b,1\nmouse2_a,2\n".replace(*change))
        with pytest.raises(DataError) as caught:
            read_groups("g.csv", tmp_path, NAMES)
        assert caught.value.got == got

    def test_a_missing_file_is_an_error_with_its_path(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"g\.csv: No such file"):
            read_groups("g.csv", tmp_path, NAMES)


class TestFromNames:
    def test_the_parentheses_hold_the_group(self) -> None:
        assert read_groups(r"^mouse(\d+)_", Path(), NAMES) == GROUPS

    def test_a_name_without_a_group_is_refused(self) -> None:
        with pytest.raises(DataError) as caught:
            read_groups(r"^(mouse\d+)_", Path(), [*NAMES, "rat1"])
        assert caught.value.got == "none in rat1"

    @pytest.mark.parametrize("pattern", ["mouse", "(a)(b)", "(", "groups.txt"])
    def test_a_pattern_needs_one_pair_of_parentheses(self, pattern: str) -> None:
        with pytest.raises(ValueError, match="csv"):
            check_pattern(pattern)


class TestRefuseSharedGroups:
    def test_the_group_and_its_cases_are_named(self) -> None:
        refuse_shared_groups(GROUPS, ["mouse1_a", "mouse1_b"], ["mouse2_a"], "a rule")
        with pytest.raises(DataError) as caught:
            refuse_shared_groups(GROUPS, ["mouse1_a"], ["mouse1_b", "mouse2_a"], "a rule")
        assert caught.value.got == "group 1 in both: mouse1_a and mouse1_b"
