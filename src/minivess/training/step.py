"""One training step: forward pass, loss, gradients accumulated over micro-batches, weight update, weight average."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from minivess.training.config import Precision, TrainingConfig
from minivess.training.learning_rate import learning_rate
from minivess.training.state import TrainState

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class NanLossError(RuntimeError):
    """The loss is NaN or infinite. Training stops, because further steps would only damage the weights."""


@dataclass(frozen=True)
class Step:
    """Computes one optimizer step.

    Attributes:
        loss: Called as loss(logits, label, mask).
        config: Learning rate, gradient clipping and averaging.
        seed: Seed of the run. Each step seeds torch from this seed and its number.
        micro_batch: Patches per forward pass. The gradient of a batch is accumulated over its micro-batches.
        precision: Number type of the forward pass.
    """

    loss: torch.nn.Module
    config: TrainingConfig
    seed: int
    micro_batch: int
    precision: Precision = "fp32"

    def __call__(self, state: TrainState, batch: Batch) -> float:
        """Run one optimizer step.

        Args:
            state: State of training; changed in place.
            batch: Image, label and mask, each (B, 1, X, Y, Z).

        Returns:
            The loss of the batch.

        Raises:
            NanLossError: The loss is NaN or infinite.
        """
        torch.manual_seed(self.seed * 1_000_003 + state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, self.config)
        state.optimizer.zero_grad(set_to_none=True)
        value = self._backward(state, batch)
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), self.config.gradient_clip)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.update_average(self.config.ema_decay)
        state.step += 1
        return value

    def _backward(self, state: TrainState, batch: Batch) -> float:
        device = next(state.network.parameters()).device
        total = torch.zeros((), device=device)
        for image, label, mask in zip(*(part.split(self.micro_batch) for part in batch), strict=True):
            label, mask = label.to(device), mask.to(device)
            with autocast(device, self.precision):
                outputs = state.network(image.to(device))
            value = supervised(self.loss, outputs, label, mask) * (len(image) / len(batch[0]))
            state.scaler.scale(value).backward()
            total += value.detach()
        loss = total.item()
        if not math.isfinite(loss):
            raise NanLossError(f"the loss is {loss} at step {state.step}")
        return loss


def supervised(
    loss: torch.nn.Module, outputs: torch.Tensor | list[torch.Tensor], label: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Weighted mean of the loss over all outputs. Each deeper head has half the weight of the previous one.

    Args:
        loss: Called as loss(logits, label, mask).
        outputs: Logits (B, 2, X, Y, Z), or a list of logits from a network with deep supervision.
        label: (B, 1, X, Y, Z).
        mask: (B, 1, X, Y, Z), False in padding.
    """
    if isinstance(outputs, torch.Tensor):
        outputs = [outputs]
    weights = [0.5**level for level in range(len(outputs))]
    values = [weight * loss(logits, label, mask) for weight, logits in zip(weights, outputs, strict=True)]
    return torch.stack(values).sum() / sum(weights)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Context manager that runs the forward pass in the given precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)
