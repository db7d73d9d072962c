"""Checkpoints that survive a kill."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from minivess.training.checkpoint import CheckpointManager


def _save(manager: CheckpointManager, step: int) -> Path:
    return manager.save(step, {"w": torch.full((4,), float(step))}, {"step": step})


class TestCheckpointManager:
    def test_restores_the_newest(self, tmp_path: Path) -> None:
        manager = CheckpointManager(tmp_path)
        _save(manager, 10)
        _save(manager, 20)
        tensors, facts = CheckpointManager(tmp_path).restore() or ({}, {})
        assert facts == {"step": 20}
        assert tensors["w"].tolist() == [20.0] * 4

    def test_keeps_two_checkpoints(self, tmp_path: Path) -> None:
        manager = CheckpointManager(tmp_path)
        for step in (10, 20, 30):
            _save(manager, step)
        assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000020", "step-00000030"]

    def test_an_existing_step_is_not_written_again(self, tmp_path: Path) -> None:
        manager = CheckpointManager(tmp_path)
        written = _save(manager, 10).stat()
        assert _save(manager, 10).stat() == written

    def test_without_checkpoints_restore_returns_none(self, tmp_path: Path) -> None:
        assert CheckpointManager(tmp_path).restore() is None

    @pytest.mark.parametrize("file", ["tensors.safetensors", "facts.json"])
    @pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
    def test_if_the_newest_is_damaged_the_previous_one_is_restored(
        self, tmp_path: Path, file: str, harm: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        manager = CheckpointManager(tmp_path)
        _save(manager, 10)
        path = _save(manager, 20) / file
        whole = path.read_bytes()
        if harm == "remove":
            path.unlink()
        else:
            path.write_bytes(whole[: len(whole) // 2] if harm == "cut" else whole[:-3] + b"\xff" + whole[-2:])
        with caplog.at_level(logging.WARNING):
            _, facts = manager.restore() or ({}, {})
        assert facts == {"step": 10}
        assert "step-00000020" in caplog.text

    def test_new_checkpoints_are_kept_after_all_old_ones_were_damaged(self, tmp_path: Path) -> None:
        manager = CheckpointManager(tmp_path)
        for step in (5000, 5250):
            (_save(manager, step) / "facts.json").write_text("{")
        assert manager.restore() is None
        _save(manager, 250)
        assert (manager.restore() or ({}, {}))[1] == {"step": 250}
        assert sorted(path.name for path in tmp_path.glob("damaged-*")) == [
            "damaged-step-00005000",
            "damaged-step-00005250",
        ]

    def test_an_unreadable_checkpoint_is_not_treated_as_damaged(self, tmp_path: Path) -> None:
        manager = CheckpointManager(tmp_path)
        facts = _save(manager, 10) / "facts.json"
        facts.unlink()
        facts.mkdir()  # reading a folder raises an OSError, as an unavailable network disk does
        with pytest.raises(OSError, match="facts"):
            manager.restore()
        assert (tmp_path / "step-00000010").is_dir()

    def test_temporary_files_of_a_killed_process_are_removed(self, tmp_path: Path) -> None:
        _save(CheckpointManager(tmp_path), 10)
        (tmp_path / ".tmp-dead").mkdir()
        CheckpointManager(tmp_path)
        assert not (tmp_path / ".tmp-dead").exists()

    def test_a_leftover_of_another_user_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(path)

        (tmp_path / ".tmp-dead").mkdir()
        monkeypatch.setattr("minivess.training.checkpoint.shutil.rmtree", refuse)
        manager = CheckpointManager(tmp_path)
        monkeypatch.undo()
        manager.save(1, {"a": torch.zeros(1)}, {})
        assert manager.restore() is not None
