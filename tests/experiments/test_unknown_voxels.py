"""Runs on labels of which every third slice is known: with the key, and with nnU-Net's label named ignore."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from tests.experiments.test_run import Bench, _wait_for

from minivess.data.formats.nifti import read_header, read_volume, write_volume
from minivess.errors import ConfigError, DataError
from minivess.experiments.config_file import make_config
from minivess.experiments.design import with_unknown_of_the_data
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.score_masks import score_masks
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB

KEY = "data: {ignore_value: 255}\n"


@pytest.fixture(scope="module")
def study(tiny_study: str) -> str:
    """A single split, because this is about one network."""
    return tiny_study.replace("folds: 2", "folds: 1")


def _hide(path: Path, into: Path, value: int) -> None:
    label = read_volume(path)
    label[:, :, np.arange(label.shape[2]) % 3 != 1] = value
    write_volume(into, label, spacing_um=read_header(path).spacing_um)


@pytest.fixture(scope="module")
def sparse(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms with 255 in the slices that are not known."""
    folder = tmp_path_factory.mktemp("sparse")
    shutil.copytree(phantoms / "raw", folder / "raw")
    for path in (phantoms / "seg").iterdir():
        _hide(path, folder / "seg" / path.name, 255)
    return folder


@pytest.fixture(scope="module")
def nnunet(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in the layout of nnU-Net, with the label ignore: 2."""
    folder = tmp_path_factory.mktemp("nnunet")
    for path in (phantoms / "raw").iterdir():
        name = path.name.removesuffix(".nii.gz")
        (folder / "imagesTr").mkdir(exist_ok=True)
        shutil.copy(path, folder / "imagesTr" / f"{name}_0000.nii.gz")
        _hide(phantoms / "seg" / f"{name}_y.nii.gz", folder / "labelsTr" / f"{name}.nii.gz", 2)
    labels = {"background": 0, "vessel": 1, "ignore": 2}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "numTraining": 4}))
    return folder


@pytest.fixture(scope="module")
def complete_run(nnunet: Path, study: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("complete"), nnunet, study)
    code, _, err = bench.finish()
    assert code == 0, err
    return bench


class TestRun:
    @pytest.mark.slow
    def test_a_killed_run_with_the_key_ends_like_one_on_the_data_of_nnunet(
        self, complete_run: Bench, sparse: Path, study: str, tmp_path: Path
    ) -> None:
        bench = Bench(tmp_path, sparse, study + KEY)
        process = bench.start()
        cell = bench.cell("dice_ce-fold0")
        _wait_for(lambda: len(cell.read_journal()) >= 1 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not cell.finished
        code, _, err = bench.finish()
        assert code == 0, err
        assert "resumes after step" in (cell.path / "log.txt").read_text()
        theirs = complete_run.cell("dice_ce-fold0")
        assert (cell.weights / "network.safetensors").read_bytes() == (
            theirs.weights / "network.safetensors"
        ).read_bytes()
        assert bench.run.read_rows() == complete_run.run.read_rows()

    def test_the_value_of_nnunet_is_in_the_configuration_of_the_run(self, complete_run: Bench) -> None:
        assert complete_run.run.read_config().data.ignore_value == 2
        assert complete_run.run.read_profile().ignore_value == 2

    def test_only_known_voxels_are_scored(self, complete_run: Bench) -> None:
        for row in complete_run.run.read_rows():
            (mask,) = complete_run.run.path.glob(f"cells/{row.method}-fold*/predictions/{row.case}.nii.gz")
            predicted = read_volume(mask)
            known = np.arange(predicted.shape[2]) % 3 == 1
            assert row.metrics.foreground_voxels == np.count_nonzero(predicted[:, :, known])

    def test_the_score_during_training_is_that_of_the_known_voxels(self, complete_run: Bench) -> None:
        cell = complete_run.cell("dice_ce-fold0")
        last = cell.read_journal()[-1]
        rows = {(row.method, row.case): row for row in complete_run.run.read_rows()}
        assert last["dsc"] == pytest.approx(rows["dice_ce", last["case"]].metrics.dsc)

    def test_another_value_is_refused(self, complete_run: Bench) -> None:
        code, _, err = complete_run.finish("--set", "data.ignore_value=3")
        assert code != 0
        assert "remove the key data.ignore_value" in " ".join(err.split())

    def test_masks_of_another_tool_are_scored_on_the_known_voxels(self, complete_run: Bench, phantoms: Path) -> None:
        """The complete label: all that is known is right, and its other voxels count nowhere."""
        record = score_masks(complete_run.run, "complete", [str(phantoms / "seg")]).record
        assert {row.metrics.cldice for row in record.rows} == {row.metrics.dsc for row in record.rows} == {1.0}
        assert all(row.metrics.foreground_voxels == row.metrics.reference_voxels > 0 for row in record.rows)


class TestResume:
    def prepared(self, folder: Path, output: Path, **more: object) -> Prepared:
        values = {"name": "one", "data_dir": folder, "output_dir": output, "losses": ["dice_ce"], "folds": 2, **more}
        config = make_config({**values, "model": {"name": "example_custom", "filters": [4, 8, 8]}}, "a test")
        return prepare(config, HardwareBudget.imagined(None, 16 * GIB), os.environ)

    @pytest.mark.parametrize("other", [{"ignore_value": 7}, {}])
    def test_a_run_with_another_value_is_refused(self, sparse: Path, tmp_path: Path, other: dict[str, int]) -> None:
        started = self.prepared(sparse, tmp_path, data={"ignore_value": 255})
        started.folder.path.mkdir()
        started.folder.write_config(started.config)
        with pytest.raises(ConfigError, match=r"data\.ignore_value: 255 then"):
            self.prepared(sparse, tmp_path, data=other)

    def test_without_the_key_the_labels_are_refused_and_the_key_is_named(self, sparse: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"set data\.ignore_value to 255"):
            self.prepared(sparse, tmp_path)

    def test_a_run_that_was_started_before_nnunets_label_was_read_stays_valid(
        self, nnunet: Path, tmp_path: Path
    ) -> None:
        config = make_config(
            {"name": "one", "data_dir": nnunet, "output_dir": tmp_path, "losses": ["dice_ce"]}, "a test"
        )
        assert with_unknown_of_the_data(config).data.ignore_value == 2
        (tmp_path / "one").mkdir()
        RunFolder(tmp_path / "one").write_config(config)
        assert with_unknown_of_the_data(config).data.ignore_value is None


class TestKey:
    @pytest.mark.parametrize("value", [0, -40_000, True, 1.5, "text"])
    def test_a_value_that_is_no_label_is_refused(self, value: object) -> None:
        with pytest.raises(ConfigError, match="ignore_value"):
            make_config({"name": "a", "losses": ["dice_ce"], "data": {"ignore_value": value}}, "a test")
