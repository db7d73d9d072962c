"""Losses worth choosing between when overlap and topology do not agree."""

from __future__ import annotations

from minivess.statistics.comparison import Comparison

OVERLAP, TOPOLOGY = "dsc", "centreline_dsc"


def pareto_front(comparison: Comparison) -> tuple[str, ...]:
    """Losses that no other one equals in mean DSC and mean clDice and beats in one of them, the best in DSC first.

    Means over the cases that all losses share; none where they share none.

    Empty where the two are not both compared. Means alone: whether a difference is shown is for the tests to say.
    """
    if not {OVERLAP, TOPOLOGY} <= {found.metric for found in comparison.metrics}:
        return ()
    overlap, topology = (
        {score.method: score.shared for score in comparison.metric(name).losses} for name in (OVERLAP, TOPOLOGY)
    )
    points = {method: (x.mean, y.mean) for method, x in overlap.items() if x and (y := topology[method])}
    front = [
        method
        for method, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
    return tuple(sorted(front, key=lambda method: -points[method][0]))
