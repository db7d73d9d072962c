"""The finished cells of runs become one table of cases and one comparison."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from minivess.atomic import write_json, write_text
from minivess.errors import RunError
from minivess.evaluation.compare import compare
from minivess.evaluation.comparison import Comparison
from minivess.experiments.config import EvaluationConfig
from minivess.experiments.folder import RunFolder, read_model


def write_results(folder: RunFolder) -> Comparison:
    """Bring ``results/cases.csv`` and ``results/comparison.json`` up to date with the finished cells and the configuration.

    A comparison takes seconds: the one that stands there is read back where it was made of the same cases and settings.

    Raises:
        RunError: It is no run folder, or nothing has finished in it.
    """
    rows, evaluation = _rows([folder]), folder.read_config().evaluation
    comparison = _standing(folder, rows, evaluation)
    if comparison is None:
        comparison = _compare(rows, evaluation)
        write_text(folder.cases, _as_csv(rows))
        write_json(folder.comparison, comparison.as_dict())
    return comparison


def read_results(folder: RunFolder) -> Comparison:
    """The comparison as ``write_results`` left it.

    Raises:
        RunError: There is none, or it is damaged.
    """
    return read_model(folder.comparison, Comparison, "`minivess report` makes it again")


def compare_runs(folders: Sequence[RunFolder], metrics: Sequence[str] = ()) -> Comparison:
    """Compare what has finished in one run folder or several, and write nothing.

    Args:
        folders: Of several, each method is named "run/method".
        metrics: In place of those that the first run's configuration names.

    Raises:
        RunError: One is no run folder, or nothing has finished in any.
        DataError: A case is in different folds of two runs.
    """
    rows, evaluation = _rows(folders), folders[0].read_config().evaluation
    if metrics:
        evaluation = evaluation.model_copy(update={"metrics": tuple(metrics)})
    if len(folders) == 1:
        return _standing(folders[0], rows, evaluation) or _compare(rows, evaluation)
    baselines = tuple(name for row in rows if (name := row["method"]).rpartition("/")[2] in evaluation.baselines)
    return _compare(rows, evaluation.model_copy(update={"baselines": baselines}))


def _rows(folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for folder in folders:
        prefix = f"{folder.path.name}/" if len(folders) > 1 else ""
        rows += [{**row.flat(), "method": prefix + row.method} for row in folder.read_rows()]
    if not rows:
        raise RunError("a finished cell", f"none in {folders[0].path}", "run the experiment first")
    return rows


def _standing(folder: RunFolder, rows: list[dict[str, Any]], evaluation: EvaluationConfig) -> Comparison | None:
    """The comparison in the folder; None where there is none, or one of other cases or settings."""
    try:
        comparison = read_results(folder)
    except RunError:
        return None
    return comparison if comparison.source == _source(rows, evaluation) else None


def _compare(rows: list[dict[str, Any]], evaluation: EvaluationConfig) -> Comparison:
    comparison = compare(rows, evaluation.metrics, baselines=evaluation.baselines, resamples=evaluation.resamples)
    return comparison.model_copy(update={"source": _source(rows, evaluation)})


def _source(rows: list[dict[str, Any]], evaluation: EvaluationConfig) -> str:
    source = json.dumps([version("minivess"), rows, evaluation.model_dump(mode="json")])
    return hashlib.blake2b(source.encode(), digest_size=16).hexdigest()


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
