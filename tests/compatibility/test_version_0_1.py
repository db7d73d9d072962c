"""A run folder, its weights, its checkpoint and its registered model, written by version 0.1, are still usable."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.data.formats.nifti import read_volume
from minivess.errors import DataError
from minivess.experiments.load_run import load_run
from minivess.experiments.run_folder import RunFolder
from minivess.inference.predict_file import predict_file
from minivess.training.checkpoint import CheckpointManager

CELL = "dice_ce_cldice-fold1"


class TestRunFolder:
    def test_every_file_is_read(self, version_0_1: Path) -> None:
        folder = RunFolder(version_0_1 / "runs/demo")
        assert folder.read_preflight().ok
        assert len(folder.read_splits().folds) == 2
        assert {cell.read_retry(cell.read_spec()).micro_batch for cell in folder.cells()} == {2}
        run = load_run(folder.path)
        assert run.config.losses == ("dice_ce", "dice_ce_cldice")
        assert len(run.cases) == 3 * 4  # two losses and the threshold on four cases
        assert set(run.cells["status"]) == {"finished"}
        assert run.epochs.groupby(["method", "fold"]).size().to_list() == [4, 4, 4, 4]

    def test_the_comparison_has_the_same_means(self, version_0_1: Path) -> None:
        before = (version_0_1 / "runs/demo/results/comparison.csv").read_text().splitlines()
        done = CliRunner().invoke(cli, ["compare", str(version_0_1 / "runs/demo"), "--format", "csv"])
        assert done.exit_code == 0, done.output
        means = [[line.split(",")[:9] for line in lines] for lines in (done.output.splitlines(), before)]
        assert means[0] == means[1]

    def test_reports(self, version_0_1: Path) -> None:
        done = CliRunner().invoke(cli, ["report", str(version_0_1 / "runs/demo")])
        assert done.exit_code == 0, done.output
        page = (version_0_1 / "runs/demo/report.html").read_text()
        assert "dice_ce_cldice" in page
        assert "phantom03" in page
        assert "clDice (Lee skeleton) ↑" in page
        assert "clDice ↑" not in page

    def test_cldice_on_complete_centrelines_is_missing_by_name(self, version_0_1: Path) -> None:
        run = str(version_0_1 / "runs/demo")
        done = CliRunner().invoke(cli, ["compare", run, "--metric", "clDice"])
        assert isinstance(done.exception, DataError)
        assert "cldice" in done.exception.expected
        assert CliRunner().invoke(cli, ["compare", run, "--metric", "centreline_dsc"]).exit_code == 0

    def test_a_checkpoint_is_restored(self, version_0_1: Path) -> None:
        restored = CheckpointManager(version_0_1 / "runs/demo/cells/dice_ce-fold0/checkpoints").restore()
        assert restored is not None
        assert restored[1]["step"] == 40


class TestWeights:
    def test_predict_the_same_bits(self, version_0_1: Path, tmp_path: Path) -> None:
        weights = version_0_1 / "runs/demo/cells" / CELL / "weights"
        mask = predict_file(weights, version_0_1 / "my_data/raw/phantom03.nii.gz", tmp_path, overlap=0.5)
        expected = read_volume(version_0_1 / "expected/phantom03_y.nii.gz")
        assert expected.any()
        np.testing.assert_array_equal(read_volume(mask), expected)


@pytest.mark.filterwarnings("ignore")  # MLflow and SQLAlchemy warn about themselves when they are imported
class TestRegisteredModel:
    def test_predicts_the_same_bits(self, version_0_1: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        monkeypatch.chdir(version_0_1)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it too; this restores it for later tests
        mlflow.set_tracking_uri(f"sqlite:///{version_0_1 / 'runs/mlflow.db'}")
        model = mlflow.pyfunc.load_model("models:/demo@staging")
        mask = model.predict({"path": str(version_0_1 / "my_data/raw/phantom01.nii.gz")})
        expected = np.load(version_0_1 / "expected/registered_phantom01.npy")
        assert expected.any()
        np.testing.assert_array_equal(mask, expected)
