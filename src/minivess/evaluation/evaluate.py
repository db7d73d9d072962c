"""Predict and score held-out cases. A case that is already scored is read from disk instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from minivess.data.array_store import Store, StoredCase
from minivess.data.formats.nifti_file import write_alike
from minivess.evaluation.scoring import Scoring, ScoringJob, cases_at_a_time
from minivess.json_files import read_state, to_plain
from minivess.metrics.case import CaseMetrics

SCORES_FOLDER, PREDICTIONS_FOLDER = "cases", "predictions"
"""Names of the folders in a cell folder that hold the scores and the masks of the held-out cases."""


class CaseRow(BaseModel):
    """The scores of one method on one case in one repeat: one observation of every statistic.

    Attributes:
        method: Name of the loss or baseline.
        fold: Number of the fold that held out the case, from 0.
        case: Name of the case.
        metrics: The scores.
        repeat: Number of the repeat, from 1.
        group: Group of the case, such as the animal; None without groups, and then each case is its own group.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    fold: int
    case: str
    metrics: CaseMetrics
    repeat: int = 1
    group: str | None = None

    def flat(self) -> dict[str, Any]:
        """Return the row as a dictionary without nesting, for a table."""
        group = self.group or self.case
        place = {"fold": self.fold, "case": self.case, "repeat": self.repeat, "group": group}
        return {"method": self.method, **place, **to_plain(self.metrics)}


def evaluate_cases(
    folder: Path,
    store: Store,
    names: Sequence[str],
    predict: Callable[[StoredCase], np.ndarray],
    *,
    method: str,
    fold: int,
    tolerance_um: float,
    repeat: int = 1,
    groups: Mapping[str, str] | None = None,
    scoring_processes: int = 1,
    progress: Callable[[int, int], None],
) -> list[CaseRow]:
    """Predict and score cases, in order.

    For each case this writes ``predictions/NAME.nii.gz`` (with the geometry of the image) and ``cases/NAME.json``. If
    the JSON file of a case exists, it is read instead. If an older version wrote it, which did not measure every
    metric, the saved mask is scored again. Large cases are scored in other processes while the next case is
    predicted.

    Args:
        folder: Folder of the cell.
        store: The data set.
        names: Names of the held-out cases.
        predict: Function from a stored case to its mask (X, Y, Z).
        method: Name of the loss or baseline, for the rows.
        fold: Number of the fold, for the rows.
        tolerance_um: Tolerance of the normalised surface distance, in micrometres.
        repeat: Number of the repeat, for the rows.
        groups: Group of each case, for the rows; None without groups.
        scoring_processes: Maximum number of cases that are scored at a time.
        progress: Called with the number of finished cases and of all cases.

    Returns:
        One row per case, in the order of ``names``.
    """
    records = {name: folder / SCORES_FOLDER / f"{name}.json" for name in names}
    older = [name for name in names if records[name].is_file() and _read_record(records[name]).cldice is None]
    missing = [name for name in names if name in older or not records[name].is_file()]
    largest = max((store.stats(name).voxels for name in missing), default=0)
    with Scoring(cases_at_a_time(scoring_processes, largest, len(missing))) as scoring:
        for name in missing:
            progress(names.index(name), len(names))
            case = store.case(name)
            prediction = folder / PREDICTIONS_FOLDER / f"{name}.nii.gz"
            if name not in older or not prediction.is_file():
                write_alike(prediction, predict(case), Path(case.stats.image))
            scoring.add(
                ScoringJob(
                    prediction=prediction,
                    label=store.label_file(name),
                    prepared=store.reference_file(name),
                    spacing_um=case.stats.spacing_um,
                    tolerance_um=tolerance_um,
                    record=records[name],
                    has_unknown=case.stats.has_unknown,
                )
            )
    progress(len(names), len(names))
    facts = {"method": method, "fold": fold, "repeat": repeat}
    group_of = groups or {}
    return [
        CaseRow(case=name, group=group_of.get(name), metrics=_read_record(records[name]), **facts) for name in names
    ]


def _read_record(path: Path) -> CaseMetrics:
    return read_state(path, CaseMetrics, "delete the file and run the same command again; it scores the case again")
