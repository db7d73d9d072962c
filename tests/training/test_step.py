"""One optimizer step on a network of one layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from minivess.losses import build_loss
from minivess.models.weights import load_tensors, tensors_of
from minivess.training.config import TrainingConfig
from minivess.training.learning_rate import learning_rate
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
        """If the loss is a mean over patches, accumulation only changes the rounding. AdamW hides the size of a gradient."""
        whole, batch = _state(), next(_batches())
        loss = Step(_CrossEntropy(), CONFIG, seed=0, micro_batch=4)(whole, batch)
        for micro_batch in (1, 3):  # 3 patches, then 1
            parts = _state()
            assert Step(_CrossEntropy(), CONFIG, 0, micro_batch)(parts, batch) == pytest.approx(loss, rel=1e-5)
            torch.testing.assert_close(parts.network.weight.grad, whole.network.weight.grad)

    def test_random_numbers_depend_on_seed_and_step_alone(self) -> None:
        def first_weights(seed: int, step: int) -> torch.Tensor:
            state = TrainState.start(torch.nn.Sequential(torch.nn.Dropout(0.5), _state().network), CONFIG, "fp32")
            state.step = step
            replace(_step(), seed=seed)(state, next(_batches()))
            return next(state.network.parameters()).grad

        torch.manual_seed(99)
        assert torch.equal(first_weights(0, 3), first_weights(0, 3))
        assert not torch.equal(first_weights(0, 3), first_weights(1, 3))
        assert not torch.equal(first_weights(0, 3), first_weights(0, 4))

    def test_a_step_has_the_learning_rate_of_its_number(self) -> None:
        state = _state()
        for number, batch in enumerate(_batches(0, 3)):
            _step()(state, batch)
            assert state.optimizer.param_groups[0]["lr"] == learning_rate(number, CONFIG)

    def test_gradients_of_the_previous_step_are_forgotten(self) -> None:
        state, fresh = _state(), _state()
        batch = next(_batches())
        _step()(state, batch)
        load_tensors(state.network, tensors_of(fresh.network))
        state.step = 0
        _step()(state, batch)
        _step()(fresh, batch)
        torch.testing.assert_close(state.network.weight.grad, fresh.network.weight.grad)

    def test_padding_does_not_count(self) -> None:
        image, label, _ = next(_batches())
        mask = torch.ones_like(label, dtype=torch.bool)
        mask[..., 2:] = False
        other = torch.where(mask, label, 1 - label)
        losses = [_step()(_state(), (image, given, mask)) for given in (label, other)]
        assert losses[0] == losses[1]
        assert losses[0] != _step()(_state(), (image, other, torch.ones_like(mask)))

    def test_half_precision_gives_nearly_the_same_gradient(self) -> None:
        """fp16 is scaled by 65536 before the backward pass, and the gradient is scaled back before it is clipped."""
        gradients = {}
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            torch.manual_seed(0)
            state, types = TrainState.start(torch.nn.Conv3d(1, 2, 3, padding=1), CONFIG, precision), []
            state.network.register_forward_hook(lambda layer, inputs, output, seen=types: seen.append(output.dtype))
            Step(build_loss("dice_ce"), CONFIG, 0, 4, precision)(state, next(_batches()))
            gradients[precision] = state.network.weight.grad
            assert types == [dtype]
        for precision in ("bf16", "fp16"):
            torch.testing.assert_close(gradients[precision], gradients["fp32"], rtol=0.1, atol=5e-3)

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
