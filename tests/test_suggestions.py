"""A name that is not known."""

from __future__ import annotations

import pytest

from minivess.suggestions import did_you_mean, unknown

MANY = [f"metric_{letter}" for letter in "abcdefghij"]


class TestUnknown:
    @pytest.mark.parametrize(
        ("got", "known", "message"),
        [
            (
                "wrap",
                ["warp", "cbdice"],
                "expected a known loss (warp, cbdice); got 'wrap'. Cure: did you mean 'warp'?",
            ),
            ("x", ["warp", "cbdice"], "expected a known loss (warp, cbdice); got 'x'. Cure: name one of them"),
            ("metric_k", MANY, "expected a known loss; got 'metric_k'. Cure: did you mean 'metric_j'?"),
            ("x", [], "expected a known loss; got 'x'. Cure: leave it out"),
        ],
    )
    def test_the_nearest_is_named_and_all_where_they_are_few_or_none_is_near(
        self, got: str, known: list[str], message: str
    ) -> None:
        assert str(unknown("loss", got, known)) == message

    def test_of_many_all_are_listed_where_none_is_near(self) -> None:
        assert ", ".join(MANY) in unknown("loss", "x", MANY).expected

    def test_case_does_not_matter(self) -> None:
        assert did_you_mean("CLDICEE", ["dsc", "clDice"]) == "did you mean 'clDice'?"
