"""What the choice of the centreline changes: clDice on complete centrelines beside clDice on the Lee skeleton."""

from __future__ import annotations

from collections.abc import Mapping

from minivess.statistics.comparison import CentrelineGap
from minivess.text import counted

CENTRELINES = ("cldice", "centreline_dsc")
"""clDice on complete centrelines, and on the skeleton of the literature."""
_WORTH_SAYING = 0.01


def centreline_gap(
    scores: Mapping[tuple[str, str], Mapping[str, float]], leaders: tuple[str, str]
) -> CentrelineGap | None:
    """Compare the two values of clDice.

    Args:
        scores: Scores by method and case, with both of ``CENTRELINES``.
        leaders: The loss with the best mean in each of ``CENTRELINES``; "" if the losses are not ranked.

    Returns:
        The gap; None if the two differ by at most 0.01 in every case and rank the same loss first.
    """
    gaps = {place: abs(values["cldice"] - values["centreline_dsc"]) for place, values in scores.items()}
    cases = {case for (_, case), gap in gaps.items() if gap > _WORTH_SAYING}
    if not cases and leaders[0] == leaders[1]:
        return None
    method, case = max(gaps, key=lambda place: gaps[place])
    return CentrelineGap(
        cases=len(cases),
        of=len({case for _, case in gaps}),
        largest=gaps[method, case],
        method=method,
        case=case,
        leaders=leaders,
    )


def gap_sentence(gap: CentrelineGap) -> str:
    """Return the gap as one sentence with its figures."""
    first, second = gap.leaders
    leads = f"{first} leads in both" if first == second else f"{first} leads in cldice, but {second} in centreline_dsc"
    return (
        "clDice on complete centrelines (cldice) and on scikit-image's Lee skeleton (centreline_dsc) differ by more "
        f"than {_WORTH_SAYING} in {gap.cases} of {counted(gap.of, 'case')}, at most by {gap.largest:.3f} "
        f"({gap.method} on {gap.case}){f'; {leads}' if first else ''}."
    )
