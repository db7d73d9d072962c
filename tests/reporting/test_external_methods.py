"""Tests of masks of other tools as a method of a run: scores, tables, figures, MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from tests.reporting.conftest import write_data

from minivess.cli.main import cli
from minivess.data.array_store import build_store
from minivess.data.profiler import scan_dataset
from minivess.errors import ConfigError, DataError
from minivess.experiments.best_model import find_best_model
from minivess.experiments.cell_key import CellKey
from minivess.experiments.results import compare_runs, write_results
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.score_masks import score_masks
from minivess.experiments.unseen import UnseenScores, UnseenSpec
from minivess.json_files import write_state
from minivess.publishing.sync_run import sync_run
from minivess.reporting.html import write_report
from minivess.reporting.overlays import make_overlays
from minivess.reporting.run_data import read_run_data
from minivess.reporting.tables import csv_table, latex_table, markdown_table
from minivess.tracking.client import open_client
from minivess.tracking.uris import sqlite_uri


@pytest.fixture
def masks(finished: RunFolder, tmp_path: Path) -> Path:
    """Perfect masks: copies of the labels, under the names of the cases."""
    folder = tmp_path / "elsewhere" / "masks"
    folder.mkdir(parents=True)
    for volume in finished.read_profile().volumes:
        shutil.copy(str(volume.label), folder / f"{volume.name}.nii.gz")
    return folder


@pytest.fixture
def run(copied: Callable[[], RunFolder]) -> RunFolder:
    return copied()


def _files(folder: RunFolder) -> list[Path]:
    return sorted(path for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock")


class TestScores:
    def test_a_row_has_the_fold_that_holds_its_case_out(self, run: RunFolder, masks: Path) -> None:
        record = score_masks(run, "nnunet", [str(masks)]).record
        folds = {row.case: row.fold for row in run.read_rows() if row.method == "dice_ce"}
        assert {row.case: row.fold for row in record.rows} == folds
        assert [row.metrics.dsc for row in record.rows] == [1.0] * 5
        assert (record.source, record.files["a1"]) == ("elsewhere/masks", "a1.nii.gz")

    def test_the_same_masks_again_change_nothing(self, run: RunFolder, masks: Path) -> None:
        first = score_masks(run, "nnunet", [str(masks)])
        before = [(path, path.stat().st_mtime_ns) for path in _files(run)]
        again = score_masks(run, "nnunet", [str(masks)])
        assert (first.is_new, again.is_new, again.record) == (True, False, first.record)
        assert [(path, path.stat().st_mtime_ns) for path in _files(run)] == before

    def test_other_masks_need_replace_and_leave_nothing_of_the_old_ones(self, run: RunFolder, masks: Path) -> None:
        old = score_masks(run, "nnunet", [str(masks)]).record
        image = nib.load(masks / "a1.nii.gz")
        nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), None, image.header), masks / "a1.nii.gz")
        with pytest.raises(ConfigError, match="--replace"):
            score_masks(run, "nnunet", [str(masks)])
        assert run.external("nnunet").read() == old
        new = score_masks(run, "nnunet", [str(masks)], replace=True).record
        assert {row.case: row.metrics.empty for row in new.rows}["a1"] == "prediction"
        assert {path.name for path in run.external("nnunet").path.iterdir()} == {"record.json", new.masks}

    @pytest.mark.parametrize("name", ["dice_ce", "warp", "scnp_dice_ce", "frangi", "a/b", ".x", "", "x" * 61])
    def test_a_name_that_is_taken_or_unusable_is_refused(self, name: str, run: RunFolder, masks: Path) -> None:
        before = _files(run)
        with pytest.raises(ConfigError):
            score_masks(run, name, [str(masks)])
        assert _files(run) == before

    @pytest.mark.parametrize("fault", ["missing", "values"])
    def test_nothing_is_written_if_a_mask_is_wrong(self, fault: str, run: RunFolder, masks: Path) -> None:
        before = _files(run)
        if fault == "missing":
            (masks / "a5.nii.gz").unlink()
        else:
            image = nib.load(masks / "a5.nii.gz")
            nib.save(nib.Nifti1Image(2 * np.asarray(image.dataobj), None, image.header), masks / "a5.nii.gz")
        with pytest.raises(DataError, match="a5"):
            score_masks(run, "nnunet", [str(masks)])
        assert _files(run) == before

    def test_a_killed_scoring_leaves_no_method_and_is_continued(
        self, run: RunFolder, masks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(path: Path, value: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("minivess.experiments.score_masks.write_state", killed)
        with pytest.raises(KeyboardInterrupt):
            score_masks(run, "nnunet", [str(masks)])
        monkeypatch.undo()
        assert run.read_external() == []
        written = {path: path.stat().st_mtime_ns for path in run.path.glob("external/nnunet/*/cases/*.json")}
        assert len(written) == 5
        score_masks(run, "nnunet", [str(masks)])
        assert {path: path.stat().st_mtime_ns for path in written} == written

    def test_labels_that_changed_since_the_run_are_refused(
        self, new_run: Callable[..., RunFolder], masks: Path
    ) -> None:
        run = new_run()
        shutil.rmtree(run.path.parent / "store")
        data = Path(run.read_profile().folder)
        shutil.copy(data / "seg" / "a1_y.nii.gz", data / "seg" / "a2_y.nii.gz")
        with pytest.raises(DataError, match="a2"):
            score_masks(run, "nnunet", [str(masks)])


class TestResults:
    def test_the_method_is_tested_against_every_loss_and_marked(self, run: RunFolder, masks: Path) -> None:
        record = score_masks(run, "nnunet", [str(masks)], trained_on="folds").record
        found = write_results(run)
        pairs = {frozenset((pair.first, pair.second)) for pair in found.metric("dsc").pairs}
        assert {frozenset(("nnunet", "dice_ce")), frozenset(("nnunet", "cbdice"))} <= pairs
        assert (found.elsewhere, found.baselines) == (("nnunet",), ("threshold",))
        assert record.fairness in found.notes
        assert "| nnunet (trained elsewhere) |" in markdown_table(found)
        assert "nnunet (trained elsewhere) &" in latex_table(found)
        lines = csv_table(found).splitlines()
        assert {line.split(",")[0] for line in lines if line.endswith(",True")} == {"nnunet"}

    def test_the_method_is_marked_in_a_comparison_of_runs(
        self, run: RunFolder, finished: RunFolder, masks: Path
    ) -> None:
        score_masks(run, "nnunet", [str(masks)])
        assert compare_runs([run, finished]).elsewhere == ("copy/nnunet",)

    def test_it_is_never_the_model_to_register(self, run: RunFolder, masks: Path) -> None:
        before = find_best_model(run)
        score_masks(run, "nnunet", [str(masks)])
        best = find_best_model(run)
        assert write_results(run).metric("dsc").best == "nnunet"
        assert best == before
        assert best is not None
        assert best.loss in ("dice_ce", "cbdice")

    def test_its_masks_are_drawn_and_it_is_in_the_report(self, run: RunFolder, masks: Path) -> None:
        score_masks(run, "nnunet", [str(masks)])
        write_results(run)
        shown, notes = make_overlays(read_run_data(run))
        assert notes == []
        assert [overlay.rank for overlay in shown["nnunet"]] == ["worst", "median", "best"]
        page = write_report(run).read_text()
        assert "trained elsewhere" in page
        assert "its scores are too good" in page

    def test_the_results_without_it_are_those_before(self, run: RunFolder, masks: Path) -> None:
        before = write_results(run)
        score_masks(run, "nnunet", [str(masks)])
        assert write_results(run) != before
        shutil.rmtree(run.external("nnunet").path)
        assert write_results(run) == before

    def test_mlflow_has_a_run_for_each_fold_of_it(self, run: RunFolder, masks: Path, tmp_path: Path) -> None:
        record = score_masks(run, "nnunet", [str(masks)]).record
        uri = sqlite_uri(tmp_path / "mlflow.db")
        client, sent = open_client(uri), sync_run(run, uri)
        logged = client.get_run(sent.cell_run_ids["nnunet-fold1"]).data
        assert (logged.metrics["dsc"], logged.tags["trained_elsewhere"]) == (1.0, "unknown")
        assert record.fairness in logged.tags["note"]


class TestCommand:
    def test_json_of_the_command(self, run: RunFolder, masks: Path) -> None:
        command = ["score", str(masks), "--run", str(run.path), "--name", "nnunet", "--json"]
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert (found["new"], found["cases"], found["means"]["dsc"]) == (True, 5, 1.0)
        assert Path(found["report"]) == run.report
        assert not json.loads(CliRunner().invoke(cli, command).stdout)["new"]


class TestTestSet:
    @pytest.fixture
    def tested(self, run: RunFolder, tmp_path: Path) -> RunFolder:
        """The run with a test set of two cases, t1 and t2, that its registered network was scored on."""
        write_data(tmp_path / "extra", ("t1", "t2"))
        store = build_store(scan_dataset(tmp_path / "extra", voxels=True), tmp_path / "extra-store")
        write_state(run.splits, run.read_splits().model_copy(update={"test": ("t1", "t2")}))
        spec = UnseenSpec(
            key=CellKey("dice_ce", 0), weights=tmp_path, weights_digest="", store=store.folder, names=("t1", "t2"),
            groups={}, plan=run.read_plan(), tolerance_um=2.0,
        )  # fmt: skip
        write_state(run.unseen("dice_ce-fold0").spec, spec)
        write_state(
            run.test_scores, UnseenScores(cell="dice_ce-fold0", content_hash="", rows=tuple(run.read_rows()[:1]))
        )
        return run

    def test_masks_of_test_cases_are_scored_apart(self, tested: RunFolder, masks: Path, tmp_path: Path) -> None:
        for name in ("t1", "t2"):
            shutil.copy(tmp_path / "extra" / "seg" / f"{name}_y.nii.gz", masks)
        record = score_masks(tested, "nnunet", [str(masks)]).record
        assert [(row.case, row.metrics.dsc) for row in record.test_rows] == [("t1", 1.0), ("t2", 1.0)]
        assert not {"t1", "t2"} & {row.case for row in tested.read_rows()}
        write_results(tested)
        assert "nnunet <small>trained elsewhere</small>: mean" in write_report(tested).read_text()

    def test_masks_of_test_cases_may_be_added_later(self, tested: RunFolder, masks: Path, tmp_path: Path) -> None:
        first = score_masks(tested, "nnunet", [str(masks)]).record
        for name in ("t1", "t2"):
            shutil.copy(tmp_path / "extra" / "seg" / f"{name}_y.nii.gz", masks)
        grown = score_masks(tested, "nnunet", [str(masks)])
        assert (grown.is_new, grown.record.rows) == (True, first.rows)
        assert [row.case for row in grown.record.test_rows] == ["t1", "t2"]

    def test_they_may_all_be_missing_but_not_some(self, tested: RunFolder, masks: Path, tmp_path: Path) -> None:
        assert score_masks(tested, "nnunet", [str(masks)]).record.test_rows == ()
        shutil.copy(tmp_path / "extra" / "seg" / "t1_y.nii.gz", masks)
        with pytest.raises(DataError, match="t2"):
            score_masks(tested, "nnunet", [str(masks)], replace=True)

    def test_a_test_set_that_the_run_has_not_scored_is_left_alone(
        self, tested: RunFolder, masks: Path, tmp_path: Path
    ) -> None:
        tested.test_scores.unlink()
        (masks / "t1.nii.gz").write_bytes(b"not read")
        assert score_masks(tested, "nnunet", [str(masks)]).record.test_rows == ()
