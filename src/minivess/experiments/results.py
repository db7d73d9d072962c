"""The finished cells of runs become one table of cases and one comparison."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from minivess.atomic import write_json, write_text
from minivess.errors import RunError
from minivess.evaluation.compare import Comparison, compare
from minivess.experiments.config import EvaluationConfig
from minivess.experiments.folder import RunFolder


def write_results(folder: RunFolder, evaluation: EvaluationConfig) -> Comparison | None:
    """Write ``results/cases.csv`` and ``results/comparison.json``; None while no cell has finished."""
    rows = [row.flat() for row in folder.read_rows()]
    if not rows:
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder.cases, text.getvalue())
    comparison = _compare(rows, evaluation, ())
    write_json(folder.comparison, comparison.as_dict())
    return comparison


def read_results(folder: RunFolder) -> Comparison:
    """Compare what has finished in a run folder, and write it there.

    Raises:
        RunError: It is no run folder, or nothing has finished in it.
    """
    comparison = write_results(folder, folder.read_config().evaluation)
    if comparison is None:
        raise RunError("a finished cell", f"none in {folder.path}", "run the experiment first")
    return comparison


def compare_runs(folders: Sequence[RunFolder], metrics: Sequence[str] = ()) -> Comparison:
    """Compare what has finished in one run folder or several, and write nothing.

    Args:
        folders: Of several, each method is named "run/method".
        metrics: In place of those that the first run's configuration names.

    Raises:
        RunError: One is no run folder, or nothing has finished in any.
        DataError: A case is in different folds of two runs.
    """
    rows: list[dict[str, Any]] = []
    for folder in folders:
        prefix = f"{folder.path.name}/" if len(folders) > 1 else ""
        rows += [{**row.flat(), "method": prefix + row.method} for row in folder.read_rows()]
    evaluation = folders[0].read_config().evaluation
    if not rows:
        raise RunError("a finished cell", f"none in {folders[0].path}", "run the experiment first")
    baselines = tuple(name for row in rows if (name := row["method"]).rpartition("/")[2] in evaluation.baselines)
    return _compare(rows, evaluation.model_copy(update={"baselines": baselines}), metrics)


def _compare(rows: list[dict[str, Any]], evaluation: EvaluationConfig, metrics: Sequence[str]) -> Comparison:
    wanted = tuple(metrics) or evaluation.metrics
    return compare(rows, wanted, baselines=evaluation.baselines, resamples=evaluation.resamples)
