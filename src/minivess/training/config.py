"""How a network is trained: the part of an experiment's configuration that a training step reads."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["fp32", "bf16", "fp16"]
"""Type of the forward pass; fp16 with loss scaling."""


class TrainingConfig(BaseModel):
    """Length is counted in optimizer steps: ``max_epochs`` x ``steps_per_epoch``, whatever the size of the data set."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_epochs: int = Field(default=100, ge=1, description="epochs; an epoch is steps_per_epoch optimizer steps")
    steps_per_epoch: int = Field(default=250, ge=1, description="optimizer steps an epoch")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(default=1e-2, ge=0, description="decoupled weight decay of AdamW")
    warmup_fraction: float = Field(
        default=0.05, ge=0, lt=1, description="share of all steps in which the learning rate rises to its peak"
    )
    gradient_clip: float = Field(default=12.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="decay a step of the averaged weights that are scored"
    )
    foreground_fraction: float = Field(
        default=0.25, ge=0, le=1, description="share of the patches that hold vessel at their centre"
    )
    augment: bool = Field(
        default=True,
        description="change patches at random (rotation, scale, bending, mirror, noise, blur, brightness, contrast, resolution, gamma)",
    )
    validate_every: int = Field(
        default=10, ge=0, description="epochs between looks at a held-out volume, which choose nothing; 0 for none"
    )
    checkpoint_minutes: float = Field(
        default=5.0, ge=0, description="minutes between checkpoints; one is also written at the end"
    )
    checkpoint_steps: int = Field(
        default=0, ge=0, description="optimizer steps between checkpoints, beside those by time; 0 for none"
    )
    compile: bool = Field(
        default=False,
        description="compile the network with torch.compile: a minute at the start, an eighth less memory of a card, little speed",
    )
    deterministic: bool = Field(
        default=False, description="deterministic algorithms, at a price in speed; the CPU is deterministic anyway"
    )

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.max_epochs * self.steps_per_epoch
