"""Records of a run for tracking: plain values from the run folder, and their conversion to the form that MLflow requires."""

from __future__ import annotations

import json
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, Literal

Status = Literal["running", "finished", "failed", "stopped"]

_KEY_LIMIT = 250
_PARAM_LIMIT = 6000
_TAG_LIMIT = 8000


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One loss on one fold in one repeat.

    Attributes:
        name: Name of the cell's folder, unique within the run.
        method: Name of the loss or baseline; logged as a parameter.
        fold: Number of the fold, from 0; logged as a parameter.
        repeat: Number of the repeat, from 1; logged as a parameter.
        status: "running", or how the last attempt ended.
        params: Configuration, nested.
        history: One mapping per epoch: ``step`` and numbers. Other values, and rows without a step, are ignored.
        metrics: Final values, e.g. ``dsc``, ``dsc/low``, ``dsc/high``.
        tags: Short texts that can be searched.
        artifacts: Files, stored under their names, and folders, stored with their content; missing ones are ignored.
        started_ms: First start, in Unix milliseconds. It is the timestamp of the history, so it must be the same in every call.
        ended_ms: End of the last attempt, in Unix milliseconds; None if it is running or unknown.
    """

    name: str
    method: str
    fold: int
    status: Status
    params: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Sequence[Path] = ()
    started_ms: int
    ended_ms: int | None = None
    repeat: int = 1


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of an experiment; attributes that are not listed here are as in ``CellRecord``.

    Attributes:
        name: Name of the experiment; MLflow lists runs with the same name together.
        status: "finished" only if every planned cell is finished.
        cells: The cells that were started.
    """

    name: str
    status: Status
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Sequence[Path] = ()
    cells: Sequence[CellRecord] = ()
    started_ms: int
    ended_ms: int | None = None


def flat_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Flatten nested parameters: keys joined by dots, values as text (JSON for other types), cut to MLflow's limit of 6000 characters."""
    return {_clean_key(key): _cut(value, _PARAM_LIMIT) for key, value in _leaves(params, "")}


def flat_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags with keys that MLflow allows and values cut to its limit of 8000 characters."""
    return {_clean_key(key): _cut(str(value), _TAG_LIMIT) for key, value in tags.items()}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the values that are numbers, as MLflow stores them: infinity becomes the largest float, NaN stays."""
    return {
        _clean_key(key): min(max(float(value), -sys.float_info.max), sys.float_info.max)
        for key, value in values.items()
        if isinstance(value, Real) and not isinstance(value, bool)
    }


def points(history: Sequence[Mapping[str, Any]], after: int) -> list[tuple[str, float, int]]:
    """Return name, value and step of every number in the rows whose ``step`` is greater than ``after``."""
    rows = [row for row in history if isinstance(row.get("step"), int) and row["step"] > after]
    return [(key, value, row["step"]) for row in rows for key, value in numbers(row).items() if key != "step"]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)


def _clean_key(key: str) -> str:
    """Return ``key`` as MLflow allows it: forbidden characters become ``_``, normalised as a path, at most 250 characters."""
    return posixpath.normpath(re.sub(r"[^\w/.\- ]", "_", key)[:_KEY_LIMIT]).lstrip("./") or "_"


def _cut(text: str, limit: int) -> str:
    """Return ``text`` if it has at most ``limit`` characters, else its beginning and a note with its length."""
    if len(text) <= limit:
        return text
    note = f"... (cut, {len(text)} characters)"
    return text[: limit - len(note)] + note
