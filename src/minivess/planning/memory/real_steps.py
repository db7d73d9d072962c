"""What a training step takes on this machine, by real steps: its time, and on a card its memory."""

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
    """Seconds of one forward and backward pass and update; of the faster of two after a first.

    A card is timed with the very workload, since small patches leave it idle. A CPU is timed with a single patch and with one
    of half the edge in plane: what does not grow with the voxels between the two counts once.

    Raises:
        ConfigError: Network or loss cannot be built.
        torch.OutOfMemoryError: The card has not the room now.
    """
    if work.device == "cuda":
        cap_gpu_memory()
        return _fastest(work, work.patch, work.batch)
    half, whole = _half(work.patch, work.network.divisor), work.patch
    small_s, large_s = _fastest(work, half, 1), _fastest(work, whole, 1)
    if half == whole:
        return large_s * work.batch
    per_voxel = max(large_s - small_s, 0.0) / (_voxels(whole) - _voxels(half))
    return large_s + per_voxel * (work.batch - 1) * _voxels(whole)


def measure_step_on_gpu(work: TrainingWorkload, cap_bytes: int | None = None) -> GpuStep:
    """Take real steps on the first card.

    Neither the CUDA context, which torch does not count, nor what cuDNN took to try algorithms in the first step is in it: the
    latter is given back, and what does not fit is not tried.

    Args:
        work: The step; its ``accumulated`` is not looked at.
        cap_bytes: What torch may take of the card, to stand for a smaller one.

    Raises:
        ConfigError: Network or loss cannot be built.
        PlanError: There is no card, or the step does not fit it.
    """
    if not torch.cuda.is_available():
        raise PlanError("a card that torch can use", "none", "measure on a machine with an NVIDIA card and its driver")
    if cap_bytes is not None:
        _allow(cap_bytes)
    reset_gpu_peak()
    try:
        seconds = _fastest(work.model_copy(update={"device": "cuda"}), work.patch, work.batch)
    except torch.OutOfMemoryError as error:
        raise PlanError("a step that fits the card", str(error).partition(".")[0], "see what fits above it") from error
    return read_step_on_gpu(seconds)


def reset_gpu_peak() -> None:
    """Give back what torch keeps of the card for later, and count its peaks from now on; without a card, nothing."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def read_step_on_gpu(step_seconds: float) -> GpuStep:
    """What was taken of the first card since ``reset_gpu_peak``, with the day and the versions that it holds for."""
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
    """Have torch take no more of the first card than keeps a cell below the size at which it is ended; None is all of the card's."""
    if limit_bytes is None:
        limit_bytes = gpu_abort_bytes(_card_bytes())
    _allow(limit_bytes - CONTEXT_BYTES)


def _allow(size_bytes: int) -> None:
    torch.cuda.set_per_process_memory_fraction(min(1.0, size_bytes / _card_bytes()))


def _card_bytes() -> int:
    return torch.cuda.get_device_properties(0).total_memory


def _fastest(work: TrainingWorkload, patch: Shape, batch: int) -> float:
    network = build_network(work.network, pretrained=False).to(work.device).train()
    config = TrainingConfig()
    torch.backends.cudnn.benchmark = not config.deterministic  # as cells do: the algorithms that it tries take memory
    state = TrainState.start(network, config, work.precision)
    step = Step(build_loss(work.loss, **work.loss_options).to(work.device), config, 0, batch, work.precision)
    image = torch.randn(batch, 1, *patch)
    data = image, (image > 1).to(torch.uint8), torch.ones_like(image, dtype=torch.bool)
    seconds = []
    for _ in range(1 + _TIMED_STEPS):
        began = time.perf_counter()
        step(state, data)  # reads the loss, so a card has finished when it returns
        seconds.append(time.perf_counter() - began)
        if len(seconds) == 1:
            reset_gpu_peak()
    return min(seconds[1:])


def _half(patch: Shape, divisor: Shape) -> Shape:
    """Half of it in plane, but two voxels an axis at the deepest level: instance normalisation refuses a single one."""
    x, y = (min(size, max(size // 2, 2 * step)) for size, step in zip(patch[:2], divisor[:2], strict=True))
    return round_down((x, y, patch[2]), divisor)


def _voxels(patch: Shape) -> int:
    return patch[0] * patch[1] * patch[2]
