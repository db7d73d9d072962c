"""State, its average, and the way to disk and back."""

from __future__ import annotations

import pytest
import torch

from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState, learning_rate

CONFIG = TrainingConfig(max_epochs=10, steps_per_epoch=10, learning_rate=1.0, warmup_fraction=0.1)


def _state() -> TrainState:
    torch.manual_seed(0)
    return TrainState.start(torch.nn.Conv3d(1, 2, 3), CONFIG, "fp32")


class TestLearningRate:
    def test_rises_to_its_peak_then_falls_to_zero(self) -> None:
        rates = [learning_rate(step, CONFIG) for step in range(101)]
        assert rates[0] == pytest.approx(1 / 11)
        assert rates[10] == 1.0
        assert rates[55] == pytest.approx(0.5)
        assert rates[100] == pytest.approx(0.0)

    def test_no_warm_up_begins_at_the_peak(self) -> None:
        assert learning_rate(0, CONFIG.model_copy(update={"warmup_fraction": 0.0})) == 1.0


class TestAverage:
    def test_moves_by_a_tenth_less_at_each_early_step(self) -> None:
        state = _state()
        with torch.no_grad():
            state.network.bias.fill_(1.0)
            state.average.bias.fill_(0.0)
        state.update_average(0.999)
        assert state.average.bias.tolist() == pytest.approx([0.9, 0.9])  # decay 1 / 10 at step 0

    def test_settles_at_the_configured_decay(self) -> None:
        state = _state()
        state.step = 10**6
        with torch.no_grad():
            state.network.bias.fill_(1.0)
            state.average.bias.fill_(0.0)
        state.update_average(0.9)
        assert state.average.bias.tolist() == pytest.approx([0.1, 0.1])


class TestRoundTrip:
    def test_restores_every_bit(self) -> None:
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
