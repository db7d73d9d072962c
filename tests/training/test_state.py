"""Training state: weight average, and conversion to tensors and back."""

from __future__ import annotations

import pytest
import torch

from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState

CONFIG = TrainingConfig(max_epochs=10, steps_per_epoch=10, learning_rate=1.0, warmup_fraction=0.1)


def _state() -> TrainState:
    torch.manual_seed(0)
    return TrainState.start(torch.nn.Conv3d(1, 2, 3), CONFIG, "fp32")


class TestAverage:
    def test_the_decay_of_the_first_step_is_a_tenth(self) -> None:
        state = _state()
        with torch.no_grad():
            state.network.bias.fill_(1.0)
            state.average.bias.fill_(0.0)
        state.update_average(0.999)
        assert state.average.bias.tolist() == pytest.approx([0.9, 0.9])  # decay 1 / 10 at step 0

    def test_late_steps_use_the_configured_decay(self) -> None:
        state = _state()
        state.step = 10**6
        with torch.no_grad():
            state.network.bias.fill_(1.0)
            state.average.bias.fill_(0.0)
        state.update_average(0.9)
        assert state.average.bias.tolist() == pytest.approx([0.1, 0.1])

    def test_buffers_are_those_of_the_network(self) -> None:
        state = TrainState.start(torch.nn.BatchNorm3d(1), CONFIG, "fp32")
        state.network(torch.full((1, 1, 2, 2, 2), 5.0))
        state.update_average(0.9)
        assert state.average.running_mean.tolist() == pytest.approx([0.5])  # a tenth of 5


class TestRoundTrip:
    def test_the_loss_scale_of_fp16_is_restored(self) -> None:
        state, copy = (TrainState.start(torch.nn.Conv3d(1, 2, 3), CONFIG, "fp16") for _ in range(2))
        state.scaler.scale(torch.ones(()))
        state.scaler.update(1024.0)
        copy.restore({name: value.clone() for name, value in state.tensors().items()}, state.facts())
        assert copy.scaler.scale(torch.ones(())).item() == 1024

    def test_restores_identical_tensors(self) -> None:
        state = _state()
        for _ in range(3):
            state.network(torch.randn(1, 1, 4, 4, 4)).sum().backward()
            state.optimizer.step()
            state.update_average(0.9)
            state.step += 1
        state.losses = [0.1, 0.2]
        copy = _state()
        copy.restore({name: value.clone() for name, value in state.tensors().items()}, state.facts())
        assert (copy.step, copy.losses) == (3, [0.1, 0.2])
        assert copy.tensors().keys() == state.tensors().keys()
        assert all(torch.equal(copy.tensors()[name], value) for name, value in state.tensors().items())
