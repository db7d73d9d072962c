"""The sentences of a decision. They are written to be repeated: each says what is shown, how large, and how sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minivess.statistics.decision import Decision, LossDecision, Need
from minivess.statistics.power import Power
from minivess.statistics.rule import ComparisonConfig
from minivess.text import counted, format_percent, format_together, joined

if TYPE_CHECKING:  # `comparison` holds a decision
    from minivess.statistics.comparison import Comparison, MetricComparison


def decision_text(comparison: Comparison, decision: Decision) -> tuple[str, ...]:
    """Return the answer in sentences: what was fixed, what is shown of each loss, what it holds for, and what is missing."""
    metric = comparison.metric(decision.rule.primary)
    return (
        rule_sentence(decision, metric),
        *(loss_sentence(found, decision.rule, metric) for found in decision.losses),
        *(sentence for found in decision.losses for sentence in need_sentences(found)),
        *best_sentences(decision),
        *scope_sentences(decision),
        *untested_sentences(decision),
    )


def untested_sentences(decision: Decision) -> tuple[str, ...]:
    """Return which losses could not be compared with the reference; nothing if all could."""
    if not decision.untested:
        return ()
    return (
        f"Not compared with {decision.rule.against}, because no case has scores of both: {joined(decision.untested)}.",
    )


def describe_rule(rule: ComparisonConfig, title: str, unit: str) -> str:
    """Return the rule as a part of a sentence: metric, margin, reference and level."""
    return (
        f"the metric {title}, a margin of {format_amount(rule.margin or 0, unit)}, {rule.against} as the reference "
        f"and a level of {format_percent(rule.level)}"
    )


def rule_sentence(decision: Decision, metric: MetricComparison) -> str:
    """Return what was decided before the run, and what after it."""
    chosen = describe_rule(decision.rule, metric.title, metric.unit)
    if decision.beforehand:
        return f"Fixed before the run: {chosen}."
    if decision.fixed is None:
        return f"Chosen after the run: {chosen}. Nothing was fixed before the run."
    fixed = decision.fixed
    return (
        f"Chosen after the run: {chosen}. Fixed before the run: primary {fixed.primary}, margin {fixed.margin:g}, "
        f"against {fixed.against}, level {fixed.level:g}."
    )


def loss_sentence(found: LossDecision, rule: ComparisonConfig, metric: MetricComparison) -> str:
    """Return what is shown about one loss, with the difference and its interval."""
    margin, loss, against = format_amount(rule.margin or 0, metric.unit), found.method, found.against
    figures = _figures(found, metric)
    if found.verdict in ("better", "worse"):
        return f"{metric.title}: {loss} is {found.verdict} than {against} by more than {margin} ({figures})."
    if found.verdict == "equivalent":
        slightly = f" {loss} is {found.shown}, but by less than the margin." if found.shown else ""
        return f"{metric.title}: {loss} and {against} are equivalent, within {margin} ({figures}).{slightly}"
    sure = (
        f"Confidence: {format_confidence(found.confidence_better)} better by more than {margin}, "
        f"{format_confidence(found.confidence_equivalent)} equivalent, {format_confidence(found.confidence_worse)} worse."
    )
    if not found.known:
        return f"{metric.title}: {loss} and {against} cannot be compared ({figures})."
    if found.shown:
        return (
            f"{metric.title}: {loss} is {found.shown} than {against}, but it is not shown that the difference is larger "
            f"than {margin} ({figures}). {sure}"
        )
    return f"{metric.title}: it is undecided whether {loss} is better than {against}, worse or equivalent ({figures}). {sure}"


def need_sentences(found: LossDecision) -> tuple[str, ...]:
    """Return what would probably decide an undecided loss, the cheapest first; nothing if it is decided."""
    if not found.needs:
        return ()
    possible = sorted((need for need in found.needs if need.further), key=lambda need: not need.cheapest)
    start = f"{found.method} against {found.against}"
    grouped = found.groups is not None
    tail = "".join(f"; {_without_number(need, grouped)}" for need in found.needs if not need.further)
    if not possible:
        return (f"{start}: no reasonable addition would decide it{tail}.",)
    ways = joined([need_amount(need, grouped=grouped) for need in possible]).replace(" and ", " or ")
    cheapest = " (the first is the cheapest)" if len(possible) > 1 else ""
    return (f"{start}: if the true difference is the measured one, {ways} would probably decide it{cheapest}{tail}.",)


def best_sentences(decision: Decision) -> tuple[str, ...]:
    """Return which loss may be called best, and which losses are not shown to be better than a baseline."""
    behind = {found.method: found.not_above for found in decision.losses if found.not_above}
    if decision.reference_not_above:
        behind[str(decision.rule.against)] = decision.reference_not_above
    warnings = tuple(
        f"{loss} is not shown to be better than the baseline {joined(names)}: it must not be called best."
        for loss, names in behind.items()
    )
    best = (
        f"Best loss: {decision.best}, shown to be better than every other loss."
        if decision.best
        else "No loss is shown to be the best."
    )
    return (best, *warnings)


def scope_sentences(decision: Decision) -> tuple[str, ...]:
    """Return what the verdicts hold for: these networks, or the losses."""
    once = [found.method for found in decision.losses if found.about == "networks"]
    if not decision.losses:
        return ()
    first = decision.losses[0]
    unit = counted(first.groups, "group") if first.groups is not None else counted(first.cases, "case")
    if not once:
        return (
            f"Every fold was trained {first.repeats} times, so this holds for the losses and for similar {_units(first)}.",
        )
    which = "" if len(once) == len(decision.losses) else f" for {joined(once)}"
    return (
        f"Each fold was trained once{which}: this holds for these trained networks on volumes like these {unit}. "
        "Training again with another seed can change it; `repeats` measures by how much.",
    )


def format_confidence(share: float) -> str:
    """Return a confidence in whole percent; near 0 and 1, "less than 1%" and "more than 99%"."""
    return "less than 1%" if share < 0.01 else "more than 99%" if share > 0.99 else f"{share:.0%}"


def format_amount(value: float, unit: str) -> str:
    """Return a number with its unit, such as ``"0.1 µm"``."""
    return f"{value:g}{f' {unit}' if unit else ''}"


def _figures(found: LossDecision, metric: MetricComparison) -> str:
    unit = f" {metric.unit}" if metric.unit else ""
    value = signed(found.difference, found.low, found.high)
    if not found.known:
        return f"difference {value[0]}{unit}, {found.reason}"
    return f"difference {value[0]}{unit}, {format_percent(found.level)} interval {value[1]} to {value[2]}"


def signed(*values: float) -> tuple[str, ...]:
    """Return numbers that are read together, each with its sign, with the decimals that suit the largest."""
    texts = format_together(*values)
    return tuple(f"{'+' * (value >= 0)}{text}" for value, text in zip(values, texts, strict=True))


def _noun(need: Need, grouped: bool) -> str:
    if need.what == "repeats":
        return "repeats"
    return "groups" if need.what == "groups" else "further volumes in these groups" if grouped else "further volumes"


def _without_number(need: Need, grouped: bool) -> str:
    if not need.known:
        return f"how many {_noun(need, grouped)} is not known, because {need.reason}"
    return f"no number of {_noun(need, grouped)} would ({need.reason})"


def need_amount(need: Need, *, grouped: bool) -> str:
    """Return what would probably decide a loss, such as ``"2 further groups (8 volumes)"``."""
    number = need.further or 0
    if need.what == "repeats":
        return f"{number} further {'repeat' if number == 1 else 'repeats'} of the training"
    if need.what == "groups":
        return f"{counted(number, 'further group')} ({counted(need.volumes, 'volume')})"
    return f"{counted(need.volumes, 'further volume')}{' in these groups' if grouped else ''}"


def _units(found: LossDecision) -> str:
    return "groups of volumes" if found.groups is not None else "volumes"


def power_sentences(power: Power, title: str, unit: str) -> tuple[str, ...]:
    """Return what a planned study can show, in sentences."""
    of_groups = f" of {counted(power.groups, 'group')}" if power.groups is not None else ""
    margin, difference = format_amount(power.margin, unit), format_amount(power.difference, unit)
    return (
        f"With {counted(power.cases, 'volume')}{of_groups} and {counted(power.repeats, 'repeat')}, a true difference of "
        f"{difference} in {title} would be shown to be larger than {margin} in about {100 * power.found:.0f} of 100 such "
        f"studies. In 80 of 100 it would be shown if it were {format_amount(float(f'{power.detectable:.2g}'), unit)}.",
        f"Without a difference, equivalence within {margin} would be shown in about {100 * power.equivalent:.0f} of 100.",
        f"Variances: {power.source}.",
    )
