"""What the choice of the centreline changes, as a comparison says it."""

from __future__ import annotations

from typing import Any

from minivess.reporting.headline import headline
from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison


def compared(**scores: tuple[tuple[Any, Any], ...]) -> Comparison:
    """Compare methods with these pairs of cldice and centreline_dsc, one for each case."""
    rows = [
        {"method": method, "fold": 0, "case": f"c{k}", "cldice": complete, "centreline_dsc": lee}
        for method, pairs in scores.items()
        for k, (complete, lee) in enumerate(pairs)
    ]
    return compare(rows, ("cldice",), resamples=1000)


class TestCentrelineGap:
    def test_cases_that_differ_and_the_losses_that_lead_are_named_in_one_sentence(self) -> None:
        found = compared(a=((0.6, 0.9), (0.7, 0.7)), b=((0.7, 0.8), (0.7, 0.7)), threshold=((0.1, 0.105), (0.1, 0.1)))
        gap = found.centreline_gap
        assert gap is not None
        assert (gap.cases, gap.of, round(gap.largest, 3), gap.method, gap.case) == (1, 2, 0.3, "a", "c0")
        assert gap.leaders == ("b", "a")
        (sentence,) = (note for note in found.notes if "in 1 of 2 cases" in note)
        assert all(text in sentence for text in ("0.300", "a on c0", "b leads in cldice", "a in centreline_dsc"))
        assert sentence in headline(found).not_shown

    def test_a_small_difference_is_named_only_if_another_loss_leads(self) -> None:
        assert compared(a=((0.704, 0.7),), b=((0.6, 0.601),)).centreline_gap is None
        gap = compared(a=((0.704, 0.7),), b=((0.7, 0.705),)).centreline_gap
        assert gap is not None
        assert (gap.cases, gap.leaders) == (0, ("a", "b"))

    def test_repeats_are_averaged(self) -> None:
        rows = [
            {"method": "a", "fold": 0, "case": "c", "repeat": k, "cldice": 0.6, "centreline_dsc": lee}
            for k, lee in ((1, 0.9), (2, 0.6))
        ]
        gap = compare(rows, ("cldice",), resamples=1000).centreline_gap
        assert gap is not None
        assert round(gap.largest, 6) == 0.15

    def test_scores_that_lack_one_of_the_two_have_no_gap(self) -> None:
        for lee in (None, "", float("nan")):
            assert compared(a=((0.9, 0.1),), b=((0.9, lee),)).centreline_gap is None

    def test_the_better_of_baselines_does_not_lead(self) -> None:
        gap = compared(a=((0.6, 0.9),), threshold=((0.9, 0.95),)).centreline_gap
        assert gap is not None
        assert gap.leaders == ("a", "a")
