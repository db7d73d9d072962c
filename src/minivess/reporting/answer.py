"""The answer of a comparison whose rule was set: a title, what it is based on, what is shown, and what would decide the rest."""

from __future__ import annotations

from dataclasses import dataclass

from minivess.statistics.comparison import Comparison
from minivess.statistics.decision import Decision, LossDecision
from minivess.statistics.decision_text import (
    best_sentences,
    format_amount,
    loss_sentence,
    need_amount,
    need_sentences,
    rule_sentence,
    scope_sentences,
    signed,
    untested_sentences,
)
from minivess.text import counted, joined


@dataclass(frozen=True)
class Card:
    """What is shown about one loss, for the page.

    Attributes:
        method: The loss.
        verdict: Its verdict.
        difference: Its difference from the reference, with sign and unit.
        interval: The interval of the difference, or why there is none.
        confidence: Confidence in each verdict, from 0 to 1.
        need: The cheapest thing that would probably decide an undecided loss; "" if it is decided.
    """

    method: str
    verdict: str
    difference: str
    interval: str
    confidence: dict[str, float]
    need: str


def answer_title(comparison: Comparison, decision: Decision) -> str:
    """Return the answer in one line: which loss is shown to be better than the reference, or that none is."""
    metric = comparison.metric(decision.rule.primary)
    against, margin = str(decision.rule.against), format_amount(decision.rule.margin or 0, metric.unit)
    if not decision.losses:
        return f"No loss can be compared with {against} yet"
    better, worse, equal = (_names(decision, verdict) for verdict in ("better", "worse", "equivalent"))
    if better:
        names = [decision.best] if decision.best in better else better
        behind = [name for name in names if decision.loss(name).not_above]
        beyond = f", but {joined(behind)} {_be(behind)} not shown to be better than every baseline" if behind else ""
        return f"{joined(names)} {_be(names)} better than {against} in {metric.title}, by more than {margin}{beyond}"
    if decision.best == against:
        return f"{against} is best: every other loss is worse in {metric.title}, by more than {margin}"
    if len(equal) == len(decision.losses):
        return f"{joined([against, *equal])} are equivalent in {metric.title}, within {margin}"
    if slightly := [found.method for found in decision.losses if found.shown == "better"]:
        return f"{joined(slightly)} {_be(slightly)} better than {against} in {metric.title}, but perhaps by less than {margin}"
    known = [
        *(f"{joined(worse)} {_be(worse)} worse" for _ in worse[:1]),
        *(f"{joined(equal)} {_be(equal)} equivalent" for _ in equal[:1]),
    ]
    return f"No loss is shown to be better than {against} in {metric.title}{'; ' if known else ''}{'; '.join(known)}"


def _be(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _names(decision: Decision, verdict: str) -> list[str]:
    return [found.method for found in decision.losses if found.verdict == verdict]


def answer_lead(comparison: Comparison, decision: Decision) -> str:
    """Return what the answer is based on: the data, the trainings, and when the rule was set."""
    groups = f" from {counted(len(comparison.groups), 'group')}" if comparison.groups else ""
    once = any(found.repeats == 1 for found in decision.losses) and comparison.repeats > 1
    times = f"up to {comparison.repeats}" if once else str(comparison.repeats)
    repeats = f", each trained {times} times" if comparison.repeats > 1 else ", each trained once"
    data = f"{counted(len(comparison.cases), 'volume')}{groups}, {counted(len(comparison.folds), 'fold')}{repeats}."
    return f"{data} {rule_sentence(decision, comparison.metric(decision.rule.primary))}"


def answer_shown(comparison: Comparison, decision: Decision) -> tuple[str, ...]:
    """Return what is shown of each loss, and which loss may be called best."""
    metric = comparison.metric(decision.rule.primary)
    decided = [found for found in decision.losses if found.verdict != "undecided" or found.shown]
    lines = [loss_sentence(found, decision.rule, metric) for found in decided]
    return (*(lines or ["No difference and no equivalence is shown."]), *best_sentences(decision))


def answer_open(comparison: Comparison, decision: Decision) -> tuple[str, ...]:
    """Return what is undecided, what would probably decide it, and what the answer does not hold for."""
    metric = comparison.metric(decision.rule.primary)
    unknown = [found for found in decision.losses if found.verdict == "undecided"]
    return (
        *(loss_sentence(found, decision.rule, metric) for found in unknown if not found.shown),
        *(sentence for found in unknown for sentence in need_sentences(found)),
        *answer_scope(decision),
    )


def answer_scope(decision: Decision) -> tuple[str, ...]:
    """Return which losses were not compared, and what the answer holds for."""
    return (*untested_sentences(decision), *scope_sentences(decision))


def answer_cards(comparison: Comparison, decision: Decision) -> list[Card]:
    """Return one card per loss, in the order of the decision."""
    metric = comparison.metric(decision.rule.primary)
    return [_card(found, metric.unit) for found in decision.losses]


def _card(found: LossDecision, unit: str) -> Card:
    mean, low, high = signed(found.difference, found.low, found.high)
    need = next((need for need in found.needs if need.cheapest), None)
    wish = need_amount(need, grouped=found.groups is not None) if need else ""
    return Card(
        method=found.method,
        verdict=found.verdict,
        difference=f"{mean}{f' {unit}' if unit else ''}",
        interval=f"[{low}, {high}]" if found.known else f"({found.reason})",
        confidence={
            "better": found.confidence_better,
            "equivalent": found.confidence_equivalent,
            "worse": found.confidence_worse,
        },
        need=wish or ("no further volumes or repeats would" if found.needs else ""),
    )
