"""One optimizer step on a network of one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from minivess.losses import build_loss
from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState
from minivess.training.step import Batch, NanLossError, Step, supervised

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


class TestStep:
    def test_micro_batches_give_the_gradient_of_the_batch(self) -> None:
        """If the loss is a mean over patches, accumulation only changes the rounding."""
        whole, parts = _state(), _state()
        cross_entropy = _CrossEntropy()
        batch = next(_batches())
        Step(cross_entropy, CONFIG, seed=0, micro_batch=4)(whole, batch)
        Step(cross_entropy, CONFIG, seed=0, micro_batch=1)(parts, batch)
        torch.testing.assert_close(parts.network.weight, whole.network.weight)

    @pytest.mark.parametrize("value", ["nan", "inf"])
    def test_nan_and_infinite_losses_stop_training(self, value: str) -> None:
        step = replace(_step(), loss=_Always(float(value)))
        with pytest.raises(NanLossError, match=f"{value} at step 0"):
            step(_state(), next(_batches()))

    def test_the_gradient_is_clipped(self) -> None:
        state = _state()
        _step(config=CONFIG.model_copy(update={"gradient_clip": 1e-3}))(state, next(_batches()))
        norm = torch.cat(
            [value.grad.flatten() for value in state.network.parameters() if value.grad is not None]
        ).norm()
        assert norm <= 1e-3 * 1.001


class TestSupervised:
    def test_each_deeper_head_has_half_the_weight(self) -> None:
        outputs = [torch.full((1,), value) for value in (1.0, 2.0, 4.0)]
        value = supervised(_Value(), outputs, torch.zeros(1), torch.ones(1))
        assert value.item() == pytest.approx((1 + 2 / 2 + 4 / 4) / 1.75)


class _CrossEntropy(torch.nn.Module):
    def forward(self, logits: torch.Tensor, label: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits, label[:, 0].long())


class _Always(torch.nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self._value = value

    def forward(self, logits: torch.Tensor, label: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return logits.sum() * 0 + self._value


class _Value(torch.nn.Module):
    def forward(self, logits: torch.Tensor, label: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return logits.sum()
