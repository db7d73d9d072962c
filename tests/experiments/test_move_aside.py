"""Tests of --fresh, which moves an old run aside and deletes nothing, and of --only."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from minivess.cli.main import cli
from minivess.errors import ConfigError, DataError, MinivessError, RunError
from minivess.experiments.move_aside import describe, move_aside
from minivess.experiments.run_folder import RunFolder
from minivess.locks import hold
from minivess.orchestration import runners

NOW = datetime(2026, 1, 2, 3, 4, 5)


@pytest.fixture
def old(tmp_path: Path) -> RunFolder:
    """A run with two cells, one of them finished."""
    folder = RunFolder(tmp_path / "runs" / "one")
    for fold in (0, 1):
        cell = folder.cell("dice_ce", fold)
        cell.path.mkdir(parents=True)
        cell.spec.write_text("{}")
        cell.journal.write_text('{"epoch": 1}\n')
    folder.cell("dice_ce", 0).result.write_text("{}")
    return folder


class TestDescribe:
    def test_names_every_cell(self, old: RunFolder) -> None:
        assert describe(old) == [
            f"{old.path}: 2 cells, 0 MB",
            "  dice_ce-fold0: finished, 1 epochs",
            "  dice_ce-fold1: started, 1 epochs",
        ]

    def test_missing_run_gives_no_lines(self, tmp_path: Path) -> None:
        assert describe(RunFolder(tmp_path / "none")) == []


class TestMoveAside:
    def test_keeps_all_files_under_a_name_with_the_time(self, old: RunFolder) -> None:
        aside = move_aside(old, NOW)
        assert aside == old.path.with_name("one.old-20260102T030405")
        assert RunFolder(aside).cell("dice_ce", 0).finished
        assert not old.path.exists()

    def test_run_or_cell_in_use_is_not_moved(self, old: RunFolder) -> None:
        for lock in (old.path / ".lock", old.cell("dice_ce", 1).path / ".lock"):
            with hold(lock), pytest.raises(RunError, match=re.escape(str(lock.parent))):
                move_aside(old, NOW)
        assert old.path.exists()


class TestFresh:
    def test_answer_no_changes_nothing(self, old: RunFolder, tmp_path: Path) -> None:
        for answer in ("n\n", ""):  # no answer, as in a script
            done = _run(tmp_path, "--fresh", answer=answer)
            assert isinstance(done.exception, RunError)
            assert "dice_ce-fold1: started" in done.output
        assert old.cell("dice_ce", 0).finished

    @pytest.mark.slow
    def test_yes_moves_the_old_run(
        self, old: RunFolder, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runners, "on_this_machine", lambda *_: iter(()))
        options = ("--set", "dry_start=false", "--set", "tracking_uri=none", "--data-dir", str(phantoms))
        done = _run(tmp_path, "--fresh", "--yes", *options)
        assert done.exit_code == 0, done.output
        assert re.search(r"Moved to .*one\.old-\d{8}T\d{6}", done.output)
        assert RunFolder(old.path).cells() == []

    def test_wrong_data_folder_is_reported_before_the_question(self, old: RunFolder, tmp_path: Path) -> None:
        done = _run(tmp_path, "--fresh", "--data-dir", str(tmp_path / "none"))
        assert isinstance(done.exception, DataError)
        assert "dice_ce-fold0" not in done.output
        assert old.cell("dice_ce", 0).finished

    @pytest.mark.slow
    def test_old_run_is_moved_back_if_the_new_run_cannot_start(
        self, old: RunFolder, phantoms: Path, tmp_path: Path
    ) -> None:
        done = _run(tmp_path, "--fresh", "--yes", "--data-dir", str(phantoms), "--set", "folds=50")
        assert isinstance(done.exception, MinivessError)
        assert f"Moved back to {old.path}" in done.output
        assert old.cell("dice_ce", 0).finished

    def test_run_in_use_is_reported_before_the_question(self, old: RunFolder, tmp_path: Path) -> None:
        with hold(old.path / ".lock"):
            done = _run(tmp_path, "--fresh")
        assert isinstance(done.exception, RunError)
        assert str(old.path) in str(done.exception)
        assert "dice_ce-fold0" not in done.output

    def test_is_refused_in_a_dry_run(self, old: RunFolder, tmp_path: Path) -> None:
        assert _run(tmp_path, "--fresh", "--dry-run").exit_code == 2
        assert old.path.exists()


class TestOnly:
    def test_filter_without_a_match_writes_nothing(self, tmp_path: Path) -> None:
        done = _run(tmp_path, "--only", "loss=warp")
        assert isinstance(done.exception, ConfigError)
        assert "loss=warp" in done.exception.got
        assert not (tmp_path / "runs").exists()

    def test_dry_run_shows_only_the_selected_cells(self, phantoms: Path, tmp_path: Path) -> None:
        done = _run(tmp_path, "--only", "loss=dice_ce,fold=1", "--dry-run", "--data-dir", str(phantoms))
        assert done.exit_code == 0, done.output
        assert "dice_ce-fold1" in done.output
        assert "dice_ce-fold0" not in done.output


def _run(folder: Path, *options: str, answer: str = "") -> Result:
    config = folder / "one.yaml"
    config.write_text("name: one\nlosses: [dice_ce]\nfolds: 2\nmodel: {name: dynunet, filters: [4, 8, 8]}\n")
    argv = ["run", "--config", str(config), "--output-dir", str(folder / "runs"), *options]
    return CliRunner().invoke(cli, argv, input=answer)
