"""The state of training, and its exact conversion to plain tensors and JSON and back.

Random state is not part of it. Batches depend only on their index, and the generators are seeded again at each step
from (seed, step), so there is no random state to save.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch

from minivess.models.weights import load_tensors, tensors_of
from minivess.training.config import TrainingConfig


@dataclass
class TrainState:
    """State of training after ``step`` optimizer steps.

    Attributes:
        network: Network that is trained.
        average: Exponential moving average of the network, in evaluation mode.
        optimizer: Optimizer of ``network``.
        scaler: Loss scaler; only enabled for fp16.
        step: Number of finished optimizer steps.
        losses: Losses of the steps of the current epoch.
    """

    network: torch.nn.Module
    average: torch.nn.Module
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    step: int = 0
    losses: list[float] = field(default_factory=list)

    @classmethod
    def start(cls, network: torch.nn.Module, config: TrainingConfig, precision: str) -> TrainState:
        """Create the state before the first step. The average is a copy of the network."""
        device = next(network.parameters()).device
        optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        average = copy.deepcopy(network).eval().requires_grad_(False)
        scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        return cls(network, average, optimizer, scaler)

    def update_average(self, decay: float) -> None:
        """Move the average towards the network. The decay is smaller at first, so that the random start is soon forgotten."""
        decay = min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mine, other in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mine.lerp_(other, 1 - decay)
            for kept, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(buffer)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors under flat names. They share memory with the state."""
        flat = {f"network/{name}": value for name, value in tensors_of(self.network).items()}
        flat |= {f"average/{name}": value for name, value in tensors_of(self.average).items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            flat |= {f"optimizer/{index}/{slot}": value for slot, value in slots.items()}
        return flat

    def facts(self) -> dict[str, Any]:
        """All values that are not tensors, ready for JSON."""
        return {"step": self.step, "losses": self.losses, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Restore the state from ``tensors`` and ``facts``. The learning rate follows from the step."""
        load_tensors(self.network, _below(tensors, "network"))
        load_tensors(self.average, _below(tensors, "average"))
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _below(tensors, "optimizer").items():
            index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.scaler.load_state_dict(facts["scaler"])
        self.step, self.losses = int(facts["step"]), list(facts["losses"])


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(f"{prefix}/"): value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
