"""Everything that changes while training, and how it becomes plain tensors and JSON and back, bit for bit.

Random state is not among it: batches follow from their index, and the generators are seeded anew at each step from
(seed, step), so there is nothing to save.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch

from minivess.models.weights import load_tensors, tensors_of
from minivess.training.config import TrainingConfig


@dataclass
class TrainState:
    """Network, its running average, optimizer and scaler, after ``step`` optimizer steps; ``losses`` are this epoch's so far."""

    network: torch.nn.Module
    average: torch.nn.Module
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    step: int = 0
    losses: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, network: torch.nn.Module, config: TrainingConfig, precision: str) -> TrainState:
        """State before the first step; the average begins as the network itself."""
        device = next(network.parameters()).device
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        average = copy.deepcopy(network).eval().requires_grad_(False)
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        return cls(network, average, optimizer, scaler)

    def update_average(self, decay: float) -> None:
        """Move the average towards the network; slower decay at first, so that the random start is soon forgotten."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mine, other in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mine.lerp_(other, 1 - decay)
            for kept, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(buffer)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors under flat names; they still share memory with the state."""
        flat = {f"network/{name}": value for name, value in tensors_of(self.network).items()}
        flat |= {f"average/{name}": value for name, value in tensors_of(self.average).items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer/{index}/{slot}": value for slot, value in slots.items()}
        return flat

    def facts(self) -> dict[str, Any]:
        """What is no tensor, ready for JSON."""
        return {"step": self.step, "losses": self.losses, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Take over what ``tensors`` and ``facts`` gave; the learning rate follows from the step."""
        load_tensors(self.network, _below(tensors, "network"))
        load_tensors(self.average, _below(tensors, "average"))
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _below(tensors, "optimizer").items():
            index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.scaler.load_state_dict(facts["scaler"])
        self.step, self.losses = int(facts["step"]), list(facts["losses"])


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up to the peak, then half a cosine down to zero at the last step."""
    warmup = config.warmup_fraction * config.steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(config.steps - warmup, 1)
    return config.learning_rate * (1 + math.cos(math.pi * share)) / 2


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{prefix}/"): value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
