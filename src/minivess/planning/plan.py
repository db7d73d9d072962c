"""What will be trained, decided before anything is spent: every number with its reason."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec
from minivess.planning.memory.workload import Device
from minivess.training.config import Precision

PatchPolicy = Literal["min_volume", "pad", "bucketed"]


class PlanRequest(BaseModel):
    """What the researcher asks of the plan; None leaves the choice to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    compute: str = Field(default="auto", description="auto, or a name from configs/compute_profiles.yaml: a budget")
    patch_size: Shape | None = Field(default=None, description="X, Y, Z in voxels: used exactly or refused")
    batch: int | None = Field(default=None, ge=1, description="patches of an optimizer step")
    micro_batch: int | None = Field(
        default=None, ge=1, description="patches a forward pass; gradients are accumulated to a batch"
    )
    patch_policy: PatchPolicy = Field(
        default="min_volume",
        description="min_volume: one patch that fits every volume; pad: one patch, short volumes padded under a mask; "
        "bucketed: volumes grouped by depth, each group with the deepest patch that it holds",
    )
    precision: Precision | None = Field(default=None, description="fp32, bf16 or fp16")
    workers: int | None = Field(
        default=None, ge=0, description="threads that cut patches; 0 cuts them in the training thread"
    )
    cache_rate: float | None = Field(
        default=None, ge=0, le=1, description="share of the decompressed volumes to keep in memory, as page cache"
    )
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="share that neighbouring windows of a prediction have in common"
    )


class TrainingPlan(BaseModel):
    """The outcome; ``reasons`` has one sentence for each field that was decided."""

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
        description="cases that are scored at a time beside prediction; 1 scores each at once, in the cell itself",
    )
    peak_bytes: int | None = Field(
        default=None,
        description="predicted peak of a training step on the device, of the costliest loss; None untraced",
    )
    prediction_bytes: int | None = Field(
        default=None, description="predicted peak of the device while the largest volume is predicted; None untraced"
    )
    state_bytes: int | None = Field(
        default=None,
        description="of a checkpoint: weights, their average and the optimizer's two moments; None untraced",
    )
    ram_bytes: int | None = Field(
        default=None, description="predicted memory of a cell's process without its page cache; None untraced"
    )
    step_seconds: dict[str, float] = Field(
        default_factory=dict, description="seconds of an optimizer step by loss, timed on this machine; empty untimed"
    )
    overlap: float
    reasons: dict[str, str]

    @property
    def patch(self) -> Shape:
        """The patch of most voxels; the only one unless patches are bucketed by depth."""
        return self.network.largest_patch
