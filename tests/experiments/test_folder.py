"""What stands in a run folder, and what is said of it where it is damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.errors import RunError
from minivess.experiments.folder import RunFolder


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
