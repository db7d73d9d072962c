"""Tests of the files of a run folder, and of the errors if they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from minivess.errors import RunError
from minivess.experiments.config_file import make_config
from minivess.experiments.results import write_results
from minivess.experiments.run_folder import RunFolder, refuse_links
from minivess.json_files import to_line


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    cell = tmp_path / "cells" / "dice_ce-fold0"
    cell.mkdir(parents=True)
    (cell / "cell.json").write_text("{}")
    return RunFolder(tmp_path)


class TestDamage:
    def test_incomplete_result_is_an_error_with_the_path_and_a_cure(self, folder: RunFolder) -> None:
        (cell,) = folder.cells()
        cell.result.write_text('{"rows": [')
        with pytest.raises(RunError) as caught:
            folder.read_rows()
        assert str(cell.result) in caught.value.got
        assert "delete" in caught.value.cure

    def test_plan_with_other_keys_is_an_error_with_the_path_and_a_cure(self, folder: RunFolder) -> None:
        folder.plan.write_text('{"a": 1}')
        with pytest.raises(RunError) as caught:
            folder.read_plan()
        assert str(folder.plan) in caught.value.got
        assert "--fresh" in caught.value.cure

    def test_folder_that_is_not_a_run_folder_is_named(self, folder: RunFolder) -> None:
        with pytest.raises(RunError) as caught:
            folder.read_config()
        assert "config.yaml" in caught.value.got
        assert str(folder.path) in caught.value.got

    def test_environment_without_the_version_is_an_error(self, folder: RunFolder) -> None:
        (cell,) = folder.cells()
        for path, read in ((folder.environment, folder.read_environment), (cell.environment, cell.read_codes)):
            path.write_text("{}")
            with pytest.raises(RunError) as caught:
                read()
            assert str(path) in caught.value.got


class TestJournal:
    LINES = to_line({"epoch": 1, "step": 4}) + to_line({"epoch": 2, "step": 8})

    def test_every_cut_is_read_up_to_its_last_whole_line(self, folder: RunFolder) -> None:
        (cell,) = folder.cells()
        for end in range(len(self.LINES)):
            cell.journal.write_text(self.LINES[:end])
            whole = self.LINES[:end].count('"step": 4}') + self.LINES[:end].count('"step": 8}')
            assert len(cell.read_journal()) == whole

    @pytest.mark.parametrize("bit", range(8))
    def test_a_flipped_bit_of_the_last_line_break_is_an_error(self, folder: RunFolder, bit: int) -> None:
        (cell,) = folder.cells()
        content = bytearray(self.LINES.encode())
        content[-1] ^= 1 << bit
        cell.journal.write_bytes(content)
        with pytest.raises(RunError, match="line 2"):
            cell.read_journal()

    @pytest.mark.parametrize("text", ["abc", "[]", "1", "null", "{}", '{"a": 1}', "{}\n", "[]\n"])
    def test_other_json_is_an_error(self, folder: RunFolder, text: str) -> None:
        (cell,) = folder.cells()
        cell.journal.write_text(text)
        with pytest.raises(RunError, match="line 1"):
            cell.read_journal()


class TestConfig:
    def test_is_read_from_yaml_and_from_the_json_of_older_runs(self, folder: RunFolder) -> None:
        config = make_config(
            {"name": "a", "losses": ["dice_ce"], "loss_options": {"dice_ce": {"smooth": 1e-8}}}, "a test"
        )
        folder.write_config(config)
        assert yaml.safe_load(folder.config.read_text())["name"] == "a"
        assert folder.read_config() == config
        folder.config.write_text(config.model_dump_json(indent=2))
        assert folder.read_config() == config


class TestLinks:
    @pytest.mark.parametrize("place", ["results/figures", "cells/dice_ce-fold0/log.txt", "report.html"])
    def test_a_link_is_refused_before_anything_is_written(self, tmp_path: Path, place: str) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        folder = RunFolder(tmp_path / "run")
        (folder.path / place).parent.mkdir(parents=True)
        (folder.path / place).symlink_to(outside)
        with pytest.raises(RunError, match=f"{Path(place).name}, a link"):
            refuse_links(folder.path)
        with pytest.raises(RunError, match="link"):
            write_results(folder)
        assert list(outside.iterdir()) == []

    def test_a_run_folder_may_itself_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "disk")
        refuse_links(tmp_path / "run")
