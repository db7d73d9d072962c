"""Tests of what may have changed when a run continues: its folds, its volumes and its code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivess.errors import ConfigError, DataError, RunError
from minivess.experiments.cell_spec import CellSpec, code_of_cell
from minivess.experiments.config_file import make_config
from minivess.experiments.dry_run import describe_dry_run
from minivess.experiments.prepare import Prepared, _not_started, prepare, saved_profile
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB

LOSS = "from minivess.losses.compound import dice_ce\ndef build():\n    return dice_ce()\n"


@pytest.fixture
def data(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


def _prepared(data: Path, *, accept: bool = False, **more: Any) -> Prepared:
    model = {"name": "example_custom", "filters": [4, 8, 8]}
    values = {"name": "one", "data_dir": data, "output_dir": data.parent, "losses": ["dice_ce"], "folds": 2}
    config = make_config({**values, "model": model, "evaluation": {"baselines": []}, **more}, "a test")
    return prepare(config, HardwareBudget.imagined(None, 16 * GIB), os.environ, accept_changed_code=accept)


def _start(prepared: Prepared) -> None:
    """Write what a run has written when its first cell starts."""
    folder, config, fold = prepared.folder, prepared.config, prepared.splits.folds[0]
    write_state(saved_profile(config), prepared.scanned)
    write_state(folder.profile, prepared.profile)
    write_state(folder.splits, prepared.splits)
    write_state(folder.plan, prepared.plan)
    folder.write_config(config)
    loss = config.losses[0]
    spec = CellSpec(
        method=loss, fold=0, train=fold.train, held_out=fold.held_out, store=Path("/store"), plan=prepared.plan,
        training=config.training, tolerance_um=2.0, loss_options={}, seed=0,
        code=code_of_cell(loss, prepared.plan.network),
    )  # fmt: skip
    write_state(folder.cell(loss, 0).spec, spec)


def _splits(data: Path, *held_out: list[str]) -> str:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data / "raw").iterdir())
    return json.dumps([{"train": [name for name in names if name not in out], "val": out} for out in held_out])


PAIRS = (["phantom01", "phantom02"], ["phantom03", "phantom04"])


class TestFolds:
    def test_a_splits_file_that_was_added_is_refused(self, data: Path) -> None:
        _start(_prepared(data))
        (data / "splits_final.json").write_text(_splits(data, ["phantom01"], ["phantom02"]))
        with pytest.raises(DataError, match=r"splits_final\.json"):
            _prepared(data)

    def test_a_splits_file_that_was_changed_is_refused(self, data: Path) -> None:
        (data / "splits_final.json").write_text(_splits(data, *PAIRS))
        _start(_prepared(data))
        (data / "splits_final.json").write_text(_splits(data, *reversed(PAIRS)))
        with pytest.raises(DataError, match=r"splits_final\.json"):
            _prepared(data)

    def test_the_folds_are_kept_if_the_file_is_removed(self, data: Path) -> None:
        (data / "splits_final.json").write_text(_splits(data, *PAIRS))
        started = _prepared(data)
        _start(started)
        (data / "splits_final.json").unlink()
        assert _prepared(data).splits == started.splits


class TestRepeats:
    def test_repeats_can_be_raised_and_lowered_while_no_later_one_has_started(self, data: Path) -> None:
        _start(_prepared(data, repeats=2))
        assert _prepared(data, repeats=3).config.repeats == 3
        assert _prepared(data).config.repeats == 1

    def test_fewer_repeats_than_were_started_are_refused_by_the_name_of_the_cell(self, data: Path) -> None:
        started = _prepared(data, repeats=3)
        _start(started)
        first = started.folder.cell("dice_ce", 0)
        third = first.read_spec().model_copy(update={"repeat": 3})
        write_state(started.folder.cell("dice_ce", 0, 3).spec, third)
        with pytest.raises(ConfigError, match="repeats: 3 or more") as caught:
            _prepared(data, repeats=2)
        assert "dice_ce-fold0-repeat3" in caught.value.got
        shutil.rmtree(started.folder.cell("dice_ce", 0, 3).path)
        assert _prepared(data, repeats=2).config.repeats == 2

    def test_disk_space_is_needed_only_for_repeats_that_have_not_started(self, data: Path) -> None:
        first = _prepared(data, repeats=3)
        assert _not_started(first.config, first.folder) == 3
        _start(first)
        assert _not_started(first.config, first.folder) == 2


class TestVolumes:
    def test_added_removed_and_changed_volumes_are_named(self, data: Path) -> None:
        _start(_prepared(data))
        for folder, tail in (("raw", ""), ("seg", "_y")):
            (data / folder / f"phantom01{tail}.nii.gz").rename(data / folder / f"new{tail}.nii.gz")
        with (data / "seg" / "phantom02_y.nii.gz").open("r+b") as label:
            label.seek(4)
            label.write(b"time")  # the time stamp inside gzip: another file with the same voxels
        with pytest.raises(DataError, match="added: new; removed: phantom01; changed: phantom02"):
            _prepared(data)

    def test_a_label_edited_with_size_and_time_kept_is_seen(self, data: Path) -> None:
        _start(_prepared(data))
        label = data / "seg" / "phantom02_y.nii.gz"
        before, content = label.stat(), bytearray(label.read_bytes())
        content[4:8] = b"\x01\x02\x03\x04"  # the time stamp inside gzip: another file with the same voxels
        label.write_bytes(content)
        os.utime(label, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert label.stat().st_mtime_ns == before.st_mtime_ns
        with pytest.raises(DataError, match="changed: phantom02"):
            _prepared(data)


class TestDryRun:
    def test_counts_only_the_cells_that_remain_and_names_a_loss_that_was_never_timed(self, data: Path) -> None:
        prepared = _prepared(data)
        times = prepared.plan.model_copy(update={"step_seconds": {"dice_ce": 1.0}})
        _start(replace(prepared, plan=times))
        whole = describe_dry_run(_prepared(data)).seconds
        prepared.folder.cell("dice_ce", 0).result.write_text("{}")
        planned = describe_dry_run(_prepared(data, losses=["dice_ce", "cbdice"]))
        assert [cell.finished for cell in planned.cells] == [True, False, False, False]
        assert planned.untimed == ("cbdice",)
        assert planned.seconds is not None
        assert whole is not None
        assert planned.seconds < 0.6 * whole


class TestCode:
    @pytest.fixture
    def loss(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
        monkeypatch.syspath_prepend(str(tmp_path))
        (tmp_path / "edited_loss.py").write_text(LOSS)
        return tmp_path / "edited_loss.py"

    def test_a_loss_edited_during_a_run_is_refused_or_accepted(self, data: Path, loss: Path) -> None:
        losses = ["edited_loss:build"]
        _start(_prepared(data, losses=losses))
        _prepared(data, losses=losses)
        loss.write_text(LOSS + "# edited\n")
        with pytest.raises(RunError, match=r"edited_loss:build.*--accept-changed-code"):
            _prepared(data, losses=losses)
        _prepared(data, losses=losses, accept=True)

    def test_a_finished_run_is_not_refused(self, data: Path, loss: Path) -> None:
        losses = ["edited_loss:build"]
        prepared = _prepared(data, losses=losses)
        _start(prepared)
        for fold in (0, 1):
            cell = prepared.folder.cell(losses[0], fold)
            cell.path.mkdir(parents=True, exist_ok=True)
            cell.result.write_text("{}")
        loss.write_text(LOSS + "# edited\n")
        _prepared(data, losses=losses)

    @pytest.mark.slow
    def test_two_losses_under_one_name_are_refused_and_the_report_says_if_they_were_accepted(
        self, data: Path, loss: Path
    ) -> None:
        """One fold trains, the loss is edited, and the other fold trains: with real processes."""
        (data.parent / "one.yaml").write_text(
            "name: one\nlosses: ['edited_loss:build']\nfolds: 2\nmodel: {name: example_custom, filters: [4, 8, 8]}\n"
            "training: {max_epochs: 1, steps_per_epoch: 2, validate_every: 0}\nevaluation: {baselines: []}\n"
            "dry_start: false\ntracking_uri: none\n"
        )
        assert self._run(data, "--only", "fold=0").returncode == 0
        loss.write_text(LOSS.replace("dice_ce()", "dice_ce() # another"))
        refused = self._run(data)
        assert (refused.returncode, "edited_loss:build" in refused.stderr) == (RunError.exit_code, True)
        accepted = self._run(data, "--accept-changed-code")
        assert accepted.returncode == 0, accepted.stderr
        folder = RunFolder(data.parent / "one")
        (note,) = json.loads(folder.comparison.read_text())["notes"][-1:]
        assert "edited_loss:build" in note
        assert note[:20] in folder.report.read_text()

    @staticmethod
    def _run(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
        place = ["--config", str(data.parent / "one.yaml"), "--data-dir", str(data), "--output-dir", str(data.parent)]
        command = [sys.executable, "-m", "minivess.cli.main", "run", *place, *options]
        env = {**os.environ, "PREFECT_DISABLED": "1", "COLUMNS": "500"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=300)
