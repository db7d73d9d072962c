"""Decide for each loss whether it is better than the reference by more than the margin, equivalent, or undecided.

A verdict is made if the whole interval of the difference lies on its side of the margin. Holm's step-down method (1979)
sets the level of each interval: the loss that is nearest to a verdict is tested at (1 - level) / k, the next one at
(1 - level) / (k - 1) and so on, until one gets no verdict; that one and all others keep its level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from minivess.metrics.catalogue import Metric
from minivess.statistics.confidence import bounds, confidence_above
from minivess.statistics.decision import LossDecision, VarianceSource
from minivess.statistics.nested import Design, Estimate
from minivess.statistics.rule import ComparisonConfig
from minivess.statistics.sample_size import find_needs
from minivess.statistics.score_table import Rows, Table, cases_of, paired
from minivess.statistics.variance import Plan, measure_variances, parts_of_variance

_Verdict = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True)
class _Difference:
    """The advantage of one loss over the reference: positive is better."""

    design: Design
    values: np.ndarray
    estimate: Estimate

    @property
    def known(self) -> bool:
        return bool(self.estimate.freedom > 0)


def decide_losses(
    table: Table, losses: list[str], rule: ComparisonConfig, metric: Metric, stopped: int = 0
) -> tuple[LossDecision, ...]:
    """Decide each loss against the reference.

    Args:
        table: The scores.
        losses: The losses to decide, without the reference and without those that share no case with it.
        rule: The complete rule.
        metric: Its primary metric.
        stopped: Number of losses that a race stopped early; the correction counts them as tests that show nothing.
    """
    reference, sign = table[str(rule.against)], _sign(metric)
    found = {loss: _difference(table[loss], reference, rule.primary, sign) for loss in losses}
    p = {loss: _p_of_verdict(one.estimate, float(rule.margin or 0)) for loss, one in found.items()}
    levels, adjusted = holm_levels({**p, **{f"stopped {number}": 1.0 for number in range(stopped)}}, rule.level)
    return tuple(_decided(loss, found[loss], rule, sign, (levels[loss], adjusted[loss])) for loss in losses)


def holm_levels(p: Mapping[str, float], level: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return the level of the interval of each loss, and its p, both by Holm's method.

    Args:
        p: Smallest 1 - level at which each loss gets a verdict.
        level: Level of all verdicts together.
    """
    levels, adjusted, largest, stopped = {}, {}, 0.0, 0
    for number, loss in enumerate(sorted(p, key=lambda name: p[name])):
        tests = stopped or len(p) - number
        levels[loss] = 1 - (1 - level) / tests
        adjusted[loss] = largest = max(largest, min(1.0, p[loss] * (len(p) - number)))
        if not stopped and p[loss] > 1 - levels[loss]:
            stopped = tests
    return levels, adjusted


def baselines_not_beaten(
    table: Table, method: str, baselines: tuple[str, ...], metric: Metric, rule: ComparisonConfig
) -> list[str]:
    """Return the baselines that a loss is not shown to be better than, each at the level of the rule, so also at a tie."""
    found = []
    for name in baselines:
        if not cases_of(table[name]) & cases_of(table[method]):
            continue
        estimate = _difference(table[method], table[name], rule.primary, _sign(metric)).estimate
        if not bounds(estimate, rule.level)[0] > 0:
            found.append(name)
    return found


def _sign(metric: Metric) -> int:
    return 1 if metric.higher_is_better else -1


def _difference(first: Rows, second: Rows, metric: str, sign: int) -> _Difference:
    design, values = paired(first, second, metric)
    return _Difference(design, sign * values, design.estimate(sign * values))


def _p_of_verdict(estimate: Estimate, margin: float) -> float:
    """Return the smallest 1 - level whose two-sided interval lies on one side of the margin, or inside; 1 if none does."""
    above, below = confidence_above(estimate, margin), 1 - confidence_above(estimate, -margin)
    inside = min(1 - above, 1 - below)
    return 2 * min(1 - above, 1 - below, 1 - inside) if estimate.freedom > 0 else 1.0


def _verdict(estimate: Estimate, margin: float, level: float) -> _Verdict:
    low, high = bounds(estimate, level)
    if low > margin:
        return "better"
    if high < -margin:
        return "worse"
    return "equivalent" if -margin <= low and high <= margin else "undecided"


def _decided(
    loss: str, one: _Difference, rule: ComparisonConfig, sign: int, tested: tuple[float, float]
) -> LossDecision:
    margin, estimate, (level, p) = float(rule.margin or 0), one.estimate, tested
    verdict = _verdict(estimate, margin, level)
    low, high = map(float, bounds(estimate, level)) if one.known else (float(estimate.mean),) * 2
    above, below = confidence_above(estimate, margin), 1 - confidence_above(estimate, -margin)
    ends = sorted((sign * low, sign * high))
    return LossDecision(
        method=loss,
        against=str(rule.against),
        verdict=verdict,
        shown="" if not one.known or low <= 0 <= high else "better" if low > 0 else "worse",
        difference=sign * float(estimate.mean) + 0.0,
        low=ends[0] + 0.0,
        high=ends[1] + 0.0,
        level=level,
        known=one.known,
        reason=_reason(one),
        p_value=p,
        confidence_better=above,
        confidence_worse=below,
        confidence_equivalent=max(0.0, 1 - above - below),
        cases=one.design.cases,
        groups=one.design.groups if one.design.grouped else None,
        repeats=one.design.repeats,
        about="losses" if one.design.repeated else "networks",
        **_planning(one, verdict, margin, level),
        undone_by=None if verdict == "undecided" else sign * _undone_by(one, verdict, margin, level),
    )


def _reason(one: _Difference) -> str:
    if one.known:
        return ""
    unit = "group" if one.design.grouped else "case"
    return f"one {unit} has no interval" if one.design.groups == 1 else f"all {unit}s have the same difference"


def _planning(one: _Difference, verdict: _Verdict, margin: float, level: float) -> dict[str, tuple]:
    """Return the sources of variance, and what would decide an undecided loss."""
    if not one.known:
        return {}
    design = one.design
    variances = measure_variances(design, one.values)
    plan = Plan(design.groups, design.cases / design.groups, design.folds, design.repeats)
    parts = parts_of_variance(variances, plan)
    total = sum(parts.values())
    measured = {"groups": design.grouped, "cases": True, "networks": design.repeated, "rest": design.repeated}
    sources = tuple(
        VarianceSource.model_validate(
            {
                "source": name,
                "standard_deviation": (getattr(variances, name) or 0.0) ** 0.5,
                "share": part / total if total else 0.0,
            }
        )
        for name, part in parts.items()
        if measured[name]
    )
    if verdict != "undecided":
        return {"sources": sources}
    needs = find_needs(float(one.estimate.mean), variances, plan, margin, level, grouped=design.grouped)
    return {"sources": sources, "needs": needs}


def _undone_by(one: _Difference, verdict: _Verdict, margin: float, level: float) -> float:
    """Return the advantage of one further group with which the verdict is not made any more, nearest to the mean."""
    mean = float(one.estimate.mean)
    direction = {"better": -1, "worse": 1}.get(verdict, 1 if mean >= 0 else -1)
    design = one.design
    groups = [*(f"{code}" for code in design.group), "further"]
    larger = Design(groups, [*design.fold, design.fold[0]], np.vstack([design.measured, design.measured[:1]]))
    luck = design.network_effects(one.values)[design.fold[0]] if design.repeated else np.zeros(one.values.shape[1])

    def stays(distance: float) -> bool:
        row = mean + direction * distance + luck
        return _verdict(larger.estimate(np.vstack([one.values, row])), margin, level) == verdict

    low, high = 0.0, float(np.sqrt(one.estimate.variance)) + margin
    while stays(high):
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if stays(middle) else (low, middle)
    return mean + direction * high
