"""How much memory a training step or a prediction takes at its peak: computed from a trace, not guessed."""

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
"""What CUDA, cuDNN and cuBLAS keep on a card beside torch's tensors: 698 MiB of an H200; a card with fewer processors should keep less."""

_PHASES = {
    "start": "before the forward pass",
    "forward": "in the forward pass",
    "loss": "in the loss",
    "backward": "in the backward pass",
    "update": "in the update of the weights",
    "merge": "where windows are merged",
}


class PeakMemory(BaseModel):
    """What a device holds at the instant of the peak, by what it is for; ``int(peak)`` is the total in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Device
    phase: Literal["start", "forward", "loss", "backward", "update", "merge"]
    parameters_bytes: int = Field(default=0, description="weights and buffers of the network")
    gradients_bytes: int = 0
    optimizer_bytes: int = Field(default=0, description="both moments of AdamW")
    average_bytes: int = Field(default=0, description="the averaged weights")
    inputs_bytes: int = Field(default=0, description="batch, or slab and accumulators of a prediction")
    activations_bytes: int = Field(
        default=0, description="made in the forward pass or the loss, half precision copies of weights among them"
    )
    temporaries_bytes: int = Field(default=0, description="made in the backward pass, the update or the merging")
    workspace_bytes: int = Field(default=0, description="within a kernel")
    allocator_bytes: int = Field(default=0, description="kept by torch's caching allocator beyond all tensors")
    context_bytes: int = Field(default=0, description="CUDA context and libraries")
    host_bytes: int = Field(
        default=0, description="arrays in main memory beside the device; the volume itself is not among them"
    )

    @property
    def total_bytes(self) -> int:
        """All of the device's, without ``host_bytes``."""
        return sum(self._parts().values())

    def explain(self) -> str:
        """A sentence: how much, when, and for what, the largest first."""
        parts = sorted(self._parts().items(), key=lambda part: -part[1])
        listed = ", ".join(f"{name} {size / GIB:.2f}" for name, size in parts if size >= 0.005 * GIB)
        where = "on the card" if self.device == "cuda" else "in main memory"
        return f"{self.total_bytes / GIB:.2f} GiB {where}, reached {_PHASES[self.phase]}: {listed or 'little of each'}"

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
    """Peak of one optimizer step, any but the first. Imports torch and the network's library, then takes seconds.

    Args:
        model: A network; or a model profile or its name, whose strides are planned for the patch.
        loss: A key of ``LOSSES``, or an importable builder.
        patch: X, Y, Z in voxels.
        batch: Patches of one forward pass.
        precision: Type of the forward pass.
        spacing_um: Of the voxels, for strides that are yet to be planned.
        loss_options: Passed to the loss.
        accumulated: Whether a step takes more than one forward pass; gradients then live through the later ones.
        device: Where the step is to run. It need not be there.

    Raises:
        ConfigError: No such model, or network or loss cannot be built.
        PlanError: One of them cannot be traced.
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
    """The peak of either kind of workload; raises as ``predict_training_peak`` does."""
    from minivess.planning.memory.trace import trace_inference, trace_training

    if isinstance(work, TrainingWorkload):
        return _peak(trace_training(work), work.device)
    return _peak(trace_inference(work), work.device, host_bytes=_host_bytes(work))


def _peak(trace: Trace, device: Device, host_bytes: int = 0) -> PeakMemory:
    held = highest = at = 0
    for index, change in enumerate(trace.changes):
        held += change.size_bytes
        if index >= trace.settled and held > highest:
            highest, at = held, index
    by_role: Counter[str] = Counter()
    for change in trace.changes[: at + 1]:
        by_role[f"{trace.roles[change.block]}_bytes"] += change.size_bytes
    kept = {}
    if device == "cuda":
        reserved = reserved_bytes((change.block, change.size_bytes) for change in trace.changes)
        kept = {"allocator_bytes": reserved - highest, "context_bytes": CONTEXT_BYTES}
    return PeakMemory(device=device, phase=trace.changes[at].phase, host_bytes=host_bytes, **by_role, **kept)


def _host_bytes(work: InferenceWorkload) -> int:
    """The mask, and slabs in float32 as read, normalised and padded; on a CPU the last of them is the device's."""
    x, y, z = (max(size, whole) for size, whole in zip(work.patch, work.volume_shape, strict=True))
    slabs = 2 if work.device == "cpu" else 3
    return x * y * z + slabs * 4 * x * y * work.patch[2]
