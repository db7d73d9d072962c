"""Prediction and scoring of held-out cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from minivess.data.array_store import Store, StoredCase
from minivess.data.formats.nifti import read_header, read_volume
from minivess.digests import seal, unseal
from minivess.evaluation.evaluate import CaseRow, evaluate_cases

NAMES = ("phantom01", "phantom02")


def _evaluate(folder: Path, store: Store, asked: list[str]) -> list[CaseRow]:
    def perfect(case: StoredCase) -> np.ndarray:
        asked.append(case.stats.name)
        return np.array(case.label)

    options = {"method": "perfect", "fold": 1, "tolerance_um": 2.0, "progress": lambda done, total: None}
    return evaluate_cases(folder, store, NAMES, perfect, **options)


class TestEvaluateCases:
    def test_scores_at_native_shape_and_writes_the_mask(self, store: Store, phantoms: Path, tmp_path: Path) -> None:
        rows = _evaluate(tmp_path, store, [])
        assert [(row.case, row.fold, row.metrics.dsc, row.metrics.measured_masd) for row in rows] == [
            ("phantom01", 1, 1.0, 0.0),
            ("phantom02", 1, 1.0, 0.0),
        ]
        assert read_volume(tmp_path / "predictions/phantom01.nii.gz").shape == (96, 96, 5)
        affines = []
        for name in NAMES:
            affines.append(read_header(tmp_path / f"predictions/{name}.nii.gz").affine)
            assert affines[-1] == read_header(phantoms / f"raw/{name}.nii.gz").affine
        assert affines[0] != affines[1]

    def test_a_scored_case_is_not_predicted_again(self, store: Store, tmp_path: Path) -> None:
        asked: list[str] = []
        first = _evaluate(tmp_path, store, asked)
        (tmp_path / "cases/phantom02.json").unlink()
        assert _evaluate(tmp_path, store, asked) == first
        assert asked == ["phantom01", "phantom02", "phantom02"]

    def test_a_saved_mask_that_an_older_version_scored_is_scored_again(self, store: Store, tmp_path: Path) -> None:
        asked: list[str] = []
        first = _evaluate(tmp_path, store, asked)
        record = tmp_path / "cases/phantom02.json"
        older = {name: value for name, value in json.loads(unseal(record.read_text())).items() if name != "cldice"}
        record.write_text(seal(json.dumps(older)))
        assert _evaluate(tmp_path, store, asked) == first
        assert asked == ["phantom01", "phantom02"]
