"""Training settings: the part of an experiment's configuration that the training loop reads."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from minivess.settings import Settings

Precision = Literal["fp32", "bf16", "fp16"]
"""Number type of the forward pass. fp16 is used with loss scaling."""


class TrainingConfig(Settings):
    """Settings of a training.

    The length is ``max_epochs`` x ``steps_per_epoch`` optimizer steps. It does not depend on the size of the data set.
    """

    max_epochs: int = Field(
        default=100, ge=1, le=1_000_000, description="number of epochs; an epoch is steps_per_epoch optimizer steps"
    )
    steps_per_epoch: int = Field(default=250, ge=1, le=1_000_000, description="optimizer steps per epoch")
    learning_rate: float = Field(default=1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(default=1e-2, ge=0, description="decoupled weight decay of AdamW")
    warmup_fraction: float = Field(
        default=0.05, ge=0, lt=1, description="share of all steps during which the learning rate rises to its peak"
    )
    gradient_clip: float = Field(default=12.0, gt=0, description="gradients are clipped to this norm")
    ema_decay: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="decay per step of the moving average of the weights; the average is scored",
    )
    foreground_fraction: float = Field(
        default=0.25, ge=0, le=1, description="share of the training patches with a vessel voxel at their centre"
    )
    augment: bool = Field(
        default=True,
        description="augment patches (rotation, scale, bending, mirror, noise, blur, brightness, contrast, resolution, gamma)",
    )
    validate_every: int = Field(
        default=10,
        ge=0,
        le=1_000_000,
        description="epochs between scores of held-out volumes; they do not affect training; 0 for none",
    )
    checkpoint_minutes: float = Field(
        default=5.0, ge=0, le=1e6, description="minutes between checkpoints; one is also written at the end"
    )
    checkpoint_steps: int = Field(
        default=0,
        ge=0,
        le=10**12,
        description="optimizer steps between checkpoints, in addition to those by time; 0 for none",
    )
    compile: bool = Field(
        default=False,
        description="use torch.compile: a minute longer at the start, an eighth less GPU memory, slightly faster steps",
    )
    deterministic: bool = Field(
        default=False,
        description="use deterministic algorithms, which are slower; training on the CPU is always deterministic",
    )

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.max_epochs * self.steps_per_epoch

    def step_at(self, share: float) -> int:
        """Return the step at a share of all steps, between 0 and 1."""
        return max(1, round(share * self.steps))
