"""Errors for unknown names."""

from __future__ import annotations

import pytest

from minivess.suggestions import did_you_mean, unknown

MANY = [f"metric_{letter}" for letter in "abcdefghij"]


class TestUnknown:
    @pytest.mark.parametrize(
        ("got", "known", "listed", "nearest"),
        [
            ("wrap", ["warp", "cbdice"], True, "'warp'"),
            ("x", ["warp", "cbdice"], True, ""),
            ("metric_k", MANY, False, "'metric_j'"),
            ("x", MANY, True, ""),
            ("x", [], True, ""),
        ],
    )
    def test_suggests_the_nearest_name_and_lists_all_if_they_are_few_or_none_is_near(
        self, got: str, known: list[str], listed: bool, nearest: str
    ) -> None:
        error = unknown("loss", got, known)
        assert "loss" in error.expected
        assert (", ".join(known) in error.expected) == listed
        assert error.got == repr(got)
        assert error.cure.count("'") == nearest.count("'")
        assert nearest in error.cure

    def test_upper_and_lower_case_do_not_matter(self) -> None:
        assert "'clDice'" in did_you_mean("CLDICEE", ["dsc", "clDice"])
