"""What a tracker is told of a run: plain values read from the run folder, and the shape MLflow wants them in."""

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

Status = Literal["finished", "failed", "stopped"]

_KEY_LIMIT = 250
_PARAM_LIMIT = 6000
_TAG_LIMIT = 8000


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """One loss on one fold.

    Attributes:
        name: Unique within the run; the cell's folder.
        method: The loss, or the name of a baseline; logged as a parameter.
        fold: Logged as a parameter.
        status: How its last attempt ended.
        params: Configuration, nested as it comes.
        history: One mapping an epoch: ``step`` and numbers; what is no number, or has no step, is left out.
        metrics: Final values, e.g. ``dsc/mean``, ``dsc/low``, ``dsc/high``.
        tags: Short texts to search by.
        artifacts: Files, kept by their name, and folders, kept with what is in them; what is not there is left out.
        started_ms: First start, in Unix milliseconds; history is dated by it, so it must not change from call to call.
        ended_ms: End of the last attempt; None where its supervisor was killed.
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


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run of an experiment; attributes as in ``CellRecord``.

    Attributes:
        name: The experiment's name; runs of one name are listed together.
        status: "finished" only when every planned cell is.
        cells: Those that were begun.
    """

    name: str
    status: Status
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Sequence[Path] = ()
    cells: Sequence[CellRecord] = ()
    started_ms: int
    ended_ms: int | None = None


def flat_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as one level: keys joined by dots, values as text (JSON for what is no text), cut to MLflow's limit."""
    return {_clean_key(key): _cut(value, _PARAM_LIMIT) for key, value in _leaves(params, "")}


def flat_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags with keys and values as MLflow takes them."""
    return {_clean_key(key): _cut(str(value), _TAG_LIMIT) for key, value in tags.items()}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of ``values`` is a number, as MLflow keeps it: infinity becomes the largest float, NaN stays."""
    return {
        _clean_key(key): min(max(float(value), -sys.float_info.max), sys.float_info.max)
        for key, value in values.items()
        if isinstance(value, Real) and not isinstance(value, bool)
    }


def points(history: Sequence[Mapping[str, Any]], after: int) -> list[tuple[str, float, int]]:
    """Name, value and step of every number in the rows whose ``step`` lies beyond ``after``."""
    rows = [row for row in history if isinstance(row.get("step"), int) and row["step"] > after]
    return [(key, value, row["step"]) for row in rows for key, value in numbers(row).items() if key != "step"]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)


def _clean_key(key: str) -> str:
    """``key`` as MLflow allows names: characters it refuses become ``_``, a path in normal form, no longer than its limit."""
    return posixpath.normpath(re.sub(r"[^\w/.\- ]", "_", key)[:_KEY_LIMIT]).lstrip("./") or "_"


def _cut(text: str, limit: int) -> str:
    """``text`` if it is no longer than ``limit``, else its beginning and a note of how long it was."""
    if len(text) <= limit:
        return text
    note = f"... (cut, {len(text)} characters)"
    return text[: limit - len(note)] + note
