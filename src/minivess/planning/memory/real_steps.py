"""Measure the time of real training steps on this machine and, on a GPU, their memory."""

from __future__ import annotations

import gc
import time
from datetime import date

import torch

from minivess.errors import PlanError
from minivess.geometry import Shape, round_down
from minivess.losses.registry import build_loss
from minivess.models.model_profile import build_network
from minivess.planning.hardware import gpu_abort_bytes
from minivess.planning.memory.peak import CONTEXT_BYTES
from minivess.planning.memory.workload import GpuStep, TrainingWorkload
from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState
from minivess.training.step import Step

_TIMED_STEPS = 2


def measure_step_seconds(work: TrainingWorkload) -> float:
    """Measure the seconds of one forward pass, backward pass and update: the faster of two steps after a warm-up step.

    A GPU is timed with the exact workload, because small patches do not use it fully. A CPU is timed with a single
    patch and with one of half the edge along X and Y; the cost per voxel follows from the difference, and the constant
    part counts once.

    Raises:
        ConfigError: The network or the loss cannot be built.
        torch.OutOfMemoryError: The GPU does not have enough free memory.
    """
    if work.device == "cuda":
        cap_gpu_memory()
        return _fastest_step(work, work.patch, work.batch)
    half, whole = _half(work.patch, work.network.divisor), work.patch
    small_s, large_s = _fastest_step(work, half, 1), _fastest_step(work, whole, 1)
    if half == whole:
        return large_s * work.batch
    per_voxel = max(large_s - small_s, 0.0) / (_voxels(whole) - _voxels(half))
    return large_s + per_voxel * (work.batch - 1) * _voxels(whole)


def measure_step_on_gpu(work: TrainingWorkload, cap_bytes: int | None = None) -> GpuStep:
    """Run real steps on the first GPU and measure their memory and time.

    The result contains neither the CUDA context, which torch does not count, nor the memory that cuDNN uses in the
    first step to try algorithms. That memory is released again, and cuDNN does not try algorithms that do not fit.

    Args:
        work: The step; its ``accumulated`` is ignored.
        cap_bytes: GPU memory that torch may use, to simulate a smaller GPU; None for no cap.

    Raises:
        ConfigError: The network or the loss cannot be built.
        PlanError: There is no GPU, or the step does not fit its memory.
    """
    if not torch.cuda.is_available():
        raise PlanError("a GPU that torch can use", "none", "measure on a machine with an NVIDIA GPU and its driver")
    if cap_bytes is not None:
        _set_torch_limit(cap_bytes)
    reset_gpu_peak()
    try:
        seconds = _fastest_step(work.model_copy(update={"device": "cuda"}), work.patch, work.batch)
    except torch.OutOfMemoryError as error:
        raise PlanError(
            "a step that fits the GPU memory",
            str(error).partition(".")[0],
            "use a smaller patch, a smaller batch or a larger cap",
        ) from error
    return read_step_on_gpu(seconds)


def reset_gpu_peak() -> None:
    """Release the GPU memory that torch caches and reset its peak counters. Without CUDA, do nothing."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def read_step_on_gpu(step_seconds: float) -> GpuStep:
    """Return the peak memory on the first GPU since ``reset_gpu_peak``, with date, GPU and library versions.

    Args:
        step_seconds: Measured time of a step, stored in the result.
    """
    return GpuStep(
        date=date.today().isoformat(),
        card=torch.cuda.get_device_name(0),
        torch=torch.__version__,
        cudnn=str(torch.backends.cudnn.version()),
        allocated_bytes=torch.cuda.max_memory_allocated(),
        reserved_bytes=torch.cuda.max_memory_reserved(),
        step_seconds=step_seconds,
    )


def cap_gpu_memory(limit_bytes: int | None = None) -> None:
    """Limit the memory of torch on the first GPU, so that a cell stays below the size at which it is aborted.

    Args:
        limit_bytes: GPU memory at which the cell is aborted, including the CUDA context; None uses 87.5 % of the GPU.
    """
    if limit_bytes is None:
        limit_bytes = gpu_abort_bytes(_gpu_bytes())
    _set_torch_limit(limit_bytes - CONTEXT_BYTES)


def _set_torch_limit(size_bytes: int) -> None:
    torch.cuda.set_per_process_memory_fraction(min(1.0, size_bytes / _gpu_bytes()))


def _gpu_bytes() -> int:
    return torch.cuda.get_device_properties(0).total_memory


def _fastest_step(work: TrainingWorkload, patch: Shape, batch: int) -> float:
    """Run a warm-up step and two timed steps, and return the seconds of the faster one."""
    network = build_network(work.network, pretrained=False).to(work.device).train()
    config = TrainingConfig()
    # The same setting as in cells: trying algorithms takes memory.
    torch.backends.cudnn.benchmark = not config.deterministic
    state = TrainState.start(network, config, work.precision)
    step = Step(build_loss(work.loss, **work.loss_options).to(work.device), config, 0, batch, work.precision)
    image = torch.randn(batch, 1, *patch)
    data = image, (image > 1).to(torch.uint8), torch.ones_like(image, dtype=torch.bool)
    seconds = []
    for _ in range(1 + _TIMED_STEPS):
        start = time.perf_counter()
        step(state, data)  # reads the loss, so the GPU has finished when it returns
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:
            reset_gpu_peak()
    return min(seconds[1:])


def _half(patch: Shape, divisor: Shape) -> Shape:
    """Halve a patch along X and Y, with at least two voxels per axis at the deepest level.

    Instance normalisation refuses a single voxel.
    """
    x, y = (min(size, max(size // 2, 2 * step)) for size, step in zip(patch[:2], divisor[:2], strict=True))
    return round_down((x, y, patch[2]), divisor)


def _voxels(patch: Shape) -> int:
    return patch[0] * patch[1] * patch[2]
