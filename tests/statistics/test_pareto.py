from __future__ import annotations

from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison
from minivess.statistics.pareto import pareto_front


def comparison(**points: tuple[float, float]) -> Comparison:
    """Compare methods with the given (DSC, clDice) on both of two cases."""
    rows = [
        {"method": method, "fold": case, "case": f"c{case}", "dsc": dsc, "cldice": centreline}
        for method, (dsc, centreline) in points.items()
        for case in (0, 1)
    ]
    return compare(rows, ("dsc", "cldice"))


def front_note(found: Comparison) -> str:
    """Return the first sentence of the note on the Pareto front."""
    return next(note for note in found.notes if note.startswith("Pareto front")).split(". ")[0]


class TestParetoFront:
    def test_dominated_losses_are_not_on_the_front(self) -> None:
        found = comparison(a=(0.8, 0.6), b=(0.7, 0.7), c=(0.7, 0.65), d=(0.6, 0.6))
        assert pareto_front(found) == ("a", "b")
        assert front_note(found).endswith(": a, b")

    def test_equal_losses_are_both_on_the_front(self) -> None:
        assert pareto_front(comparison(a=(0.8, 0.6), b=(0.8, 0.6))) == ("a", "b")

    def test_baselines_are_ignored(self) -> None:
        assert pareto_front(comparison(a=(0.5, 0.5), threshold=(0.9, 0.9))) == ("a",)

    def test_means_are_over_the_shared_cases(self) -> None:
        scores = {"a": (0.8, 0.4), "b": (0.7,)}
        rows = [
            {"method": method, "fold": case, "case": f"c{case}", "dsc": dsc, "cldice": dsc}
            for method, values in scores.items()
            for case, dsc in enumerate(values)
        ]
        found = compare(rows, ("dsc", "cldice"))
        assert pareto_front(found) == ("a",)
        assert front_note(found).endswith("1 shared case: a")

    def test_the_front_is_empty_without_both_metrics(self) -> None:
        rows = [{"method": "a", "fold": 0, "case": "c", "dsc": 0.5}]
        assert pareto_front(compare(rows, ("dsc",))) == ()

    def test_runs_without_cldice_have_the_front_in_centreline_dsc(self) -> None:
        rows = [
            {"method": method, "fold": 0, "case": "c", "dsc": dsc, "centreline_dsc": lee}
            for method, dsc, lee in (("a", 0.5, 0.5), ("b", 0.4, 0.6))
        ]
        found = compare(rows, ("dsc", "centreline_dsc"))
        assert pareto_front(found) == ("a", "b")
        assert "clDice (Lee skeleton)" in front_note(found)
