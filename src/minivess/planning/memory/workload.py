"""Workloads of a device: one training step or the prediction of one volume; and the measured use of a GPU step.

Equal workloads have equal peaks.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec
from minivess.training.config import Precision

Device = Literal["cpu", "cuda"]


class TrainingWorkload(BaseModel):
    """One optimizer step after the first steps of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["training"] = "training"
    network: NetworkSpec
    loss: str = Field(description="a key of LOSSES, or an importable builder")
    loss_options: dict[str, Any] = Field(default_factory=dict)
    patch: Shape = Field(description="X, Y, Z in voxels")
    batch: int = Field(ge=1, description="patches per forward pass")
    accumulated: bool = Field(default=False, description="whether a step has more than one forward pass")
    precision: Precision
    device: Device


class InferenceWorkload(BaseModel):
    """Sliding-window prediction of one volume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["inference"] = "inference"
    network: NetworkSpec
    patch: Shape = Field(description="window, X, Y, Z in voxels")
    volume_shape: Shape = Field(description="X, Y, Z in voxels")
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="overlap of neighbouring windows, as a share of the window"
    )
    windows: int = Field(default=1, ge=1, description="windows per forward pass")
    precision: Precision
    device: Device


class GpuStep(BaseModel):
    """Measured GPU memory and time of real training steps.

    It contains neither the CUDA context, which torch does not count, nor the memory that cuDNN uses in the first step
    to try algorithms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str = Field(description="YYYY-MM-DD")
    card: str = Field(description="name of the GPU")
    torch: str = Field(description="version of torch")
    cudnn: str = Field(description="version of cuDNN, e.g. 91900")
    allocated_bytes: int = Field(description="peak memory of all tensors")
    reserved_bytes: int = Field(description="peak memory of torch, including what its caching allocator keeps")
    step_seconds: float = Field(description="time of one step")


Workload = TrainingWorkload | InferenceWorkload
