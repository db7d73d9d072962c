from __future__ import annotations

from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison
from minivess.statistics.pareto import pareto_front


def comparison(**points: tuple[float, float]) -> Comparison:
    """Methods that score the same (DSC, clDice) on two cases."""
    rows = [
        {"method": method, "fold": case, "case": f"c{case}", "dsc": dsc, "centreline_dsc": centreline}
        for method, (dsc, centreline) in points.items()
        for case in (0, 1)
    ]
    return compare(rows, ("dsc", "centreline_dsc"))


class TestParetoFront:
    def test_keeps_what_none_beats_in_both(self) -> None:
        found = comparison(a=(0.8, 0.6), b=(0.7, 0.7), c=(0.7, 0.65), d=(0.6, 0.6))
        assert pareto_front(found) == ("a", "b")
        assert "DSC and clDice together: no loss is ahead of a or b in both means." in found.notes

    def test_equals_stay_together(self) -> None:
        assert pareto_front(comparison(a=(0.8, 0.6), b=(0.8, 0.6))) == ("a", "b")

    def test_a_baseline_beats_nobody(self) -> None:
        assert pareto_front(comparison(a=(0.5, 0.5), threshold=(0.9, 0.9))) == ("a",)

    def test_an_easy_fold_alone_puts_no_loss_on_it(self) -> None:
        scores = {"a": (0.8, 0.4), "b": (0.7,)}
        rows = [
            {"method": method, "fold": case, "case": f"c{case}", "dsc": dsc, "centreline_dsc": dsc}
            for method, values in scores.items()
            for case, dsc in enumerate(values)
        ]
        found = compare(rows, ("dsc", "centreline_dsc"))
        assert pareto_front(found) == ("a",)
        assert "DSC and clDice together: no loss is ahead of a in both means, on the 1 shared case." in found.notes

    def test_needs_both_metrics(self) -> None:
        rows = [{"method": "a", "fold": 0, "case": "c", "dsc": 0.5}]
        assert pareto_front(compare(rows, ("dsc",))) == ()
