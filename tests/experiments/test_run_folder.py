"""What stands in a run folder, and what is said of it where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from minivess.errors import RunError
from minivess.experiments.config import make_config
from minivess.experiments.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    cell = tmp_path / "cells" / "dice_ce-fold0"
    cell.mkdir(parents=True)
    (cell / "cell.json").write_text("{}")
    return RunFolder(tmp_path)


class TestDamage:
    def test_a_result_cut_short_is_named_with_its_cure(self, folder: RunFolder) -> None:
        (cell,) = folder.cells()
        cell.result.write_text('{"rows": [')
        with pytest.raises(
            RunError, match=r"result\.json, damaged: Invalid JSON: .* Cure: delete it: the same command"
        ):
            folder.read_rows()

    def test_a_plan_of_other_keys_is_named(self, folder: RunFolder) -> None:
        folder.plan.write_text('{"a": 1}')
        with pytest.raises(RunError, match=r"plan\.json, damaged: .* begin anew \(--fresh\)"):
            folder.read_plan()

    def test_a_folder_that_is_no_run_is_named(self, folder: RunFolder) -> None:
        with pytest.raises(RunError, match=r"no config\.yaml in .*a run writes it first of all"):
            folder.read_config()


class TestConfig:
    def test_is_read_back_from_yaml_and_from_the_json_of_older_runs(self, folder: RunFolder) -> None:
        config = make_config(
            {"name": "a", "losses": ["dice_ce"], "loss_options": {"dice_ce": {"smooth": 1e-8}}}, "a test"
        )
        folder.write_config(config)
        assert yaml.safe_load(folder.config.read_text())["name"] == "a"
        assert folder.read_config() == config
        folder.config.write_text(config.model_dump_json(indent=2))
        assert folder.read_config() == config
