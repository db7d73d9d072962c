"""The Pareto front of the losses in overlap (DSC) and topology (clDice)."""

from __future__ import annotations

from minivess.statistics.centreline_gap import CENTRELINES
from minivess.statistics.comparison import Comparison, MetricComparison


def trade_off_metrics(comparison: Comparison) -> tuple[MetricComparison, MetricComparison] | None:
    """Return DSC and clDice; on the Lee skeleton if no other was compared, as in old runs; None without both."""
    compared = {found.metric: found for found in comparison.metrics}
    topology = next((compared[name] for name in CENTRELINES if name in compared), None)
    return (compared["dsc"], topology) if topology and "dsc" in compared else None


def pareto_front(comparison: Comparison) -> tuple[str, ...]:
    """Return the losses on the Pareto front of mean DSC and mean clDice.

    A loss is on the front if no other loss is at least as good in both means and better in one of them. The means are
    over the cases that all losses share. Only means are compared: the front does not say whether a difference is shown.

    Returns:
        Names of the losses, highest mean DSC first. Empty if DSC and clDice are not both compared, or if the losses
        share no case.
    """
    compared = trade_off_metrics(comparison)
    if compared is None:
        return ()
    overlap, topology = ({score.method: score.shared for score in metric.losses} for metric in compared)
    points = {method: (x.mean, y.mean) for method, x in overlap.items() if x and (y := topology[method])}
    front = [
        method
        for method, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
    return tuple(sorted(front, key=lambda method: -points[method][0]))
