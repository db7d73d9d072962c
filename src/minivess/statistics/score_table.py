"""The table of scores that methods are compared on: read from rows, and paired between two methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivess.errors import DataError
from minivess.statistics.centreline_gap import CENTRELINES
from minivess.statistics.nested import Design


@dataclass(frozen=True)
class Row:
    """The scores of one method on one case in one repeat.

    Attributes:
        method: Name of the method.
        fold: Number of the fold in which the case was held out.
        case: Name of the case.
        repeat: Number of the training.
        group: Group of the case, such as the animal; the name of the case if there are no groups.
        empty: Which mask is empty, as in ``CaseMetrics``; "" if none is.
        scores: Score by metric.
    """

    method: str
    fold: int
    case: str
    repeat: int
    group: str
    empty: str
    scores: dict[str, float]


Rows = tuple[Row, ...]
"""The rows of one method, sorted by case and repeat."""
Table = dict[str, Rows]


def read_table(per_case_table: Iterable[Mapping[str, Any]], metrics: Sequence[str]) -> Table:
    """Read rows as `compare` takes them.

    Raises:
        DataError: There are no rows, a key is missing, a score is not a finite number, a method has a case twice in one
            repeat, or a case is in two groups.
    """
    table: dict[str, dict[tuple[str, int], Row]] = {}
    groups: dict[str, str] = {}
    for values in per_case_table:
        row = _row(values, metrics)
        rows = table.setdefault(row.method, {})
        if (row.case, row.repeat) in rows:
            repeat = f" in repeat {row.repeat}" if row.repeat > 1 else ""
            got = f"{row.case} twice for {row.method}{repeat}"
            raise DataError("each case once per method and repeat", got, "remove one of the two rows")
        rows[row.case, row.repeat] = row
        if groups.setdefault(row.case, row.group) != row.group:
            got = f"{row.case} in {groups[row.case]} and in {row.group}"
            raise DataError("each case in one group", got, "correct the groups")
    if not table:
        raise DataError(
            "at least one row with scores", "an empty table", "run the experiment until a cell has finished"
        )
    return {method: tuple(rows[place] for place in sorted(rows)) for method, rows in table.items()}


def _row(values: Mapping[str, Any], metrics: Sequence[str]) -> Row:
    if absent := [key for key in ("method", "fold", "case", *metrics) if values.get(key) in (None, "")]:
        expected, got = "method, fold, case and every metric in each row", f"a row without {', '.join(absent)}"
        raise DataError(expected, got, "add the missing values, score the cases again, or compare other metrics")
    method, case, empty = str(values["method"]), str(values["case"]), values.get("empty")
    try:
        fold, repeat = int(values["fold"]), 1 if values.get("repeat") in (None, "") else int(values["repeat"])
        scores = {metric: float(values[metric]) for metric in metrics}
        beside = {metric: float(values[metric]) for metric in CENTRELINES if values.get(metric) not in (None, "")}
    except (TypeError, ValueError) as error:
        got = f"{error} for {method} on {case}"
        raise DataError("a number for fold, repeat and every metric", got, "score the case again") from error
    for metric, score in scores.items():
        if not math.isfinite(score):
            got = f"{metric} = {score} for {method} on {case}"
            raise DataError("finite scores", got, "score the case with score_case, whose scores are always finite")
    scores |= {metric: score for metric, score in beside.items() if math.isfinite(score)}
    group = str(values.get("group") or case)
    return Row(method, fold, case, repeat, group, empty if isinstance(empty, str) else "", scores)


def check_same_folds(table: Table, methods: Sequence[str]) -> None:
    """Require that each case is in the same fold for all methods and repeats.

    Raises:
        DataError: A case is in two folds.
    """
    seen: dict[str, Row] = {}
    for method in methods:
        for row in table[method]:
            other = seen.setdefault(row.case, row)
            if other.fold != row.fold:
                got = f"{row.case} in fold {other.fold} of {other.method} and fold {row.fold} of {method}"
                raise DataError(
                    "each case in the same fold for all methods", got, "compare runs that use the same splits"
                )


def cases_of(rows: Rows) -> set[str]:
    """Return the names of the cases."""
    return {row.case for row in rows}


def repeats_of(rows: Rows) -> set[int]:
    """Return the numbers of the repeats."""
    return {row.repeat for row in rows}


def shared_cases(table: Table, methods: Sequence[str]) -> list[str]:
    """Return the cases that all methods have, sorted."""
    return sorted(set.intersection(*(cases_of(table[method]) for method in methods))) if methods else []


def scored(rows: Rows, metric: str) -> tuple[Design, NDArray[np.float64]]:
    """Return the scores of one method as (cases, repeats), with groups and folds."""
    cases = {row.case: row for row in rows}
    numbers = {repeat: number for number, repeat in enumerate(sorted(repeats_of(rows)))}
    places = {case: number for number, case in enumerate(cases)}
    values, measured = np.zeros((len(cases), len(numbers))), np.zeros((len(cases), len(numbers)), bool)
    for row in rows:
        place = places[row.case], numbers[row.repeat]
        values[place], measured[place] = row.scores[metric], True
    folds, groups = [row.fold for row in cases.values()], [row.group for row in cases.values()]
    return Design(groups, folds, measured), values


def paired(first: Rows, second: Rows, metric: str) -> tuple[Design, NDArray[np.float64]]:
    """Return first - second as (cases, repeats), on the cases that both have.

    If both were repeated, repeats with equal numbers are compared, because they start with one seed. If one of them
    was trained once only, or is not trained, it is compared with the mean over the repeats of the other: then nothing is
    known of its luck, and the design has one repeat.
    """
    cases = cases_of(first) & cases_of(second)
    own = tuple(row for row in first if row.case in cases)
    other = tuple(row for row in second if row.case in cases)
    repeats = repeats_of(own) & repeats_of(other)
    if len(repeats) > 1:
        both = {(row.case, row.repeat) for row in own} & {(row.case, row.repeat) for row in other}
        covered = {case for case, _ in both} == cases
        if covered:
            own, other = (tuple(row for row in rows if (row.case, row.repeat) in both) for rows in (own, other))
            design, values = scored(own, metric)
            return design, values - scored(other, metric)[1]
    (design, values), (beside, others) = scored(own, metric), scored(other, metric)
    single = Design([row.group for row in _once(own)], [row.fold for row in _once(own)], np.ones((len(cases), 1), bool))
    return single, (design.case_means(values) - beside.case_means(others))[:, None]


def _once(rows: Rows) -> list[Row]:
    return list({row.case: row for row in rows}.values())
