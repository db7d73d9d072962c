"""`minivess predict` with a run folder: the ensemble, and files, folders and patterns as volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.publishing.conftest import Desk

from minivess.cli.main import cli
from minivess.data.formats.nifti import read_volume, write_volume
from minivess.digests import unseal
from minivess.errors import DataError, MinivessError
from minivess.experiments.best_model import find_best_model
from minivess.experiments.final_model import find_model
from minivess.experiments.run_folder import RunFolder


@pytest.fixture
def run(private: Desk) -> RunFolder:
    return private.run("one", dice_ce=0.6, cbdice=0.7)


def predict(model: Path, out: Path, *volumes: str) -> tuple[int, str]:
    found = CliRunner().invoke(cli, ["predict", str(model), *volumes, "-o", str(out), "--probabilities", "--force"])
    if isinstance(found.exception, MinivessError):
        return found.exception.exit_code, str(found.exception)
    return found.exit_code, found.output


def test_a_run_is_the_mean_of_the_networks_of_its_best_loss(run: RunFolder, tmp_path: Path) -> None:
    image = tmp_path / "small.nii.gz"  # one window, so that the mean within windows is the mean of the results
    write_volume(image, np.random.default_rng(0).integers(0, 255, (16, 16, 4), np.uint8), spacing_um=(1.0, 1.0, 5.0))
    for name, model in (("all", run.path), ("0", run.cell("cbdice", 0).path), ("1", run.cell("cbdice", 1).path)):
        assert predict(model, tmp_path / name, str(image))[0] == 0
    found, first, second = (read_volume(next((tmp_path / name).iterdir())) for name in ("all", "0", "1"))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(found, (first + second) / 2, atol=1e-6)


def test_folders_and_patterns_name_volumes(run: RunFolder, tmp_path: Path) -> None:
    raw = Path(run.read_profile().volumes[0].image).parent
    names = sorted(path.name for path in raw.iterdir())
    assert predict(run.path, tmp_path / "a", str(raw))[0] == 0
    assert predict(run.path, tmp_path / "b", str(raw / "*.nii.gz"), str(raw / names[0]))[0] == 0
    assert len(list((tmp_path / "a").iterdir())) == len(list((tmp_path / "b").iterdir())) == len(names)
    for given, words in ((raw / "x*.nii", "nothing at"), (tmp_path, "a folder with NIfTI files")):
        code, text = predict(run.path, tmp_path / "c", str(given))
        assert (code, words in text) == (3, True)


def test_the_choice_of_now_counts_and_not_the_folder_of_before(run: RunFolder) -> None:
    assert find_model(run.path) == run.model
    run.write_config(run.read_config().model_copy(update={"final": "none"}))
    assert find_model(run.path) == run.cell("cbdice", 0).weights


def test_a_run_without_the_key_final_keeps_one_network(run: RunFolder) -> None:
    run.write_config(run.read_config())
    lines = unseal(run.config.read_text()).splitlines(keepends=True)
    assert "final: ensemble\n" in lines
    run.config.write_text("".join(line for line in lines if not line.startswith("final:")))
    found = find_best_model(run)
    assert found is not None
    assert (found.name, len(found.members)) == ("cbdice-fold0", 1)
    assert find_model(run.path) == run.cell("cbdice", 0).weights


def test_a_run_without_a_finished_loss_has_no_model(run: RunFolder) -> None:
    for path in run.path.glob("cells/*/result.json"):
        path.unlink()
    with pytest.raises(DataError, match="finish the run first"):
        find_model(run.path)
