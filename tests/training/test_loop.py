"""The training loop on a network of one layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from minivess.losses import build_loss
from minivess.step.config import TrainingConfig
from minivess.step.state import TrainState
from minivess.step.step import Batch, Step
from minivess.training.loop import Callback, fit

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


class _Moments(Callback):
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
        state, moments = _state(), _Moments()
        fit(state, _step(), _batches(), [moments])
        assert moments.losses[-1] < 0.7 * moments.losses[0]

    def test_moments_come_in_time(self) -> None:
        state, moments = _state(), _Moments()
        fit(state, _step(), _batches(), [moments])
        assert moments.epochs == [(1, 10), (2, 20), (3, 30)]
        assert moments.ended_at == 30

    def test_stopping_and_going_on_changes_no_bit(self) -> None:
        whole = _state()
        fit(whole, _step(), _batches(), [])
        first = _state()
        fit(first, _step(), _batches(0, 17), [])
        second = _state()
        second.restore({name: value.clone() for name, value in first.tensors().items()}, first.facts())
        fit(second, _step(), _batches(17), [])
        assert all(torch.equal(value, second.tensors()[name]) for name, value in whole.tensors().items())
