"""What a comparison lets one conclude, and what not, in plain words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from minivess.statistics.comparison import Comparison, MetricComparison, Pair
from minivess.statistics.pareto import pareto_front
from minivess.statistics.resampling import SMALLEST_STRATUM, can_stratify
from minivess.text import counted, first_few, format_p_value, format_together

_EMPTY = {
    "prediction": "the prediction is empty; overlaps count as 0, distances as the volume's diagonal",
    "reference": "the label is empty and the prediction is not; overlaps count as 0, distances as the volume's diagonal",
    "both": "label and prediction are both empty; counted as full agreement",
}


def metric_verdict(found: MetricComparison) -> tuple[str, ...]:
    """Sentences for one metric: the best mean, the differences shown, those not shown."""
    shown = [_shown(found, pair) for pair in found.pairs if pair.better]
    open_pairs = [pair for pair in found.pairs if not pair.better]
    return (_best(found), *shown, *_not_shown(found, open_pairs))


def metric_limits(found: MetricComparison, level: float) -> tuple[str, ...]:
    """Sentences for one metric: the pairs that could not be tested, and whether so few cases could show anything."""
    return (*_untested(found), *_reach(found.pairs, level))


def general_notes(comparison: Comparison) -> tuple[str, ...]:
    """Sentences for all metrics: what is missing, what is empty, what the sample stands for."""
    absent = (
        [f"Not compared, for no case of theirs is scored: {', '.join(comparison.absent)}."] if comparison.absent else []
    )
    empty = [f"{row.method} on {row.case}: {_EMPTY[row.which]}." for row in comparison.empty]
    notes = (*_front(comparison), *_unstratified(comparison), *_too_narrow(comparison), *meaning(comparison))
    return (*absent, *missing_cases(comparison), *empty, *notes)


def meaning(comparison: Comparison) -> Iterator[str]:
    """What intervals and tests stand for, and what p assumes; the figures are those of docs/benchmarks/statistics.md."""
    yield (
        "The sample is the case: intervals and tests say how these trained networks would do on other volumes of the same kind. "
        "Whether training again, with another seed, would rank the methods alike is not tested. Intervals are not corrected for "
        "the number of pairs; p values are, by Holm's method over the pairs of each metric but not over metrics; "
        f"{comparison.level:.0%} level."
    )
    if any(metric.pairs for metric in comparison.metrics):
        yield (
            "p is exact for losses that could swap their scores on any case. Where one fails on a few volumes and is better "
            "elsewhere, equal in mean alone, 5% false positives become about 26% with 7 cases, 11% with 24, 8% with 70."
        )


def _unstratified(comparison: Comparison) -> Iterator[str]:
    scores = [score for metric in comparison.metrics for score in metric.methods]
    if any(len(score.folds) > 1 and not can_stratify(fold.interval.n for fold in score.folds) for score in scores):
        yield (
            f"Some folds have fewer than {SMALLEST_STRATUM} cases: there the intervals resample all cases as one sample, not within folds."
        )


def _too_narrow(comparison: Comparison) -> Iterator[str]:
    """Of losses and pairs: that single folds have few cases is said beside them."""
    means = [score.interval for metric in comparison.metrics for score in metric.methods]
    differences = [pair.test.interval for metric in comparison.metrics for pair in metric.pairs]
    if few := sorted({interval.n for interval in (*means, *differences) if interval.too_narrow}):
        yield (
            f"Intervals of {' or '.join(map(str, few))} cases are too narrow: a nominal 95% is about 86% with 4 cases and 50% with 2."
        )


def missing_cases(comparison: Comparison) -> tuple[str, ...]:
    """A sentence for each method that lacks cases; ``Comparison.missing`` has all of their names."""
    return tuple(
        f"{method} lacks {counted(len(cases), 'case')} ({first_few(cases)}); it is compared on those that it shares with each other loss."
        for method, cases in comparison.missing.items()
    )


def _front(comparison: Comparison) -> tuple[str, ...]:
    front = pareto_front(comparison)
    if not front or len(comparison.losses) < 2:
        return ()
    where = f", on the {counted(shared, 'shared case')}" if (shared := comparison.shared_cases) else ""
    return (f"DSC and clDice together: no loss is ahead of {' or '.join(front)} in both means{where}.",)


def _best(found: MetricComparison) -> str:
    if not found.losses:
        return f"{found.title}: baselines only; there is nothing to compare."
    if not found.best:
        return f"{found.title}: no case is shared by all methods, so none is called best."
    interval = found.score(found.best).interval
    value = f"{interval}{_unit(found)} over its {counted(interval.n, 'case')}"
    if len(found.losses) == 1:
        return f"{found.title}: {found.best} alone, {value}; there is nothing to compare it with."
    extreme = "highest" if found.higher_is_better else "lowest"
    beaten = [
        pair.second if pair.first == found.best else pair.first for pair in found.pairs if pair.better == found.best
    ]
    proof = f"shown to be better than {', '.join(beaten)}" if beaten else "not shown to be better than any other"
    return (
        f"{found.title}: {found.best} has the {extreme} mean on the {counted(found.shared_cases, 'case')} all share ({value}), "
        f"and is {proof}."
    )


def _shown(found: MetricComparison, pair: Pair) -> str:
    test, worse = (pair.test, pair.second) if pair.better == pair.first else (pair.test.reversed, pair.first)
    wins = test.a_larger if found.higher_is_better else test.b_larger
    return (
        f"{found.title}: {pair.better} is better than {worse}: mean difference {test}"
        f"{_unit(found)}, p = {format_p_value(pair.p_holm)}, effect size {test.effect_size:+.2f}, "
        f"better on {wins} of {counted(test.n, 'case')}."
    )


def _not_shown(found: MetricComparison, pairs: Sequence[Pair]) -> tuple[str, ...]:
    if not pairs:
        return ()
    listed = "; ".join(_undecided(found, pair) for pair in pairs)
    return (f"{found.title}: not told apart, which does not make them equal: {listed}.",)


def _undecided(found: MetricComparison, pair: Pair) -> str:
    interval = pair.test.interval
    low, high = format_together(interval.low, interval.high)
    difference = f"between {low} and {high}{_unit(found)}"
    if not interval.resamples:
        difference = f"{pair.test.parts[0]}{_unit(found)}, {interval.method}"
    p = f"p = {format_p_value(pair.p_holm)}, effect size {pair.test.effect_size:+.2f}"
    return f"{pair.first} and {pair.second} ({p}, difference {difference})"


def _untested(found: MetricComparison) -> tuple[str, ...]:
    tested = {(pair.first, pair.second) for pair in found.pairs}
    rivals = [score.method for score in found.losses]
    lacking = [f"{a} and {b}" for a, b in combinations(rivals, 2) if (a, b) not in tested]
    return (f"{found.title}: not tested, for they share no case: {'; '.join(lacking)}.",) if lacking else ()


def _reach(pairs: Sequence[Pair], level: float) -> tuple[str, ...]:
    """Whether so few cases could show anything: a sign-flip test of n cases never gives a p below 2 / 2^n."""
    if not pairs:
        return ()
    most = min((pair.test for pair in pairs), key=lambda test: test.smallest_p)
    reach = min(1.0, most.smallest_p * len(pairs))
    if reach <= 1 - level:
        return ()
    needed = 1 + math.ceil(math.log2(len(pairs) / (1 - level)))
    return (
        f"With {counted(most.n, 'case')} the smallest p a pair can reach is {most.smallest_p:.2g}, {reach:.2g} after Holm over "
        f"{counted(len(pairs), 'pair')}: no difference can be shown at {1 - level:.0%}, however large. It takes at least {needed} cases.",
    )


def _unit(found: MetricComparison) -> str:
    return f" {found.unit}" if found.unit else ""
