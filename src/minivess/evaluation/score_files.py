"""Read CSV files with scores per case that another tool wrote, for `minivess compare --csv`."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.errors import ConfigError, DataError
from minivess.metrics.catalogue import METRICS, Metric, known_metrics
from minivess.suggestions import did_you_mean
from minivess.text import counted, first_few

_RESERVED = ("case", "method", "group", "repeat", "fold", "empty")
_WHOLE = ("repeat", "fold")


@dataclass(frozen=True)
class ScoreFiles:
    """Scores of at least two methods on the same cases.

    Attributes:
        rows: One row per method, case and repeat, as `compare` takes them.
        metrics: Names of the metrics.
        others: The metrics that are not in ``METRICS``.
    """

    rows: list[dict[str, Any]]
    metrics: tuple[str, ...]
    others: dict[str, Metric]


def read_score_files(paths: Sequence[Path], metrics: Sequence[str] = (), lower: Sequence[str] = ()) -> ScoreFiles:
    """Read and check the files.

    Each file has a row per case with the columns case, optionally method (else the name of the file is the method),
    group, repeat and fold, and one column per metric. Columns are separated by commas, semicolons or tabs.

    Args:
        paths: The files.
        metrics: Columns to compare; by default those that minivess knows, or all others if it knows none.
        lower: Metrics of which a lower value is better, beside those that minivess knows.

    Raises:
        ConfigError: A metric is unknown.
        DataError: A file cannot be read, a column or a value is missing, a score is not a finite number or outside its
            range, a case is twice in a method and repeat, the methods have different cases, or there is only one method.
    """
    rows = [row for path in paths for row in _read(path)]
    columns = [name for name in rows[0] if name not in (*_RESERVED, "")]
    names = _chosen(columns, metrics)
    keys = {name: known_metrics([name])[0] if _is_known(name) else name for name in names}
    if unknown := [name for name in lower if name not in columns]:
        raise ConfigError(f"a column with scores ({', '.join(columns)})", unknown[0], "correct --lower-is-better")
    table = [_row(row, keys) for row in rows]
    _check(table)
    others = {name: Metric(name, higher_is_better=name not in lower) for name in keys.values() if name not in METRICS}
    return ScoreFiles(table, tuple(keys.values()), others)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError("a CSV file", f"{path}: {reason}", "check the path, or save it as CSV in UTF-8") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    lines = text.splitlines()
    head = [name.strip() for name in next(csv.reader(lines[:1], delimiter=separator), [])]
    if twice := [name for name in head if name and head.count(name) > 1]:
        raise DataError("each column once", f"{path}: {twice[0]} twice", "rename or remove one of the two columns")
    table = csv.DictReader(lines, delimiter=separator, restval="", restkey="more")
    try:
        rows = [
            {str(key).strip(): str(value).strip() for key, value in row.items()}
            | {"": f"{path}, line {table.line_num}"}
            for row in table
        ]
    except csv.Error as error:
        raise DataError("a CSV file", f"{path}: {error}", "save it as CSV again") from error
    if longer := [row[""] for row in rows if "more" in row]:
        raise DataError("as many cells as columns in each row", f"{longer[0]}: more cells", "correct this row")
    if not rows or "case" not in rows[0]:
        found = first_few(list(rows[0])[:-1]) if rows else "no rows"
        raise DataError("a column named case and one row per case", f"{path}: {found}", "name the columns in line 1")
    return [{**row, "method": row.get("method") or path.stem} for row in rows]


def _is_known(name: str) -> bool:
    return name.casefold() in {text.casefold() for key, metric in METRICS.items() for text in (key, metric.title)}


def _chosen(columns: Sequence[str], metrics: Sequence[str]) -> list[str]:
    """Return the columns of the metrics.

    Raises:
        ConfigError: There are none, or a metric has no column.
    """
    by_key = {known_metrics([name])[0] if _is_known(name) else name: name for name in columns}
    found = []
    for metric in metrics:
        key = known_metrics([metric])[0] if _is_known(metric) else metric
        if key not in by_key:
            cure = did_you_mean(metric, columns) or "name a column of the file"
            raise ConfigError(f"a column with scores ({', '.join(columns) or 'there is none'})", repr(metric), cure)
        found.append(by_key[key])
    found = found or [name for name in columns if _is_known(name)] or list(columns)
    if not found:
        raise ConfigError("a column with scores", "none beside case and method", "add a column for each metric")
    return found


def _row(row: dict[str, str], keys: dict[str, str]) -> dict[str, Any]:
    """Return a row with numbers.

    Raises:
        DataError: A value is missing, not a number, or outside the range of a metric that minivess knows.
    """
    place = row[""]
    if not row["case"]:
        raise DataError("the name of a case in each row", f"{place}: an empty cell", "fill in the column case")
    values: dict[str, Any] = {"method": row["method"], "case": row["case"], "fold": 0, "group": row.get("group", "")}
    for name in [name for name in _WHOLE if row.get(name)]:
        values[name] = _number(row[name], f"{place}, column {name}", whole=True)
    for name, key in keys.items():
        values[key] = _number(row.get(name, ""), f"{place}, column {name}")
        if key in METRICS and not 0 <= values[key] <= METRICS[key].highest:
            most = METRICS[key].highest
            kind = f"a number from 0 to {most:g}" if math.isfinite(most) else "a number that is not negative"
            cure = "divide percentages by 100" if values[key] > 0 else "correct this cell"
            raise DataError(kind, f"{place}, column {name}: {row[name]}", cure)
    return values


def _number(text: str, place: str, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        kind = "a whole number" if whole else "a finite number with a decimal point"
        cure = "correct this cell; score an empty mask as the worst value instead of leaving it out"
        raise DataError(kind, f"{place}: {text!r}", cure)
    return value


def _check(rows: list[dict[str, Any]]) -> None:
    """Require at least two methods, on the same cases, each case once per method and repeat.

    Raises:
        DataError: It is not so.
    """
    cases: dict[str, set[str]] = {}
    seen = set()
    for row in rows:
        place = row["method"], row["case"], row.get("repeat", 1)
        if place in seen:
            cure = "remove one row; or rename one of two files with one name, or add a column named method or repeat"
            raise DataError("each case once per method and repeat", f"{row['case']} twice for {row['method']}", cure)
        seen.add(place)
        cases.setdefault(row["method"], set()).add(row["case"])
    first, *others = cases
    if not others:
        raise DataError("at least two methods", f"only {first}", "add a file, or a column named method")
    for method in others:
        if different := sorted(cases[first] ^ cases[method]):
            got = (
                f"{counted(len(different), 'case')} that only one of {first} and {method} has ({first_few(different)})"
            )
            raise DataError("the same cases for all methods", got, "score every method on every case")
