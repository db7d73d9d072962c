"""Sentences that say what can and cannot be concluded from a comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

from minivess.statistics.centreline_gap import gap_sentence
from minivess.statistics.comparison import Comparison, EmptyCase, MetricComparison, Pair
from minivess.statistics.pareto import pareto_front, trade_off_metrics
from minivess.statistics.resampling import SMALLEST_STRATUM, can_stratify
from minivess.text import counted, first_few, format_p_value, format_percent, format_together

_EMPTY = {
    "prediction": "the prediction is empty; overlaps count as 0, distances as the diagonal of the volume",
    "reference": "the label is empty but the prediction is not; overlaps count as 0, distances as the diagonal of the volume",
    "both": "the label and the prediction are both empty; this counts as perfect agreement",
}


def metric_verdict(found: MetricComparison) -> tuple[str, ...]:
    """Return sentences for one metric: the best mean, the differences that are shown, and those that are not."""
    shown = [_shown(found, pair) for pair in found.pairs if pair.better]
    open_pairs = [pair for pair in found.pairs if not pair.better]
    return (_best(found), *shown, *_not_shown(found, open_pairs))


def metric_limits(found: MetricComparison, level: float) -> tuple[str, ...]:
    """Return sentences for one metric: the pairs that could not be tested, and a warning if there are too few cases."""
    return (*_untested(found), *_too_few_cases(found.pairs, level, found.sample))


def general_notes(comparison: Comparison) -> tuple[str, ...]:
    """Return sentences for all metrics: missing losses and cases, empty masks, and what intervals and tests mean."""
    absent = (
        [f"Not compared, because they have no scored case: {', '.join(comparison.absent)}."]
        if comparison.absent
        else []
    )
    empty = [f"{row.method} on {row.case}{_repeat(row)}: {_EMPTY[row.which]}." for row in comparison.empty]
    gap = [gap_sentence(comparison.centreline_gap)] if comparison.centreline_gap else []
    notes = (*gap, *_front(comparison), *_unstratified(comparison), *_too_narrow(comparison), *meaning(comparison))
    return (*absent, *missing_cases(comparison), *empty, *notes)


def meaning(comparison: Comparison) -> Iterator[str]:
    """Yield what intervals and tests mean: unit of analysis, luck of training, corrections, and what was fixed."""
    grouped = bool(comparison.groups)
    unit = "group of cases, such as an animal: a group counts once, however many cases it has" if grouped else "case"
    yield f"The unit of analysis is the {unit}."
    yield _luck(comparison)
    level = format_percent(comparison.level)
    yield (
        f"Intervals have a level of {level} and are not corrected for the number of pairs. p values are corrected with "
        f"Holm's method {_family(comparison)}, but not over metrics."
    )
    if comparison.decision is None and len(comparison.losses) > 1:
        yield (
            "Nothing was fixed before the run, neither a leading metric nor a margin nor a reference loss: all pairs of "
            "losses are compared, and a result is a suggestion for the next study. The key comparison of an experiment fixes "
            "them; minivess compare with --margin evaluates a margin afterwards."
        )


def _luck(comparison: Comparison) -> str:
    if comparison.repeats > 1:
        return (
            f"Folds were trained up to {comparison.repeats} times with different seeds. The repeats are averaged within a "
            "case, and tests of pairs that were both repeated include the luck of training."
        )
    return (
        "Each fold was trained once, so intervals and tests describe how these trained networks would perform on other "
        "similar volumes. Whether training with another seed would give the same ranking is not tested."
    )


def _family(comparison: Comparison) -> str:
    if comparison.decision is None:
        return "over the pairs of each metric"
    against = comparison.decision.rule.against
    return f"over the losses that are compared with {against}, and over the other pairs, which are exploratory"


def _unstratified(comparison: Comparison) -> Iterator[str]:
    scores = [score for metric in comparison.metrics for score in metric.methods]
    if any(len(score.folds) > 1 and not can_stratify(fold.interval.n for fold in score.folds) for score in scores):
        yield (
            f"Some methods have a fold with fewer than {SMALLEST_STRATUM} cases. "
            "Their intervals resample all cases together, not within folds."
        )


def _too_narrow(comparison: Comparison) -> Iterator[str]:
    """Warn about means and differences over too few cases. The report warns about folds next to their table."""
    means = [score.interval for metric in comparison.metrics for score in metric.methods]
    differences = [pair.test.interval for metric in comparison.metrics for pair in metric.pairs]
    if few := sorted({interval.n for interval in (*means, *differences) if interval.too_narrow}):
        yield (
            f"Intervals over {' or '.join(map(str, few))} cases are too narrow: "
            "a nominal 95% interval covers about 86% with 4 cases and 50% with 2."
        )


def missing_cases(comparison: Comparison) -> tuple[str, ...]:
    """Return a sentence for each method with missing cases; ``Comparison.missing`` has the full list of them."""
    return tuple(
        f"{method} has no scores for {counted(len(cases), 'case')} ({first_few(cases)}). "
        "It is compared with each other loss on the cases that both have."
        for method, cases in comparison.missing.items()
    )


def _repeat(row: EmptyCase) -> str:
    return f" in repeat {row.repeat}" if row.repeat > 1 else ""


def _front(comparison: Comparison) -> tuple[str, ...]:
    front, compared = pareto_front(comparison), trade_off_metrics(comparison)
    if not front or compared is None or len(comparison.losses) < 2:
        return ()
    where = f" on the {counted(shared, 'shared case')}" if (shared := comparison.shared_cases) else ""
    return (
        f"Pareto front of mean DSC and mean {compared[1].title}{where}: {', '.join(front)}. "
        "No other loss is at least as good in both means and better in one of them.",
    )


def _best(found: MetricComparison) -> str:
    if not found.losses:
        return f"{found.title}: only baselines have scores; there is no loss to compare."
    if not found.best:
        return f"{found.title}: the losses have no case in common, so they are not ranked."
    interval = found.score(found.best).interval
    value = f"{interval}{_unit(found)} over its {counted(interval.n, found.sample)}"
    if len(found.losses) == 1:
        return f"{found.title}: {found.best} is the only loss ({value}); there is no other loss to compare it with."
    extreme = "highest" if found.higher_is_better else "lowest"
    beaten = [
        pair.second if pair.first == found.best else pair.first for pair in found.pairs if pair.better == found.best
    ]
    proof = f"shown to be better than {', '.join(beaten)}" if beaten else "not shown to be better than any other loss"
    return (
        f"{found.title}: {found.best} has the {extreme} mean on the {counted(found.shared_cases, 'case')} "
        f"that all losses share ({value}). It is {proof}."
    )


def _shown(found: MetricComparison, pair: Pair) -> str:
    test, worse = (pair.test, pair.second) if pair.better == pair.first else (pair.test.reversed, pair.first)
    wins = test.a_larger if found.higher_is_better else test.b_larger
    return (
        f"{found.title}: {pair.better} is better than {worse}: mean difference {test}"
        f"{_unit(found)}, p = {format_p_value(pair.p_holm)}, effect size {test.effect_size:+.2f}, "
        f"better on {wins} of {counted(test.n, found.sample)}."
    )


def _not_shown(found: MetricComparison, pairs: Sequence[Pair]) -> tuple[str, ...]:
    if not pairs:
        return ()
    listed = "; ".join(_undecided(found, pair) for pair in pairs)
    return (f"{found.title}: no difference is shown between {listed}. This does not prove that they are equal.",)


def _undecided(found: MetricComparison, pair: Pair) -> str:
    interval = pair.test.interval
    low, high = format_together(interval.low, interval.high)
    difference = f"interval of the difference {low} to {high}{_unit(found)}"
    if not interval.known:
        difference = f"difference {pair.test.parts[0]}{_unit(found)}, {interval.method}"
    p = f"p = {format_p_value(pair.p_holm)}, effect size {pair.test.effect_size:+.2f}"
    return f"{pair.first} and {pair.second} ({p}, {difference})"


def _untested(found: MetricComparison) -> tuple[str, ...]:
    tested = {(pair.first, pair.second) for pair in found.pairs}
    rivals = [score.method for score in found.losses]
    lacking = [f"{a} and {b}" for a, b in combinations(rivals, 2) if (a, b) not in tested]
    return (
        (f"{found.title}: not tested, because the two losses have no case in common: {'; '.join(lacking)}.",)
        if lacking
        else ()
    )


def _too_few_cases(pairs: Sequence[Pair], level: float, sample: str) -> tuple[str, ...]:
    """Warn if no difference can be shown: the p of a sign-flip test of n cases is at least 2 / 2^n."""
    pairs = [pair for pair in pairs if pair.test.by_signs]
    if not pairs:
        return ()
    most = min((pair.test for pair in pairs), key=lambda test: test.smallest_p)
    reach = min(1.0, most.smallest_p * len(pairs))
    if reach <= 1 - level:
        return ()
    needed = 1 + math.ceil(math.log2(len(pairs) / (1 - level)))
    return (
        f"With {counted(most.n, sample)} the smallest possible p of a pair is {most.smallest_p:.2g}, or {reach:.2g} after "
        f"Holm's correction over {counted(len(pairs), 'pair')}. No difference can be shown at the {1 - level:.0%} level, "
        f"even if it is large. At least {needed} {sample}s are needed.",
    )


def _unit(found: MetricComparison) -> str:
    return f" {found.unit}" if found.unit else ""
