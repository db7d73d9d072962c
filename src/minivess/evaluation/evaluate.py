"""Held-out cases become masks on disk and rows of scores; a case that is done is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from minivess.atomic import write_json
from minivess.data.nifti import read_header, write_volume
from minivess.data.store import Store, StoredCase
from minivess.metrics.case import CaseMetrics, score_case


class CaseRow(BaseModel):
    """One case scored under one method: the sample of every statistic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    fold: int
    case: str
    metrics: CaseMetrics

    def flat(self) -> dict[str, Any]:
        """One level of keys, for a table."""
        return {"method": self.method, "fold": self.fold, "case": self.case, **self.metrics.as_dict()}


def evaluate_cases(
    folder: Path,
    store: Store,
    names: Sequence[str],
    predict: Callable[[StoredCase], np.ndarray],
    *,
    method: str,
    fold: int,
    tolerance_um: float,
    progress: Callable[[int, int], None],
) -> list[CaseRow]:
    """Predict and score cases, in order.

    Writes ``predictions/NAME.nii.gz`` (with the geometry of the image) and ``cases/NAME.json``; a case whose JSON stands is
    read back instead.

    Args:
        folder: The cell's folder.
        store: The data set.
        names: The held-out cases.
        predict: From a stored case to its mask (X, Y, Z).
        method: Name of the loss or baseline, for the rows.
        fold: Number of the fold, for the rows.
        tolerance_um: Tolerance of the normalised surface distance.
        progress: Called with cases done and cases in all.
    """
    rows = []
    for number, name in enumerate(names):
        progress(number, len(names))
        record = folder / "cases" / f"{name}.json"
        if not record.is_file():
            _evaluate(folder, store.case(name), predict, tolerance_um, record)
        metrics = CaseMetrics.from_dict(json.loads(record.read_text(encoding="utf-8")))
        rows.append(CaseRow(method=method, fold=fold, case=name, metrics=metrics))
    progress(len(names), len(names))
    return rows


def _evaluate(
    folder: Path, case: StoredCase, predict: Callable[[StoredCase], np.ndarray], tolerance_um: float, record: Path
) -> None:
    stats = case.stats
    mask = predict(case)
    affine = np.asarray(read_header(Path(stats.image)).affine)
    write_volume(folder / "predictions" / f"{stats.name}.nii.gz", mask, spacing_um=stats.spacing_um, affine=affine)
    write_json(record, score_case(mask, case.label, stats.spacing_um, tolerance_um).as_dict())
