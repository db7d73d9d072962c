"""Held-out cases become masks on disk and rows of scores; a case that is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from minivess.data.array_store import Store, StoredCase
from minivess.data.formats.nifti_file import write_alike
from minivess.evaluation.scoring import Scoring, ScoringJob, cases_at_a_time
from minivess.json_files import read_state, to_plain
from minivess.metrics.case import CaseMetrics


class CaseRow(BaseModel):
    """One case scored under one method: the sample of every statistic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    fold: int
    case: str
    metrics: CaseMetrics

    def flat(self) -> dict[str, Any]:
        """One level of keys, for a table."""
        return {"method": self.method, "fold": self.fold, "case": self.case, **to_plain(self.metrics)}


def evaluate_cases(
    folder: Path,
    store: Store,
    names: Sequence[str],
    predict: Callable[[StoredCase], np.ndarray],
    *,
    method: str,
    fold: int,
    tolerance_um: float,
    scoring_processes: int = 1,
    progress: Callable[[int, int], None],
) -> list[CaseRow]:
    """Predict and score cases, in order.

    Writes ``predictions/NAME.nii.gz`` (with the geometry of the image) and ``cases/NAME.json``; a case whose JSON stands is
    read back instead. Large cases are scored in processes beside the prediction of the next.

    Args:
        folder: The cell's folder.
        store: The data set.
        names: The held-out cases.
        predict: From a stored case to its mask (X, Y, Z).
        method: Name of the loss or baseline, for the rows.
        fold: Number of the fold, for the rows.
        tolerance_um: Tolerance of the normalised surface distance.
        scoring_processes: How many cases may be scored at a time.
        progress: Called with cases done and cases in all.
    """
    records = {name: folder / "cases" / f"{name}.json" for name in names}
    missing = [name for name in names if not records[name].is_file()]
    largest = max((store.stats(name).voxels for name in missing), default=0)
    with Scoring(cases_at_a_time(scoring_processes, largest, len(missing))) as scoring:
        for name in missing:
            progress(names.index(name), len(names))
            case = store.case(name)
            prediction = folder / "predictions" / f"{name}.nii.gz"
            write_alike(prediction, predict(case), Path(case.stats.image))
            scoring.add(
                ScoringJob(
                    prediction=prediction,
                    label=store.folder / f"{name}.label.npy",
                    prepared=store.folder / f"{name}.reference.npz",
                    spacing_um=case.stats.spacing_um,
                    tolerance_um=tolerance_um,
                    record=records[name],
                )
            )
    progress(len(names), len(names))
    return [CaseRow(method=method, fold=fold, case=name, metrics=_read_record(records[name])) for name in names]


def _read_record(path: Path) -> CaseMetrics:
    return read_state(path, CaseMetrics, "delete it; the same command scores the case again")
