"""What a comparison says, in a sentence for a title and a few lines below it; nothing that its tests do not carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from minivess.statistics.comparison import Comparison, MetricComparison, Pair
from minivess.statistics.verdict import missing_cases
from minivess.text import counted, format_together, joined


@dataclass(frozen=True)
class Headline:
    """The verdict at the top of a report.

    Attributes:
        title: Which loss looks best, and whether that is shown.
        lead: The means behind it.
        shown: What can be concluded.
        not_shown: What cannot.
    """

    title: str
    lead: str
    shown: tuple[str, ...]
    not_shown: tuple[str, ...]


def headline(comparison: Comparison) -> Headline:
    """The verdict over all metrics, from the verdicts on each."""
    title = _title(comparison)
    if comparison.absent and comparison.losses:
        planned = len(comparison.losses) + len(comparison.absent)
        title += f" (of {planned} losses {', '.join(comparison.absent)} could not be compared)"
    return Headline(title, _lead(comparison), _shown(comparison), _not_shown(comparison))


def _title(comparison: Comparison) -> str:
    if not comparison.losses:
        return "Only the baseline has finished: there is no loss to judge yet"
    if len(comparison.losses) == 1:
        return f"{comparison.losses[0]} stands alone: there is no other loss to compare it with"
    if not all(metric.best for metric in comparison.metrics):
        return "No case is shared by all losses yet: none can be called best"
    if _behind_in_everything(comparison):
        return "A baseline is ahead of every loss in everything: the networks have not learnt enough to be ranked"
    winners = _winners(comparison)
    won = [
        pair.better == metric.best
        for metric in comparison.metrics
        for pair in metric.pairs
        if metric.best in (pair.first, pair.second)
    ]
    if len(winners) > 1:
        verdict = "No loss is best in everything" if any(won) else "No loss is shown to be better"
        return f"{verdict}; best means: {'; '.join(f'{joined(names)} with {loss}' for loss, names in winners.items())}"
    (best,) = winners
    if all(won):
        return f"{best} is best: shown to be better than every other loss in every metric"
    if any(won):
        return f"{best} looks best, and part of its lead is shown"
    return f"{best} looks best, but its lead may be chance"


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
        cases = f"the {counted(shared, 'case')} that all losses share, of {cases}"
    if len(winners) == 1 and len(comparison.losses) > 1 and not _behind_in_everything(comparison):
        return f"Of all losses it has the best mean {joined(*winners.values())}, over {cases} in {folds}."
    return f"{'Losses are ranked by means' if shared else 'Means are'} over {cases} in {folds}."


def _shown(comparison: Comparison) -> tuple[str, ...]:
    """What the best loss is shown to beat, metric by metric; of the others only how much is shown."""
    if not any(metric.pairs for metric in comparison.metrics):
        return ()
    lines = _by_metric(comparison, _wins)
    others = sum(bool(p.better) and p.better != metric.best for metric in comparison.metrics for p in metric.pairs)
    if others:
        lines.append(f"{counted(others, 'difference')} between the other losses, listed among the tests.")
    return tuple(lines) or (f"No difference between losses is shown at {1 - comparison.level:.0%}.",)


def _not_shown(comparison: Comparison) -> tuple[str, ...]:
    limits = [line for metric in comparison.metrics for line in metric.limits]
    baselines = [line for metric in comparison.metrics for line in _beaten_by_baseline(metric)]
    return (
        *_by_metric(comparison, _draws),
        *dict.fromkeys(limits),
        *baselines,
        *missing_cases(comparison),
        *_masks(comparison),
    )


def _by_metric(comparison: Comparison, say: Callable[[MetricComparison], str]) -> list[str]:
    """What ``say`` has to say on each metric; metrics of which it says the same share a line."""
    said: dict[str, list[str]] = {}
    for metric in comparison.metrics:
        if sentence := say(metric):
            said.setdefault(sentence, []).append(metric.title)
    return [f"{joined(names)}: {sentence}" for sentence, names in said.items()]


def _wins(metric: MetricComparison) -> str:
    beaten = [_rival(pair, metric.best) for pair in metric.pairs if metric.best and pair.better == metric.best]
    rivals = len(metric.losses) - 1
    if not beaten:
        return ""
    return f"{metric.best} is better than {'every other loss' if len(beaten) == rivals > 1 else joined(beaten)}."


def _draws(metric: MetricComparison) -> str:
    pairs = [pair for pair in metric.pairs if metric.best in (pair.first, pair.second) and not pair.better]
    if not pairs:
        return ""
    rivals = joined(_rival(pair, metric.best) for pair in pairs)
    return f"{metric.best} is not told apart from {rivals}, which does not make them equal."


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
        f"({' against '.join(format_together(score.shared.mean, best.mean))}{unit}); baselines are not tested."
        for score in metric.methods
        if score.baseline
        and score.shared is not None
        and (score.shared.mean > best.mean if metric.higher_is_better else score.shared.mean < best.mean)
    ]


def _masks(comparison: Comparison) -> Iterable[str]:
    """Counts of empty masks; each one is named in full in ``Comparison.notes``."""
    words = {"prediction": "predicts nothing on", "reference": "predicts vessel on an empty label in", "both": ""}
    for (method, which), number in Counter((row.method, row.which) for row in comparison.empty).items():
        if words[which]:
            yield f"{method} {words[which]} {counted(number, 'case')}, which count as failures."
