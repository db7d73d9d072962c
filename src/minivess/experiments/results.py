"""The finished cells of a run become one table of cases and one comparison."""

from __future__ import annotations

import csv
import io

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
    comparison = compare(rows, baselines=evaluation.baselines, resamples=evaluation.resamples)
    write_json(folder.comparison, comparison.as_dict())
    return comparison


def read_results(folder: RunFolder) -> Comparison:
    """Compare what has finished in a run folder.

    Raises:
        RunError: It is no run folder, or nothing has finished in it.
    """
    comparison = write_results(folder, folder.read_config().evaluation)
    if comparison is None:
        raise RunError("a finished cell", f"none in {folder.path}", "run the experiment first")
    return comparison
