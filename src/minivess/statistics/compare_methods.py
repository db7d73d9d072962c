"""Compare methods from a table of scores per case: means with intervals, tests of pairs, and a decision by a rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from minivess.errors import ConfigError
from minivess.metrics.catalogue import METRICS, Metric, known_metrics
from minivess.statistics.centreline_gap import CENTRELINES, centreline_gap
from minivess.statistics.comparison import (
    CentrelineGap,
    Comparison,
    EmptyCase,
    FoldScore,
    MethodScore,
    MetricComparison,
)
from minivess.statistics.decide import baselines_not_beaten, decide_losses
from minivess.statistics.decision import Decision
from minivess.statistics.decision_text import decision_text
from minivess.statistics.false_claims import find_false_claim
from minivess.statistics.pair_tests import CompareOptions, compare_pairs
from minivess.statistics.resampling import Interval, mean_interval
from minivess.statistics.rule import ComparisonConfig
from minivess.statistics.score_table import (
    Rows,
    Table,
    cases_of,
    check_same_folds,
    read_table,
    repeats_of,
    scored,
    shared_cases,
)
from minivess.statistics.verdict import general_notes, metric_limits, metric_verdict
from minivess.suggestions import did_you_mean


@dataclass(frozen=True)
class Fixed:
    """When the rule of a comparison was chosen.

    Attributes:
        beforehand: Whether it was fixed before the run started.
        before: The rule that was fixed before the run started; None if there was none.
    """

    beforehand: bool = True
    before: ComparisonConfig | None = None


def compare(
    per_case_table: Iterable[Mapping[str, Any]],
    metrics: Sequence[str] = ("cldice", "dsc", "measured_masd"),
    *,
    baselines: Sequence[str] = ("threshold",),
    planned: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
    stopped: Sequence[str] = (),
    rule: ComparisonConfig | None = None,
    fixed: Fixed = Fixed(),
    others: Mapping[str, Metric] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare methods on their per-case scores.

    The unit of analysis is the group of cases (the animal) if rows have groups, else the case. Repeats are averaged
    within a case. The mean of a method is over all its groups. Two methods are compared on the cases that both have.
    The cases that a method is missing are listed in ``missing`` and mentioned in ``notes``.

    With a rule, each loss is tested against the reference loss in the primary metric, with Holm's correction over these
    tests, and ``decision`` says what is shown. All other pairs are exploratory, Holm-corrected among themselves. Without
    a rule p is corrected over all pairs of a metric.

    Args:
        per_case_table: One row for each method, case and repeat: "method", "fold", "case", the metrics, and optionally
            "repeat" (from 1), "group" and "empty" as in ``CaseMetrics``. Other keys are ignored. Text that is a number
            (from a CSV file) is converted.
        metrics: Keys or titles of ``METRICS``, or keys of ``others``.
        baselines: Methods that are shown in the table but never tested and never ``best``. Names without rows are
            ignored.
        planned: Losses that should be compared. Those without a row are listed in ``absent``.
        elsewhere: Methods that were trained elsewhere. They are tested like losses, but their pairs are always
            exploratory: adding one later must not change what a rule decides.
        stopped: Losses that were stopped early because of their scores. If they have no row, corrections still count
            their tests: those who remain were chosen by scores that are not independent of the final ones.
        rule: Primary metric, margin, reference loss and level; its level replaces ``level``.
        fixed: Whether the rule was fixed before the run.
        others: Metrics that are not in ``METRICS``.
        level: Nominal coverage of the intervals. The significance level of the tests is 1 - level.
        resamples: Bootstrap resamples of an interval. The sign-flip tests use at least 10,000 resamples, and more if
            this number is larger or if there are many pairs.
        seed: The same seed and table give the same comparison.

    Returns:
        The comparison of all metrics, the primary one first, then in the order of ``metrics``.

    Raises:
        ConfigError: A metric is unknown, or the reference of the rule has no rows.
        DataError: The table has no rows, a key is missing, a score is not a finite number, a method has a case twice in
            a repeat, a case is in two groups, or a case is in different folds of two compared methods.
    """
    known = {**METRICS, **(others or {})}
    metrics = tuple(name if others and name in others else known_metrics([name])[0] for name in metrics)
    metrics = tuple(dict.fromkeys([*([rule.primary] if rule else []), *metrics]))
    table = read_table(per_case_table, metrics)
    found = tuple(name for name in table if name in baselines)
    outside = tuple(name for name in table if name in elsewhere)
    left = len(set(stopped) - table.keys())
    settings = CompareOptions(found, rule.level if rule else level, resamples, seed, known, outside, left)
    compared = [method for method in table if method not in settings.baselines]
    check_same_folds(table, compared)
    own = [method for method in compared if method not in outside]
    complete = _complete(rule, own, planned) if rule else None
    decision = _decide(table, own, complete, fixed, settings) if complete else None
    rows = [row for scored_rows in table.values() for row in scored_rows]
    cases = sorted({row.case for row in rows})
    lacking = {method: tuple(sorted(set(cases) - cases_of(each))) for method, each in table.items()}
    grouped = any(row.group != row.case for row in rows)
    comparison = Comparison(
        methods=tuple(table),
        baselines=settings.baselines,
        elsewhere=settings.elsewhere,
        cases=tuple(cases),
        folds=tuple(sorted({row.fold for row in rows})),
        groups=tuple(sorted({row.group for row in rows})) if grouped else (),
        repeats=max(len(repeats_of(own)) for own in table.values()),
        level=settings.level,
        metrics=tuple(_compare_metric(metric, table, compared, settings, decision) for metric in metrics),
        missing={method: cases for method, cases in lacking.items() if cases},
        absent=tuple(name for name in planned if name not in table),
        empty=tuple(
            EmptyCase(method=row.method, case=row.case, which=row.empty, repeat=row.repeat) for row in rows if row.empty
        ),
        centreline_gap=_centreline_gap(table, compared) if set(CENTRELINES) & set(metrics) else None,
        decision=decision,
        awaited=str(rule.against or "") if rule and complete is None else "",
    )
    if decision:
        decision = decision.model_copy(update={"best": _best_shown(comparison.metrics[0], decision, settings)})
        decision = decision.model_copy(update={"text": decision_text(comparison, decision)})
        comparison = comparison.model_copy(update={"decision": decision})
    return comparison.model_copy(update={"notes": general_notes(comparison)})


def _complete(rule: ComparisonConfig, compared: Sequence[str], planned: Sequence[str]) -> ComparisonConfig | None:
    """Return the rule with all values; None while its reference, which is planned, has no rows.

    Raises:
        ConfigError: The reference is not one of the compared methods.
    """
    if not compared or (rule.against in planned and rule.against not in compared):
        return None
    try:
        return rule.completed(compared)
    except ValueError:
        cure = did_you_mean(str(rule.against), compared) or "compare against one of them"
        raise ConfigError(f"a reference with scores ({', '.join(compared)})", repr(rule.against), cure) from None


def _decide(
    table: Table, compared: Sequence[str], rule: ComparisonConfig, fixed: Fixed, settings: CompareOptions
) -> Decision:
    reference = str(rule.against)
    rivals = [loss for loss in compared if loss != reference]
    tested = [loss for loss in rivals if shared_cases(table, (loss, reference))]
    behind = {
        loss: baselines_not_beaten(table, loss, settings.baselines, settings.known[rule.primary], rule)
        for loss in compared
    }
    losses = tuple(
        found.model_copy(update={"not_above": tuple(behind[found.method])})
        for found in decide_losses(table, tested, rule, settings.known[rule.primary], settings.stopped)
    )
    return Decision(
        rule=rule,
        beforehand=fixed.beforehand,
        fixed=rule if fixed.beforehand else fixed.before,
        losses=losses,
        untested=tuple(loss for loss in rivals if loss not in tested),
        reference_not_above=tuple(behind[reference]),
    )


def _best_shown(found: MetricComparison, decision: Decision, settings: CompareOptions) -> str:
    """Return the loss that may be called best, or "": see `Decision.best`."""
    leader, reference = found.best, decision.rule.against
    if leader in settings.elsewhere or settings.stopped:  # a stopped loss was never compared with it at the end
        return ""
    of_leader = [pair for pair in found.pairs if leader in (pair.first, pair.second)]
    if len(of_leader) < len(found.losses) - 1 or not all(pair.better == leader for pair in of_leader):
        return ""
    if leader == reference:
        shown = all(loss.verdict == "worse" and not decision.reference_not_above for loss in decision.losses)
    else:
        shown = decision.loss(leader).verdict == "better" and not decision.loss(leader).not_above
    return leader if shown and decision.losses else ""


def _centreline_gap(table: Table, compared: Sequence[str]) -> CentrelineGap | None:
    rows = [row for own in table.values() for row in own]
    if not all(set(CENTRELINES) <= row.scores.keys() for row in rows):
        return None
    repeats: dict[tuple[str, str], list[Mapping[str, float]]] = {}
    for row in rows:
        repeats.setdefault((row.method, row.case), []).append(row.scores)
    scores = {place: {name: fmean(one[name] for one in own) for name in CENTRELINES} for place, own in repeats.items()}
    shared = shared_cases(table, compared)
    known = CompareOptions((), 0.95, 1000, 0, METRICS)
    complete, lee = (_best(metric, table, compared, shared, known) for metric in CENTRELINES)
    return centreline_gap(scores, (complete, lee))


def _compare_metric(
    metric: str, table: Table, compared: Sequence[str], settings: CompareOptions, decision: Decision | None
) -> MetricComparison:
    shared = shared_cases(table, compared)
    primary = decision if decision and decision.rule.primary == metric else None
    best = _best(metric, table, compared, shared, settings)
    means = {}
    for method in compared if shared else ():
        design, values = scored(_only(table[method], cases=shared), metric)
        means[method] = design.case_means(values)
    found = MetricComparison(
        metric=metric,
        title=settings.known[metric].title,
        higher_is_better=settings.known[metric].higher_is_better,
        unit=settings.known[metric].unit,
        methods=tuple(_method_score(metric, rows, shared, settings) for rows in table.values()),
        pairs=compare_pairs(metric, table, compared, settings, primary, ruled=decision is not None),
        shared_cases=len(shared),
        best=best,
        false_claim=find_false_claim(means, higher_is_better=settings.known[metric].higher_is_better),
        grouped=any(row.group != row.case for rows in table.values() for row in rows),
    )
    return found.model_copy(update={"verdict": metric_verdict(found), "limits": metric_limits(found, settings.level)})


def _method_score(metric: str, rows: Rows, shared: Sequence[str], settings: CompareOptions) -> MethodScore:
    by_fold = {fold: _only(rows, fold=fold) for fold in sorted({row.fold for row in rows})}
    interval = _interval(metric, rows, settings)
    return MethodScore(
        method=rows[0].method,
        baseline=rows[0].method in settings.baselines,
        interval=interval,
        folds=tuple(FoldScore(fold=fold, interval=_interval(metric, own, settings)) for fold, own in by_fold.items()),
        shared=interval if cases_of(rows) == set(shared) else _shared_interval(metric, rows, shared, settings),
    )


def _only(rows: Rows, *, fold: int | None = None, cases: Sequence[str] | None = None) -> Rows:
    kept = None if cases is None else set(cases)
    return tuple(row for row in rows if (fold is None or row.fold == fold) and (kept is None or row.case in kept))


def _shared_interval(metric: str, rows: Rows, shared: Sequence[str], settings: CompareOptions) -> Interval | None:
    if not shared or not cases_of(rows) >= set(shared):
        return None
    return _interval(metric, _only(rows, cases=shared), settings)


def _interval(metric: str, rows: Rows, settings: CompareOptions) -> Interval:
    design, values = scored(rows, metric)
    means = design.group_means(values)
    return mean_interval(means, design.fold_of_group, settings.level, settings.resamples, settings.seed)


def _best(metric: str, table: Table, methods: Sequence[str], cases: Sequence[str], settings: CompareOptions) -> str:
    """Return the method with the best mean over the cases, or "" if there are no cases or no methods."""
    if not cases or not methods:
        return ""
    means = []
    for method in methods:
        design, values = scored(_only(table[method], cases=cases), metric)
        means.append(float(design.group_means(values).mean()))
    higher = settings.known[metric].higher_is_better
    return methods[int(np.argmax(means) if higher else np.argmin(means))]
