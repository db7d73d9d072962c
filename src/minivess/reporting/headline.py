"""Summary of a comparison: a title and a few sentences, with only the conclusions that the tests support."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from minivess.reporting.answer import answer_lead, answer_open, answer_scope, answer_shown, answer_title
from minivess.statistics.centreline_gap import gap_sentence
from minivess.statistics.comparison import Comparison, MetricComparison, Pair
from minivess.statistics.verdict import missing_cases
from minivess.text import counted, format_together, joined


@dataclass(frozen=True)
class Headline:
    """The verdict at the top of a report.

    Attributes:
        title: The loss with the best mean, and whether it is shown to be better.
        lead: The cases and folds that the means are taken over.
        shown: Sentences about what can be concluded.
        not_shown: Sentences about what cannot be concluded.
        limits: Those of ``not_shown`` that are not about a single loss.
    """

    title: str
    lead: str
    shown: tuple[str, ...]
    not_shown: tuple[str, ...]
    limits: tuple[str, ...]


def headline(comparison: Comparison) -> Headline:
    """Summarise a comparison over all metrics."""
    decision = comparison.decision
    title = answer_title(comparison, decision) if decision else _title(comparison)
    if comparison.absent and comparison.losses:
        planned = len(comparison.losses) + len(comparison.absent)
        title += f" (of {planned} planned losses, these were not compared: {', '.join(comparison.absent)})"
    limits = _limits(comparison)
    if decision is None:
        not_shown = (*_by_metric(comparison, _undecided), *limits)
        return Headline(title, _lead(comparison), _shown(comparison), not_shown, limits)
    lead, shown = answer_lead(comparison, decision), answer_shown(comparison, decision)
    return Headline(
        title, lead, shown, (*answer_open(comparison, decision), *limits), (*answer_scope(decision), *limits)
    )


def _title(comparison: Comparison) -> str:
    if not comparison.losses:
        return "Only baselines have finished: there is no loss to compare yet"
    if len(comparison.losses) == 1:
        return f"{comparison.losses[0]} is the only loss with results: there is no other loss to compare it with"
    if not all(metric.best for metric in comparison.metrics):
        return "The losses have no case in common yet: they cannot be ranked"
    if _behind_in_everything(comparison):
        return "In every metric a baseline has a better mean than every loss: the networks have learned too little to be ranked"
    winners = _winners(comparison)
    won = [
        pair.better == metric.best
        for metric in comparison.metrics
        for pair in metric.pairs
        if metric.best in (pair.first, pair.second)
    ]
    if len(winners) > 1:
        verdict = (
            "No loss has the best mean in every metric"
            if any(won)
            else "No loss with a best mean is shown to be better than another"
        )
        return f"{verdict}; best means: {'; '.join(f'{loss} in {joined(names)}' for loss, names in winners.items())}"
    (best,) = winners
    if all(won):
        return f"{best} is best: shown to be better than every other loss in every metric"
    if any(won):
        return f"{best} has the best mean in every metric, and some of the tests show that it is better"
    return f"{best} has the best mean in every metric, but this may be due to chance"


def _winners(comparison: Comparison) -> dict[str, list[str]]:
    winners: dict[str, list[str]] = {}
    for metric in comparison.metrics:
        if metric.best:
            winners.setdefault(metric.best, []).append(metric.title)
    return winners


def _lead(comparison: Comparison) -> str:
    winners = _winners(comparison)
    folds = counted(len(comparison.folds), "fold")
    cases = counted(len(comparison.cases), "held-out case")
    if shared := comparison.shared_cases:
        cases = f"the {counted(shared, 'case')} that all losses share (of {cases})"
    if len(winners) == 1 and len(comparison.losses) > 1 and not _behind_in_everything(comparison):
        return f"It has the best mean {joined(*winners.values())} of all losses, over {cases} in {folds}."
    return f"{'The losses are ranked by their means' if shared else 'The means are'} over {cases} in {folds}."


def _shown(comparison: Comparison) -> tuple[str, ...]:
    """Return what the best loss of each metric is shown to beat, and how many tests favour another loss."""
    if not any(metric.pairs for metric in comparison.metrics):
        return ()
    lines = _by_metric(comparison, _wins)
    others = sum(bool(p.better) and p.better != metric.best for metric in comparison.metrics for p in metric.pairs)
    if others:
        lines.append(f"The tests show {counted(others, 'difference')} in favour of other losses.")
    return tuple(lines) or (f"No difference between losses is shown at the {1 - comparison.level:.0%} level.",)


def _limits(comparison: Comparison) -> tuple[str, ...]:
    """Return what limits the comparison: few cases, strong baselines, missing cases, empty masks."""
    limits = [line for metric in comparison.metrics for line in metric.limits]
    baselines = [line for metric in comparison.metrics for line in _beaten_by_baseline(metric)]
    gap = comparison.centreline_gap
    return (
        *([gap_sentence(gap)] if gap else []),
        *dict.fromkeys(limits),
        *baselines,
        *missing_cases(comparison),
        *_empty_masks(comparison),
        *_without_baseline(comparison),
    )


def _by_metric(comparison: Comparison, describe: Callable[[MetricComparison], str]) -> list[str]:
    """Return one line per sentence of ``describe``. Metrics with the same sentence share a line."""
    titles: dict[str, list[str]] = {}
    for metric in comparison.metrics:
        if sentence := describe(metric):
            titles.setdefault(sentence, []).append(metric.title)
    return [f"{joined(names)}: {sentence}" for sentence, names in titles.items()]


def _wins(metric: MetricComparison) -> str:
    beaten = [_rival(pair, metric.best) for pair in metric.pairs if metric.best and pair.better == metric.best]
    rivals = len(metric.losses) - 1
    if not beaten:
        return ""
    return f"{metric.best} is better than {'every other loss' if len(beaten) == rivals > 1 else joined(beaten)}."


def _undecided(metric: MetricComparison) -> str:
    pairs = [pair for pair in metric.pairs if metric.best in (pair.first, pair.second) and not pair.better]
    if not pairs:
        return ""
    rivals = joined(_rival(pair, metric.best) for pair in pairs)
    return f"{metric.best} is not shown to differ from {rivals}. This does not prove that they are equal."


def _without_baseline(comparison: Comparison) -> tuple[str, ...]:
    if any(score.baseline for metric in comparison.metrics for score in metric.methods):
        return ()
    return (
        "No baseline was run, so no loss is shown to be better than a method without training, such as a threshold.",
    )


def _rival(pair: Pair, method: str) -> str:
    return pair.second if pair.first == method else pair.first


def _behind_in_everything(comparison: Comparison) -> bool:
    return all(_beaten_by_baseline(metric) for metric in comparison.metrics)


def _beaten_by_baseline(metric: MetricComparison) -> list[str]:
    if not metric.best:
        return []
    best = metric.score(metric.best).shared
    assert best is not None
    unit = f" {metric.unit}" if metric.unit else ""
    return [
        f"{metric.title}: the baseline {score.method} has a better mean than every loss "
        f"({' against '.join(format_together(score.shared.mean, best.mean))}{unit}). Baselines are not tested."
        for score in metric.methods
        if score.baseline
        and score.shared is not None
        and (score.shared.mean > best.mean if metric.higher_is_better else score.shared.mean < best.mean)
    ]


def _empty_masks(comparison: Comparison) -> Iterable[str]:
    """Yield the number of failures by an empty mask. ``Comparison.notes`` names every empty mask."""
    words = {
        "prediction": "predicts an empty mask in",
        "reference": "predicts vessel although the label is empty in",
        "both": "",
    }
    for (method, which), number in Counter((row.method, row.which) for row in comparison.empty).items():
        if words[which]:
            yield f"{method} {words[which]} {counted(number, 'case')} (counted as failure)."
