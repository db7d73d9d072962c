"""Callbacks of the training loop."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from minivess.training.callbacks import Checkpoints, GracefulStop, Heartbeat, Journal, StopRequestedError
from minivess.training.checkpoint import CheckpointManager
from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState

CONFIG = TrainingConfig(max_epochs=4, steps_per_epoch=2, validate_every=3, checkpoint_minutes=60)


@pytest.fixture
def state() -> TrainState:
    return TrainState.start(torch.nn.Linear(2, 2), CONFIG, "fp32")


def _epoch(journal: Journal, state: TrainState, epoch: int) -> None:
    state.step, state.losses = 2 * epoch, [1.0, 0.5]
    journal.after_epoch(state, epoch)


class TestHeartbeat:
    def test_reports_the_finished_and_the_total_steps(self, state: TrainState) -> None:
        beats: list[tuple[str, int, int]] = []
        state.step = 3
        Heartbeat(lambda *beat: beats.append(beat), 8).after_step(state)
        assert beats == [("train", 3, 8)]


class TestJournal:
    def test_writes_a_line_per_epoch_and_measures_when_due(self, state: TrainState, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "m.jsonl", CONFIG, 0, lambda state: {"dsc": 0.5})
        for epoch in (1, 2, 3, 4):
            _epoch(journal, state, epoch)
        lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
        assert [(line["epoch"], line["step"], line["loss"]) for line in lines] == [
            (1, 2, 0.75),
            (2, 4, 0.75),
            (3, 6, 0.75),
            (4, 8, 0.75),
        ]
        assert ["dsc" in line for line in lines] == [False, False, True, True]

    def test_a_resumed_run_writes_no_epoch_twice(self, state: TrainState, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "m.jsonl", CONFIG, 0)
        for epoch in (1, 2, 3):
            _epoch(journal, state, epoch)
        with (tmp_path / "m.jsonl").open("a") as file:
            file.write('{"epoch": 4, "st')
        _epoch(Journal(tmp_path / "m.jsonl", CONFIG, start=4), state, 3)
        assert [json.loads(line)["epoch"] for line in (tmp_path / "m.jsonl").read_text().splitlines()] == [1, 2, 3]


class TestCheckpoints:
    def test_saves_by_time_and_at_the_end(self, state: TrainState, tmp_path: Path) -> None:
        callback = Checkpoints(CheckpointManager(tmp_path), CONFIG)
        callback.after_step(state)
        assert not list(tmp_path.glob("step-*"))
        callback.at_end(state)
        assert list(tmp_path.glob("step-*"))

    def test_saves_when_the_minutes_have_passed(self, state: TrainState, tmp_path: Path) -> None:
        callback = Checkpoints(CheckpointManager(tmp_path), CONFIG.model_copy(update={"checkpoint_minutes": 1}))
        for seconds, saved in ((50, 0), (61, 1)):
            callback._saved = time.monotonic() - seconds
            callback.after_step(state)
            assert len(list(tmp_path.glob("step-*"))) == saved

    def test_saves_every_step_if_minutes_are_zero(self, state: TrainState, tmp_path: Path) -> None:
        callback = Checkpoints(CheckpointManager(tmp_path), CONFIG.model_copy(update={"checkpoint_minutes": 0}))
        callback.after_step(state)
        assert [path.name for path in tmp_path.glob("step-*")] == ["step-00000000"]

    def test_saves_after_the_configured_number_of_steps(self, state: TrainState, tmp_path: Path) -> None:
        callback = Checkpoints(CheckpointManager(tmp_path), CONFIG.model_copy(update={"checkpoint_steps": 3}))
        for state.step in range(1, 7):
            callback.after_step(state)
        assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000003", "step-00000006"]


class TestGracefulStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_saves_at_the_end_of_the_step_and_raises(self, state: TrainState, number: signal.Signals) -> None:
        saved: list[TrainState] = []
        stop = GracefulStop(saved.append)
        try:
            stop.after_step(state)
            os.kill(os.getpid(), number)
            with pytest.raises(StopRequestedError):
                stop.after_step(state)
            assert saved == [state]
        finally:
            with pytest.raises(StopRequestedError):  # as if stopped during the last checkpoint
                stop.at_end(state)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_a_second_interrupt_raises_immediately(self, state: TrainState) -> None:
        stop = GracefulStop(lambda state: None)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        finally:
            with pytest.raises(StopRequestedError):  # as if stopped during the last checkpoint
                stop.at_end(state)
            signal.signal(signal.SIGINT, signal.default_int_handler)
