"""The training loop on a network of one layer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minivess.losses import build_loss
from minivess.training.callbacks import Checkpoints, GracefulStop, Journal, StopRequestedError
from minivess.training.checkpoint import CheckpointManager
from minivess.training.config import TrainingConfig
from minivess.training.loop import Callback, fit
from minivess.training.state import TrainState
from minivess.training.step import Batch, Step

CONFIG = TrainingConfig(max_epochs=3, steps_per_epoch=10, learning_rate=0.05)


def _state() -> TrainState:
    torch.manual_seed(0)
    return TrainState.start(torch.nn.Conv3d(1, 2, 3, padding=1), CONFIG, "fp32")


def _batches(first: int = 0, last: int = CONFIG.steps) -> Iterator[Batch]:
    for step in range(first, last):
        image = torch.randn(4, 1, 8, 8, 4, generator=torch.Generator().manual_seed(step))
        yield image, (image > 0.5).to(torch.uint8), torch.ones_like(image, dtype=torch.bool)


def _step(micro_batch: int = 4, config: TrainingConfig = CONFIG) -> Step:
    return Step(build_loss("dice_ce"), config, seed=0, micro_batch=micro_batch)


class _Recorder(Callback):
    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.losses: list[float] = []
        self.ended_at = 0

    def after_epoch(self, state: TrainState, epoch: int) -> None:
        self.epochs.append((epoch, state.step))
        self.losses.append(sum(state.losses) / len(state.losses))

    def at_end(self, state: TrainState) -> None:
        self.ended_at = state.step


class TestFit:
    def test_learns_a_threshold(self) -> None:
        state, recorder = _state(), _Recorder()
        fit(state, _step(), _batches(), [recorder])
        assert recorder.losses[-1] < 0.7 * recorder.losses[0]

    def test_callbacks_are_called_at_epoch_ends_and_at_the_end(self) -> None:
        state, recorder = _state(), _Recorder()
        fit(state, _step(), _batches(), [recorder])
        assert recorder.epochs == [(1, 10), (2, 20), (3, 30)]
        assert recorder.ended_at == 30

    def test_stopping_and_resuming_gives_identical_weights(self) -> None:
        whole = _state()
        fit(whole, _step(), _batches(), [])
        first = _state()
        fit(first, _step(), _batches(0, 17), [])
        second = _state()
        second.restore({name: value.clone() for name, value in first.tensors().items()}, first.facts())
        fit(second, _step(), _batches(17), [])
        assert all(torch.equal(value, second.tensors()[name]) for name, value in whole.tensors().items())


class _Killed(Callback):
    def after_step(self, state: TrainState) -> None:
        if state.step == 13:
            raise StopRequestedError


class _StopRequested(Callback):
    def after_step(self, state: TrainState) -> None:
        if state.step == 10:
            os.kill(os.getpid(), signal.SIGTERM)


class TestEndOfAnEpoch:
    """An epoch with a checkpoint at its last step."""

    def _resume(self, folder: Path, *more: Callback) -> None:
        config = CONFIG.model_copy(update={"checkpoint_steps": 10, "validate_every": 1})
        manager, state = CheckpointManager(folder / "checkpoints"), _state()
        if saved := manager.restore():
            state.restore(*saved)
        checkpoints = Checkpoints(manager, config)
        journal = Journal(folder / "metrics.jsonl", config, state.step, lambda state: {"dsc": state.step / 100})
        callbacks = [*more, journal, checkpoints, GracefulStop(checkpoints.save)]
        try:
            fit(state, _step(config=config), _batches(state.step), callbacks)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _lines(self, folder: Path) -> list[tuple[int, float, float]]:
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        return [(line["step"], line["loss"], line["dsc"]) for line in lines]

    @pytest.mark.parametrize("end", [_Killed(), _StopRequested()], ids=["killed", "asked_to_stop"])
    def test_epoch_is_written_once_and_the_next_one_starts_empty(self, end: Callback, tmp_path: Path) -> None:
        self._resume(tmp_path / "whole")
        with pytest.raises(StopRequestedError):
            self._resume(tmp_path / "ended", end)
        self._resume(tmp_path / "ended")
        assert [line[0] for line in self._lines(tmp_path / "ended")] == [10, 20, 30]
        assert self._lines(tmp_path / "ended") == self._lines(tmp_path / "whole")
