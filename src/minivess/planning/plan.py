"""The request for a plan and the training plan itself, which gives a reason for each of its values."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec, PatchShape
from minivess.planning.memory.workload import Device
from minivess.settings import Settings
from minivess.training.config import Precision

PatchPolicy = Literal["min_volume", "pad", "bucketed"]


class PlanRequest(Settings):
    """The researcher's settings for the plan; None means that the plan decides."""

    compute: str = Field(
        default="auto",
        description="auto, or the name of a compute profile in configs/compute_profiles.yaml (an upper bound)",
    )
    patch_size: PatchShape | None = Field(default=None, description="patch, X, Y, Z in voxels: used exactly or refused")
    batch: int | None = Field(default=None, ge=1, le=4096, description="patches per optimizer step")
    micro_batch: int | None = Field(
        default=None, ge=1, le=4096, description="patches per forward pass; gradients are accumulated to a batch"
    )
    patch_policy: PatchPolicy = Field(
        default="min_volume",
        description="min_volume: one patch that fits every volume; pad: one patch, short volumes padded under a mask; "
        "bucketed: volumes grouped by depth, each group with the deepest patch that fits its volumes",
    )
    precision: Precision | None = Field(default=None, description="fp32, bf16 or fp16")
    workers: int | None = Field(
        default=None, ge=0, le=10_000, description="threads that cut patches; 0 cuts them in the training thread"
    )
    cache_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of the decompressed volumes to keep in memory, as page cache, 0 to 1",
    )
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="overlap of neighbouring windows of a prediction, as a share of the window"
    )


class TrainingPlan(BaseModel):
    """The training plan. ``reasons`` explains each value that was chosen, as one text per topic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile_name: str
    network: NetworkSpec
    patch_policy: PatchPolicy
    batch: int
    micro_batch: int
    precision: Precision
    device: Device
    workers: int
    cache_rate: float
    scoring_processes: int = Field(
        default=1,
        description="processes that score cases in parallel with prediction; 1 scores each case in the cell itself",
    )
    peak_bytes: int | None = Field(
        default=None,
        description="predicted peak memory of a training step on the device with the costliest loss; None if untraced",
    )
    prediction_bytes: int | None = Field(
        default=None,
        description="predicted peak memory of the device while the largest volume is predicted; None if not traced",
    )
    state_bytes: int | None = Field(
        default=None,
        description="size of a checkpoint: weights, averaged weights, the optimizer's two moments; None if untraced",
    )
    ram_bytes: int | None = Field(
        default=None, description="predicted main memory of a cell's process without page cache; None if not traced"
    )
    step_seconds: dict[str, float] = Field(
        default_factory=dict,
        description="seconds per optimizer step by loss, timed on this machine; empty if not timed",
    )
    overlap: float
    reasons: dict[str, str]

    @property
    def patch(self) -> Shape:
        """The patch with the most voxels; the only one unless patches are bucketed by depth."""
        return self.network.largest_patch
