"""Predict the peak memory of a training step or a prediction from a trace of its operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from minivess.geometry import Shape, Spacing
from minivess.models.model_profile import ModelProfile, NetworkSpec, load_model_profile
from minivess.planning.memory.caching_allocator import reserved_bytes
from minivess.planning.memory.workload import Device, InferenceWorkload, TrainingWorkload, Workload
from minivess.text import GIB, MIB
from minivess.training.config import Precision

if TYPE_CHECKING:
    from minivess.planning.memory.trace import Trace

CONTEXT_BYTES = 704 * MIB
"""GPU memory that CUDA, cuDNN and cuBLAS hold besides torch's tensors. Measured on an H200: 698 MiB; smaller GPUs
should need less."""

_PHASES = {
    "start": "before the forward pass",
    "forward": "in the forward pass",
    "loss": "in the loss",
    "backward": "in the backward pass",
    "update": "in the update of the weights",
    "merge": "while windows are merged",
}


class PeakMemory(BaseModel):
    """Memory of a device at its peak, by purpose; ``int(peak)`` is the total in bytes.

    Attributes:
        device: "cpu" or "cuda".
        phase: When the peak is reached.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Device
    phase: Literal["start", "forward", "loss", "backward", "update", "merge"]
    parameters_bytes: int = Field(default=0, description="weights and buffers of the network")
    gradients_bytes: int = 0
    optimizer_bytes: int = Field(default=0, description="both moments of AdamW")
    average_bytes: int = Field(default=0, description="the averaged weights")
    inputs_bytes: int = Field(default=0, description="the batch, or the slab and the accumulators of a prediction")
    activations_bytes: int = Field(
        default=0,
        description="created in the forward pass or the loss, including the half precision copies of weights",
    )
    temporaries_bytes: int = Field(
        default=0, description="created in the backward pass, the weight update or the merging of windows"
    )
    workspace_bytes: int = Field(default=0, description="temporary memory within a kernel")
    allocator_bytes: int = Field(default=0, description="kept by torch's caching allocator in addition to all tensors")
    context_bytes: int = Field(default=0, description="CUDA context and libraries")
    host_bytes: int = Field(
        default=0, description="arrays in main memory besides the memory of the device, without the volume itself"
    )

    @property
    def total_bytes(self) -> int:
        """Memory of the device, without ``host_bytes``."""
        return sum(self._parts().values())

    def explain(self) -> str:
        """Describe the peak in one sentence: its size, its phase and its parts, the largest first."""
        parts = sorted(self._parts().items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts if size >= 0.005 * GIB)
        where = "on the GPU" if self.device == "cuda" else "in main memory"
        return f"{self.total_bytes / GIB:.2f} GiB {where}, reached {_PHASES[self.phase]}: {listed or 'all parts are small'}"

    def __int__(self) -> int:
        return self.total_bytes

    def _parts(self) -> dict[str, int]:
        sizes = self.model_dump(exclude={"device", "phase", "host_bytes"})
        return {name.removesuffix("_bytes"): size for name, size in sizes.items()}


def predict_training_peak(
    model: str | ModelProfile | NetworkSpec,
    loss: str,
    patch: Shape,
    batch: int,
    precision: Precision,
    *,
    spacing_um: Spacing = (1.0, 1.0, 1.0),
    loss_options: Mapping[str, Any] | None = None,
    accumulated: bool = False,
    device: Device = "cuda",
) -> PeakMemory:
    """Predict the peak memory of one optimizer step after the first.

    It imports torch and the network's library, and then takes seconds.

    Args:
        model: A network, a model profile or the name of a profile. The strides of a profile are planned for the patch.
        loss: A key of ``LOSSES``, or an importable builder.
        patch: X, Y, Z in voxels.
        batch: Patches per forward pass.
        precision: Type of the forward pass.
        spacing_um: Voxel spacing X, Y, Z in micrometre; used to plan the strides of a profile.
        loss_options: Passed to the loss.
        accumulated: Whether a step has more than one forward pass; gradients then exist during the later passes.
        device: Where the step will run. This machine need not have it.

    Returns:
        The peak with its parts.

    Raises:
        ConfigError: The model is unknown, or the network or the loss cannot be built.
        PlanError: The network or the loss cannot be traced.
    """
    if isinstance(model, str):
        model = load_model_profile(model)
    network = model if isinstance(model, NetworkSpec) else model.spec((patch,), model.plan_strides(patch, spacing_um))
    return predict_peak(
        TrainingWorkload(
            network=network,
            loss=loss,
            loss_options=dict(loss_options or {}),
            patch=patch,
            batch=batch,
            accumulated=accumulated,
            precision=precision,
            device=device,
        )
    )


def predict_peak(work: Workload) -> PeakMemory:
    """Predict the peak memory of a training step or a prediction.

    Raises:
        ConfigError: The network or the loss cannot be built.
        PlanError: The network or the loss cannot be traced.
    """
    from minivess.planning.memory.trace import trace_inference, trace_training

    if isinstance(work, TrainingWorkload):
        return _peak(trace_training(work), work.device)
    return _peak(trace_inference(work), work.device, host_bytes=_host_bytes(work))


def _peak(trace: Trace, device: Device, host_bytes: int = 0) -> PeakMemory:
    """Find the peak after ``trace.settled`` and sum up the blocks that exist at that time, by role."""
    held = highest = at = 0
    for index, change in enumerate(trace.changes):
        held += change.size_bytes
        if index >= trace.settled and held > highest:
            highest, at = held, index
    by_role: Counter[str] = Counter()
    for change in trace.changes[: at + 1]:
        by_role[f"{trace.roles[change.block]}_bytes"] += change.size_bytes
    gpu_only = {}
    if device == "cuda":
        reserved = reserved_bytes((change.block, change.size_bytes) for change in trace.changes)
        gpu_only = {"allocator_bytes": reserved - highest, "context_bytes": CONTEXT_BYTES}
    return PeakMemory(device=device, phase=trace.changes[at].phase, host_bytes=host_bytes, **by_role, **gpu_only)


def _host_bytes(work: InferenceWorkload) -> int:
    """Return the bytes of the mask and of the slabs in float32 as read, normalised and padded.

    On a CPU, the trace already counts the padded slab.
    """
    x, y, z = (max(size, whole) for size, whole in zip(work.patch, work.volume_shape, strict=True))
    slabs = 2 if work.device == "cpu" else 3
    return x * y * z + slabs * 4 * x * y * work.patch[2]
