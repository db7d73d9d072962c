"""Compare methods from a table of scores per case: means with intervals, paired tests and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from minivess.errors import DataError
from minivess.metrics.catalogue import METRICS, known_metrics
from minivess.statistics.centreline_gap import CENTRELINES, centreline_gap
from minivess.statistics.comparison import (
    CentrelineGap,
    Comparison,
    EmptyCase,
    FoldScore,
    MethodScore,
    MetricComparison,
    Pair,
)
from minivess.statistics.resampling import Interval, holm, mean_interval, paired_bootstrap_test
from minivess.statistics.verdict import general_notes, metric_limits, metric_verdict

_TEST_RESAMPLES = 10_000


@dataclass(frozen=True)
class _Settings:
    baselines: tuple[str, ...]
    level: float
    resamples: int
    seed: int
    stopped: int


@dataclass(frozen=True)
class _Row:
    method: str
    fold: int
    case: str
    empty: str
    scores: dict[str, float]


_Table = dict[str, dict[str, _Row]]  # by method, then by case, cases sorted


def compare(
    per_case_table: Iterable[Mapping[str, Any]],
    metrics: Sequence[str] = ("cldice", "dsc", "measured_masd"),
    *,
    baselines: Sequence[str] = ("threshold",),
    planned: Sequence[str] = (),
    stopped: Sequence[str] = (),
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare methods on their per-case scores.

    The unit of analysis is the case. The mean of a method is over all its cases. A pair of methods is tested on the
    cases that both have, and p is Holm-corrected over all pairs of the metric. The cases that a method is missing are
    listed in ``missing`` and mentioned in ``notes``.

    Args:
        per_case_table: One row for each method and case: "method", "fold", "case", the metrics, and optionally "empty"
            as in ``CaseMetrics``. Other keys are ignored. Text that is a number (from a CSV file) is converted.
        metrics: Keys or titles of ``METRICS``.
        baselines: Methods that are shown in the table but never tested and never ``best``. Names without rows are
            ignored.
        planned: Losses that should be compared. Those without a row are listed in ``absent``.
        stopped: Losses that were stopped early because of their scores. If they have no row, the correction still counts
            their pairs: those who remain were chosen by scores that are not independent of the final ones.
        level: Nominal coverage of the intervals. The significance level of the tests is 1 - level.
        resamples: Bootstrap resamples of an interval. The tests use at least 10,000 resamples, and more if this number
            is larger or if there are many pairs.
        seed: The same seed and table give the same comparison.

    Returns:
        The comparison of all metrics, in the order of ``metrics``.

    Raises:
        ConfigError: A metric is unknown.
        DataError: The table has no rows, a key is missing, a score is not a finite number, a method has a case twice,
            or a case is in different folds of two compared methods.
    """
    metrics = known_metrics(metrics)
    table = _read(per_case_table, metrics)
    own = tuple(name for name in table if name in baselines)
    compared = [method for method in table if method not in own]
    settings = _Settings(own, level, resamples, seed, stopped=len(set(stopped) - table.keys()))
    _check_same_folds(table, compared)
    cases = sorted({case for rows in table.values() for case in rows})
    lacking = {method: tuple(case for case in cases if case not in rows) for method, rows in table.items()}
    comparison = Comparison(
        methods=tuple(table),
        baselines=settings.baselines,
        cases=tuple(cases),
        folds=tuple(sorted({row.fold for rows in table.values() for row in rows.values()})),
        level=level,
        metrics=tuple(_compare_metric(metric, table, compared, settings) for metric in metrics),
        missing={method: cases for method, cases in lacking.items() if cases},
        absent=tuple(name for name in planned if name not in table),
        empty=tuple(
            EmptyCase(method=row.method, case=row.case, which=row.empty)
            for rows in table.values()
            for row in rows.values()
            if row.empty
        ),
        centreline_gap=_centreline_gap(table, compared) if set(CENTRELINES) & set(metrics) else None,
    )
    return comparison.model_copy(update={"notes": general_notes(comparison)})


def _centreline_gap(table: _Table, compared: Sequence[str]) -> CentrelineGap | None:
    scores = {(row.method, row.case): row.scores for rows in table.values() for row in rows.values()}
    if not all(set(CENTRELINES) <= values.keys() for values in scores.values()):
        return None
    shared = _shared(table, compared)
    complete, lee = (_best(metric, table, compared, shared) for metric in CENTRELINES)
    return centreline_gap(scores, (complete, lee))


def _compare_metric(metric: str, table: _Table, compared: Sequence[str], settings: _Settings) -> MetricComparison:
    shared = _shared(table, compared)
    found = MetricComparison(
        metric=metric,
        higher_is_better=METRICS[metric].higher_is_better,
        unit=METRICS[metric].unit,
        methods=tuple(_method_score(metric, rows, shared, settings) for rows in table.values()),
        pairs=_pairs(metric, table, compared, settings),
        shared_cases=len(shared),
        best=_best(metric, table, compared, shared),
    )
    return found.model_copy(update={"verdict": metric_verdict(found), "limits": metric_limits(found, settings.level)})


def _method_score(metric: str, by_case: Mapping[str, _Row], shared: Sequence[str], settings: _Settings) -> MethodScore:
    rows = list(by_case.values())
    by_fold = {fold: [row for row in rows if row.fold == fold] for fold in sorted({row.fold for row in rows})}
    interval = _interval(metric, rows, settings)
    return MethodScore(
        method=rows[0].method,
        baseline=rows[0].method in settings.baselines,
        interval=interval,
        folds=tuple(FoldScore(fold=fold, interval=_interval(metric, own, settings)) for fold, own in by_fold.items()),
        shared=interval if by_case.keys() == set(shared) else _shared_interval(metric, by_case, shared, settings),
    )


def _shared_interval(
    metric: str, by_case: Mapping[str, _Row], shared: Sequence[str], settings: _Settings
) -> Interval | None:
    if not shared or not by_case.keys() >= set(shared):
        return None
    return _interval(metric, [by_case[case] for case in shared], settings)


def _interval(metric: str, rows: Sequence[_Row], settings: _Settings) -> Interval:
    values, folds = [row.scores[metric] for row in rows], [row.fold for row in rows]
    return mean_interval(values, folds, settings.level, settings.resamples, settings.seed)


def _pairs(metric: str, table: _Table, compared: Sequence[str], settings: _Settings) -> tuple[Pair, ...]:
    tests = {}
    pairs_to_test = list(combinations(compared, 2))
    # Enough resamples that the smallest p is still below the significance level after Holm correction over all pairs.
    family = math.comb(len(compared) + settings.stopped, 2)
    resamples = max(_TEST_RESAMPLES, settings.resamples, math.ceil(2 * family / (1 - settings.level)))
    for first, second in pairs_to_test:
        cases = _shared(table, (first, second))
        if not cases:
            continue
        a, b = ([table[method][case].scores[metric] for case in cases] for method in (first, second))
        folds = [table[first][case].fold for case in cases]
        tests[first, second] = paired_bootstrap_test(a, b, folds, resamples, settings.seed, settings.level)
    untested = [1.0] * (family - len(pairs_to_test))
    corrected = holm([*(test.p_value for test in tests.values()), *untested])[: len(tests)]
    pairs = []
    for ((first, second), test), p_holm in zip(tests.items(), corrected, strict=True):
        winner = first if (test.difference > 0) == METRICS[metric].higher_is_better else second
        better = winner if p_holm <= 1 - settings.level else ""
        pairs.append(Pair(first=first, second=second, test=test, p_holm=p_holm, better=better))
    return tuple(pairs)


def _best(metric: str, table: _Table, methods: Sequence[str], cases: Sequence[str]) -> str:
    """Return the method with the best mean over the cases, or "" if there are no cases or no methods."""
    if not cases or not methods:
        return ""
    means = np.array([[table[method][case].scores[metric] for case in cases] for method in methods]).mean(axis=1)
    return methods[int(means.argmax() if METRICS[metric].higher_is_better else means.argmin())]


def _shared(table: _Table, methods: Sequence[str]) -> list[str]:
    return sorted(set.intersection(*(set(table[method]) for method in methods))) if methods else []


def _read(per_case_table: Iterable[Mapping[str, Any]], metrics: Sequence[str]) -> _Table:
    table: _Table = {}
    for values in per_case_table:
        row = _row(values, metrics)
        rows = table.setdefault(row.method, {})
        if row.case in rows:
            raise DataError(
                "each case once per method", f"{row.case} twice for {row.method}", "remove one of the two rows"
            )
        rows[row.case] = row
    if not table:
        raise DataError(
            "at least one row with scores", "an empty table", "run the experiment until a cell has finished"
        )
    return {method: dict(sorted(rows.items())) for method, rows in table.items()}


def _row(values: Mapping[str, Any], metrics: Sequence[str]) -> _Row:
    if absent := [key for key in ("method", "fold", "case", *metrics) if values.get(key) in (None, "")]:
        expected, got = "method, fold, case and every metric in each row", f"a row without {', '.join(absent)}"
        raise DataError(expected, got, "add the missing values, score the cases again, or compare other metrics")
    method, case, empty = str(values["method"]), str(values["case"]), values.get("empty")
    try:
        fold, scores = int(values["fold"]), {metric: float(values[metric]) for metric in metrics}
        beside = {metric: float(values[metric]) for metric in CENTRELINES if values.get(metric) not in (None, "")}
    except (TypeError, ValueError) as error:
        got = f"{error} for {method} on {case}"
        raise DataError("a number for the fold and for every metric", got, "score the case again") from error
    for metric, score in scores.items():
        if not math.isfinite(score):
            got = f"{metric} = {score} for {method} on {case}"
            raise DataError("finite scores", got, "score the case with score_case, whose scores are always finite")
    scores |= {metric: score for metric, score in beside.items() if math.isfinite(score)}
    return _Row(method, fold, case, empty if isinstance(empty, str) else "", scores)


def _check_same_folds(table: _Table, compared: Sequence[str]) -> None:
    seen: dict[str, _Row] = {}
    for method in compared:
        for case, row in table[method].items():
            other = seen.setdefault(case, row)
            if other.fold != row.fold:
                got = f"{case} in fold {other.fold} of {other.method} and fold {row.fold} of {method}"
                raise DataError(
                    "each case in the same fold for all methods", got, "compare runs that use the same splits"
                )
