"""Scoring of masks while the next case is predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.label_values import UNKNOWN
from minivess.evaluation.scoring import Scoring, ScoringJob, cases_at_a_time
from minivess.json_files import read_state
from minivess.metrics.case import CaseMetrics, score_case


def _jobs(folder: Path, count: int) -> list[ScoringJob]:
    """Return jobs with a rod as label; in the prediction of job ``k`` its first ``k`` slices are missing."""
    jobs = []
    for k in range(count):
        label = np.zeros((24, 8, 6), np.uint8)
        label[2:22, 3:5, 2:4] = 1
        mask = label.copy()
        mask[2 : 2 + k] = 0
        np.save(folder / f"c{k}.label.npy", label)
        write_volume(folder / f"c{k}.nii.gz", mask, spacing_um=(1.0, 1.0, 5.0))
        paths = {
            "prediction": folder / f"c{k}.nii.gz",
            "label": folder / f"c{k}.label.npy",
            "prepared": folder / f"c{k}.reference.npz",
            "record": folder / f"c{k}.json",
        }
        jobs.append(ScoringJob(spacing_um=(1.0, 1.0, 5.0), tolerance_um=2.0, **paths))
    return jobs


class TestScoring:
    @pytest.mark.parametrize("processes", [1, 2])
    def test_every_case_is_scored_with_and_without_processes(self, tmp_path: Path, processes: int) -> None:
        with Scoring(processes) as scoring:
            for job in _jobs(tmp_path, 3):
                scoring.add(job)
        dscs = [json.loads((tmp_path / f"c{k}.json").read_text())["dsc"] for k in range(3)]
        assert dscs == pytest.approx([1.0, 2 * 19 / 39, 2 * 18 / 38])

    def test_the_label_is_prepared_once_and_again_if_its_file_is_damaged(self, tmp_path: Path) -> None:
        (job,) = _jobs(tmp_path, 1)
        job.run()
        scores = job.record.read_bytes()
        kept = job.prepared.stat().st_mtime_ns
        job.run()
        assert (job.record.read_bytes(), job.prepared.stat().st_mtime_ns) == (scores, kept)
        job.prepared.write_bytes(b"PK torn")
        job.run()
        assert job.record.read_bytes() == scores
        assert np.load(job.prepared)["voxels"] == 20 * 2 * 2

    def test_a_label_prepared_by_an_older_version_or_with_another_spacing_is_prepared_again(
        self, tmp_path: Path
    ) -> None:
        (job,) = _jobs(tmp_path, 1)
        job.run()
        scores = job.record.read_bytes()
        with np.load(job.prepared) as arrays:
            older = {name: arrays[name] for name in ("voxels", "line", "edge", "betti")}
        np.savez(job.prepared, **older)
        job.run()
        assert job.record.read_bytes() == scores
        job.model_copy(update={"spacing_um": (1.0, 1.0, 3.0)}).run()
        assert np.load(job.prepared)["spacing"].tolist() == [1, 1, 3]

    def test_scores_have_the_spacing_and_the_tolerance_of_the_job(self, tmp_path: Path) -> None:
        """The second time, the label is prepared already."""
        job = _jobs(tmp_path, 1)[0].model_copy(update={"tolerance_um": 1.5})
        shallow = np.load(job.label)
        shallow[:, :, 3] = 0
        write_volume(job.prediction, shallow, spacing_um=(1.0, 1.0, 5.0))
        expected = score_case(read_volume(job.prediction), np.load(job.label), (1.0, 1.0, 5.0), 1.5)
        for _ in range(2):
            job.run()
            assert read_state(job.record, CaseMetrics, "") == expected
        assert expected.measured_masd > expected.measured_masd_voxel
        assert expected.normalised_surface_distance < 1

    def test_an_error_names_the_case_that_cannot_be_scored(self, tmp_path: Path) -> None:
        (job,) = _jobs(tmp_path, 1)
        job.label.unlink()
        with pytest.raises(RuntimeError, match="c0"), Scoring(2) as scoring:
            scoring.add(job)


class TestChooseProcesses:
    def test_small_cases_and_a_single_case_need_one_process(self) -> None:
        assert cases_at_a_time(4, 1000, 50) == 1
        assert cases_at_a_time(4, 30_000_000, 1) == 1

    def test_at_most_the_planned_number_of_processes(self) -> None:
        assert cases_at_a_time(2, 30_000_000, 50) == 2

    def test_unknown_voxels_of_the_label_count_only_if_the_job_says_so(self, tmp_path: Path) -> None:
        (job,) = _jobs(tmp_path, 1)
        label = np.load(job.label)
        label[2:12] = UNKNOWN
        np.save(job.label, label)
        job = job.model_copy(update={"has_unknown": True})
        for _ in range(2):  # the second time with what was prepared
            job.run()
            scores = read_state(job.record, CaseMetrics, "")
            assert (scores.foreground_voxels, scores.reference_voxels, scores.dsc) == (40, 40, 1.0)
            expected = score_case(read_volume(job.prediction), label.astype(int), (1, 1, 5), ignore_value=UNKNOWN)
            assert scores == expected
