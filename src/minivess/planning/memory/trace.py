"""Trace the memory of a training step or a prediction: run it on fake tensors and record every allocation and release.

Fake tensors have shapes and storages but no memory, so a trace needs no GPU and takes seconds. They are CPU tensors for
every device, because torch differentiates fake CUDA tensors only if a GPU driver is installed. Two differences of a GPU
are modelled explicitly: AdamW works on lists of tensors (here), and kernels use other temporary memory (``kernels``).
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minivess.errors import ConfigError, PlanError
from minivess.losses.registry import build_loss
from minivess.models.model_profile import NetworkSpec, build_network
from minivess.models.sliding_window import WindowSums, plane_corners, slab_spans
from minivess.planning.memory.kernels import kernel_bytes
from minivess.planning.memory.workload import Device, InferenceWorkload, TrainingWorkload
from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState
from minivess.training.step import Step, autocast

Phase = Literal["start", "forward", "loss", "backward", "update", "merge"]
Role = Literal["parameters", "gradients", "optimizer", "average", "inputs", "activations", "temporaries", "workspace"]

_ROLE_OF_PHASE: dict[Phase, Role] = {
    "start": "inputs",
    "forward": "activations",
    "loss": "activations",
    "backward": "temporaries",
    "update": "temporaries",
    "merge": "temporaries",
}


class Change(NamedTuple):
    """The allocation of a block of memory (positive bytes) or its release (the same bytes, negative)."""

    block: int
    size_bytes: int
    phase: Phase


@dataclass(frozen=True)
class Trace:
    """All changes since the network was built.

    Attributes:
        changes: In order.
        settled: Index from which on the changes are those of every later step.
        roles: Purpose of each block, by block number.
    """

    changes: Sequence[Change]
    settled: int
    roles: Mapping[int, Role]


class _Recorder(TorchDispatchMode):
    """Record the storages of tensors.

    Views and in-place operators share a storage, so it counts once. A block is released when its last tensor is
    deleted.
    """

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.phase: Phase = "start"
        self.changes: list[Change] = []
        self.roles: list[Role] = []
        self._device = device
        self._alive: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.namespace == "aten" and torch.is_inference_mode_enabled():
            with self:  # in inference mode, composite operators are not decomposed before they get here
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        try:
            result = func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            if func is not torch.ops.aten._local_scalar_dense.default:
                raise
            return 0  # the value of the loss, or whether a gradient overflowed: memory does not depend on it
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._track(leaf.untyped_storage())
        extra = kernel_bytes(func, args, result, self._device)
        if extra > 0:
            self._release(self._allocate(extra, "workspace"), extra)
        return result

    def assign(self, role: Role, tensors: Iterable[torch.Tensor | None]) -> None:
        """Set the role of the blocks of these tensors, independent of when they were created."""
        for tensor in tensors:
            if tensor is not None:
                self.roles[self._alive[tensor.untyped_storage()._cdata][0]] = role

    def trace(self, settled: int) -> Trace:
        """Return the changes recorded so far. Later changes, e.g. the deletion of the network, are not part of it."""
        return Trace(tuple(self.changes), settled, dict(enumerate(self.roles)))

    def enter(self, phase: Phase, *_: object) -> None:
        """Set the phase of the changes that follow. Accepts and ignores the arguments of a hook."""
        self.phase = phase

    def _track(self, storage: torch.UntypedStorage) -> None:
        address, size_bytes = storage._cdata, storage.nbytes()
        if address in self._alive or size_bytes == 0:
            return
        block = self._allocate(size_bytes, _ROLE_OF_PHASE[self.phase])

        def on_delete(_: object) -> None:
            del self._alive[address]
            self._release(block, size_bytes)

        self._alive[address] = block, weakref.ref(storage, on_delete)

    def _allocate(self, size_bytes: int, role: Role) -> int:
        block = len(self.roles)
        self.roles.append(role)
        self.changes.append(Change(block, size_bytes, self.phase))
        return block

    def _release(self, block: int, size_bytes: int) -> None:
        self.changes.append(Change(block, -size_bytes, self.phase))


class _FakeTensors(FakeTensorMode):
    """A fake tensor mode that is not copied: a deep copy of a network must use the same mode as the network."""

    def __deepcopy__(self, memo: object) -> _FakeTensors:
        return self


def trace_training(work: TrainingWorkload) -> Trace:
    """Trace two optimizer steps.

    The second needs the same memory as every later one, because the optimizer's moments exist by then.

    Raises:
        ConfigError: The network or the loss cannot be built, or the network does not return the requested auxiliary
            heads.
        PlanError: The memory of the network or the loss depends on values, e.g. because of indexing by a mask.
    """
    return _traced(work.device, partial(_two_steps, work))


def trace_inference(work: InferenceWorkload) -> Trace:
    """Trace the first two slabs of a volume and the last, each with its first two groups of windows.

    All other slabs and windows need the same memory.

    Raises:
        ConfigError: The network cannot be built.
        PlanError: The memory of the network depends on values, e.g. because of indexing by a mask.
    """
    return _traced(work.device, partial(_three_slabs, work))


def _traced(device: Device, run: Callable[[_Recorder], Trace]) -> Trace:
    recorder = _Recorder(device)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), _FakeTensors(), recorder:
            # torch's deep copy of a tensor reads the data pointer to check whether the tensor has a storage.
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            return run(recorder)
    except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException) as error:
        raise PlanError(
            "a network and a loss whose memory depends only on shapes",
            f"{type(error).__name__}: {error}",
            "rewrite the operation so that no size depends on values (e.g. torch.where instead of indexing by a mask)",
        ) from error


def _two_steps(work: TrainingWorkload, recorder: _Recorder) -> Trace:
    config = TrainingConfig()
    network = build_network(work.network, pretrained=False).train()
    state = TrainState.start(network, config, work.precision)
    for group in state.optimizer.param_groups:
        group["foreach"] = work.device == "cuda"
    step = Step(build_loss(work.loss, **work.loss_options), config, 0, work.batch, work.precision)
    shape = (work.batch * (2 if work.accumulated else 1), 1, *work.patch)
    batch = torch.empty(shape), torch.empty(shape, dtype=torch.uint8), torch.empty(shape, dtype=torch.bool)
    network.register_forward_pre_hook(partial(recorder.enter, "forward"))
    network.register_forward_hook(partial(_require_heads, work.network))
    step.loss.register_forward_pre_hook(partial(recorder.enter, "loss"))
    step.loss.register_forward_hook(partial(recorder.enter, "backward"))
    state.optimizer.register_step_pre_hook(partial(recorder.enter, "update"))
    step(state, batch)
    settled = len(recorder.changes)
    step(state, batch)
    recorder.assign("parameters", [*network.parameters(), *network.buffers()])
    recorder.assign("gradients", [parameter.grad for parameter in network.parameters()])
    recorder.assign("average", [*state.average.parameters(), *state.average.buffers()])
    recorder.assign("optimizer", [value for values in state.optimizer.state.values() for value in values.values()])
    return recorder.trace(settled)


def _require_heads(spec: NetworkSpec, _network: object, _images: object, outputs: object) -> None:
    if spec.heads and isinstance(outputs, torch.Tensor):
        raise ConfigError(
            f"a list of {1 + spec.heads} logits from {spec.model} in training, "
            f"because model.deep_supervision is {spec.deep_supervision}",
            "one tensor",
            "set model.deep_supervision to 0, or add the auxiliary heads to the network",
        )


def _three_slabs(work: InferenceWorkload, recorder: _Recorder) -> Trace:
    """Run the steps of ``predict_volume`` with the same variables, on empty slabs instead of a file."""
    network = build_network(work.network, pretrained=False).eval()
    x, y, z = (max(size, whole) for size, whole in zip(work.patch, work.volume_shape, strict=True))
    spans = slab_spans(z, work.patch[2], work.overlap)
    corners = plane_corners((x, y), work.patch, work.overlap)
    with torch.inference_mode(), autocast(torch.device("cpu"), work.precision):
        sums = WindowSums(network, torch.empty(work.patch), (x, y), work.windows)
        settled = len(recorder.changes)
        for start, following in (*spans[:2], spans[-1]):
            recorder.enter("start")
            slab = torch.empty(x, y, work.patch[2])
            recorder.enter("forward")
            sums.add(slab, corners[: 2 * work.windows])
            recorder.enter("merge")
            logits = sums.take(following - start)
            final = logits.argmax(0).to(torch.uint8)  # noqa: F841  # exists until the next slab assigns it
    recorder.assign("parameters", [*network.parameters(), *network.buffers()])
    return recorder.trace(settled)
