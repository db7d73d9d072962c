"""What would probably decide an undecided difference: further repeats, volumes or animals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from scipy import stats

from minivess.statistics.decision import Need
from minivess.statistics.variance import Plan, Variances, predict_error

_CHANCE = 0.8
"""The number that is sought gives a verdict in 80 of 100 such studies, if the true difference is the measured one."""
_MOST_REPEATS, _MOST_VOLUMES = 50, 5_000
_AT_MARGIN = "the measured difference is too close to the margin"


def find_needs(
    difference: float, variances: Variances, plan: Plan, margin: float, level: float, *, grouped: bool
) -> tuple[Need, ...]:
    """Return how many further repeats, volumes or groups would each probably lead to a verdict.

    Args:
        difference: The measured mean difference.
        variances: Its variances.
        plan: The study as it is.
        margin: The margin of the rule.
        level: Level of the interval.
        grouped: Whether there are groups.

    Returns:
        One need for each thing that can be added; the cheapest is marked: repeats if they can decide, because they cost
        machine time only, otherwise what needs the fewest labelled volumes.
    """
    distance = abs(abs(difference) - margin)

    def decides(changed: Plan) -> bool:
        error, freedom = predict_error(variances, changed)
        return error * float(stats.t.ppf((1 + level) / 2, freedom) + stats.t.ppf(_CHANCE, freedom)) <= distance

    needs = [_repeats(plan, variances, decides)]
    per_group = max(1, round(plan.cases))
    if grouped:
        most = _MOST_VOLUMES // plan.groups
        more = _smallest(most, lambda k: decides(replace(plan, cases=plan.cases + k)))
        reason = "most of the variance is between groups" if decides_never(variances, plan, decides) else _AT_MARGIN
        needs.append(_volumes("cases", more and more * plan.groups, more and more * plan.groups, reason))
    most = _MOST_VOLUMES // per_group
    more = _smallest(most, lambda k: decides(replace(plan, groups=plan.groups + k)))
    what = "groups" if grouped else "cases"
    needs.append(_volumes(what, more, more and more * per_group, _AT_MARGIN))
    return _mark_cheapest(needs)


def decides_never(variances: Variances, plan: Plan, decides: Callable[[Plan], bool]) -> bool:
    """Return whether even a perfect measurement of the present groups decides nothing, while more groups would."""
    return not decides(replace(plan, cases=1e9)) and decides(replace(plan, groups=_MOST_VOLUMES))


def _repeats(plan: Plan, variances: Variances, decides: Callable[[Plan], bool]) -> Need:
    if variances.networks is None:
        return Need(
            what="repeats", further=None, known=False, reason="one repeat does not measure the luck of training"
        )
    more = _smallest(_MOST_REPEATS, lambda k: decides(replace(plan, repeats=plan.repeats + k)))
    return Need(what="repeats", further=more, reason="" if more else "the variance between volumes remains")


def _volumes(what: str, further: int | None, volumes: int | None, reason: str) -> Need:
    return Need.model_validate(
        {"what": what, "further": further, "volumes": volumes or 0, "reason": "" if further else reason}
    )


def _smallest(most: int, decides: Callable[[int], bool]) -> int | None:
    """Return the smallest number from 1 to ``most`` that decides; None if ``most`` does not."""
    if not decides(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _mark_cheapest(needs: list[Need]) -> tuple[Need, ...]:
    possible = [need for need in needs if need.further is not None]
    if not possible:
        return tuple(needs)
    best = min(possible, key=lambda need: need.volumes)
    return tuple(need.model_copy(update={"cheapest": need is best}) for need in needs)
