"""Racing: which losses are beaten at a share of their steps and need not be trained to the end. Pure functions.

The rule compares each loss with the leader, the loss with the best mean at that share, on the same cases. A loss is
beaten if the leader is shown to be better: one-sided sign-flip test of the paired differences, Holm-corrected over the
losses of the race. The unit is the group (animal) where groups are given, otherwise the case; repeats are averaged
first. So with few cases or groups nothing is stopped: with 4 units the smallest possible p is 1/16.

A loss that is stopped is not ranked. Tests of the others keep the correction over all losses that were planned,
because who remains was chosen by scores that the final scores depend on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from minivess.statistics.resampling import holm, sign_flip_p_value

Table = Mapping[str, Mapping[str, float]]
"""Score by loss and unit."""


@dataclass(frozen=True)
class Beaten:
    """A loss that is stopped.

    Attributes:
        loss: Its name.
        leader: The loss that is shown to be better.
        difference: By how much the leader's mean is better, above 0, in the unit of the metric.
        p_holm: One-sided p of the paired test, corrected over all losses compared with the leader.
        units: Number of groups or cases that both were compared on.
    """

    loss: str
    leader: str
    difference: float
    p_holm: float
    units: int


def mean_by_unit(scores: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    """Average scores of equal loss and unit.

    Args:
        scores: Loss, unit (group or case) and score, one for each case and repeat.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for loss, unit, score in scores:
        values.setdefault(loss, {}).setdefault(unit, []).append(score)
    return {loss: {unit: fmean(own) for unit, own in units.items()} for loss, units in values.items()}


def find_beaten(
    table: Table, *, higher_is_better: bool, reference: str, keep: int = 2, level: float = 0.05
) -> tuple[Beaten, ...]:
    """Return the losses that are beaten, the worst first.

    Args:
        table: Score by loss and unit; all losses have the same units.
        higher_is_better: Whether a higher score is better.
        reference: This loss is never stopped.
        keep: At least this many losses go on, the reference included.
        level: Significance level of the tests.
    """
    sign = 1 if higher_is_better else -1
    means = {loss: sign * fmean(units.values()) for loss, units in table.items()}
    leader = max(means, key=lambda loss: means[loss])
    rivals = [loss for loss in table if loss != leader]
    tests = {loss: [sign * (table[leader][unit] - score) for unit, score in table[loss].items()] for loss in rivals}
    corrected = holm([sign_flip_p_value(differences) / 2 for differences in tests.values()])
    beaten = [
        Beaten(loss, leader, fmean(tests[loss]), p, len(tests[loss]))
        for loss, p in zip(rivals, corrected, strict=True)
        if p <= level and loss != reference
    ]
    worst_first = sorted(beaten, key=lambda one: means[one.loss])
    return tuple(worst_first[: max(0, len(table) - keep)])
