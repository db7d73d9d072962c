"""What is asked of a device, one training step or the prediction of one volume, and what it took. Equal workloads have equal peaks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec
from minivess.training.config import Precision

Device = Literal["cpu", "cuda"]


class TrainingWorkload(BaseModel):
    """One optimizer step in the middle of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["training"] = "training"
    network: NetworkSpec
    loss: str = Field(description="a key of LOSSES, or an importable builder")
    loss_options: dict[str, Any] = Field(default_factory=dict)
    patch: Shape = Field(description="X, Y, Z in voxels")
    batch: int = Field(ge=1, description="patches of one forward pass")
    accumulated: bool = Field(default=False, description="whether a step takes more than one forward pass")
    precision: Precision
    device: Device


class InferenceWorkload(BaseModel):
    """Sliding-window prediction of one volume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inference"] = "inference"
    network: NetworkSpec
    patch: Shape = Field(description="window, X, Y, Z in voxels")
    volume_shape: Shape
    overlap: float = Field(default=0.5, ge=0, lt=1, description="share that neighbouring windows have in common")
    windows: int = Field(default=1, ge=1, description="windows of one forward pass")
    precision: Precision
    device: Device


class GpuStep(BaseModel):
    """What real steps took of a card: in tensors, and in all with what torch's caching allocator kept.

    Neither the CUDA context, which torch does not count, is in it, nor what cuDNN took in the first step to try algorithms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str = Field(description="YYYY-MM-DD")
    card: str
    torch: str
    cudnn: str
    allocated_bytes: int
    reserved_bytes: int
    step_seconds: float


Workload = TrainingWorkload | InferenceWorkload
