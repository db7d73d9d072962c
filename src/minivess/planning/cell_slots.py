"""Split a machine into slots for cells that run at the same time.

Each slot has a GPU (or a share of one) or some of the processors, and a share of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from minivess.errors import ConfigError
from minivess.machine.gpus import Gpu
from minivess.planning.hardware import HardwareBudget, gpu_budget_bytes


@dataclass(frozen=True)
class CellSlot:
    """A share of the machine in which one cell runs at a time.

    Attributes:
        hardware: The part of the machine that the cell may use.
        environment: Environment variables that restrict the cell's process to this part. The GPU is always named, even
            if it is the only one.
    """

    hardware: HardwareBudget
    environment: Mapping[str, str] = field(default_factory=dict)


def cell_slots(
    hardware: HardwareBudget, compute: str = "auto", cells: int | None = None, threads: str | None = None
) -> tuple[CellSlot, ...]:
    """Split the machine into slots that all run the same plan.

    Only GPUs with at least 90 % of the largest memory budget are used: a plan that fits a smaller GPU would waste
    memory on the others.

    Args:
        hardware: The whole machine.
        compute: As in a plan's request. "cpu" uses no GPU; the name of a GPU profile uses one even if it is busy.
        cells: Number of slots; if it exceeds the number of GPUs, several slots share a GPU. None makes one slot per
            GPU, or a single slot on a CPU.
        threads: OMP_NUM_THREADS of a cell on the CPU, because the last bits of its result depend on it; None shares the
            processors equally.

    Returns:
        The slots; the first has the smallest budget.

    Raises:
        ConfigError: There are more cells than processors, and more than GPUs.
    """
    tier = hardware.tier if compute == "auto" else compute
    gpus = () if tier == "cpu" else _similar_gpus(hardware.gpus)
    count, processors = cells or len(gpus) or 1, hardware.host.cpu_count
    most = max(processors, len(gpus))
    if count > most:
        resource = "processors" if most == processors else "GPUs of similar size"
        raise ConfigError(
            f"limits.cells_at_a_time of at most {most}, the number of {resource} of this machine",
            str(count),
            f"set limits.cells_at_a_time to {most} or less, or remove it",
        )
    share, equal = _share(hardware, count), str(max(1, processors // count))
    if not gpus:
        return (CellSlot(share, {"OMP_NUM_THREADS": threads or equal}),) * count
    environment = {"OMP_NUM_THREADS": equal} if count > len(gpus) else {}
    cells_per_gpu = -(-count // len(gpus))
    slots = [
        CellSlot(replace(share, gpus=(replace(gpu, cells=cells_per_gpu),)), _visible_device(gpu) | environment)
        for gpu in gpus
    ]
    return tuple(slots[number % len(gpus)] for number in range(count))


def _similar_gpus(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """GPUs with at least 90 % of the largest memory budget, the smallest budget first."""
    enough = 0.9 * max(map(gpu_budget_bytes, gpus), default=0)
    return tuple(sorted((gpu for gpu in gpus if gpu_budget_bytes(gpu) >= enough), key=gpu_budget_bytes))


def _visible_device(gpu: Gpu) -> dict[str, str]:
    """Environment variables that make CUDA see only this GPU."""
    # By default, CUDA numbers GPUs by speed and the driver by PCI bus. An inherited CUDA_VISIBLE_DEVICES may use either
    # order.
    if gpu.uuid.startswith("GPU-"):
        return {"CUDA_VISIBLE_DEVICES": gpu.uuid}
    return {"CUDA_VISIBLE_DEVICES": str(gpu.index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _share(hardware: HardwareBudget, count: int) -> HardwareBudget:
    if count == 1:
        return hardware
    host = replace(hardware.host, cpu_count=max(1, hardware.host.cpu_count // count))
    return replace(hardware, host=host, ram_limit_bytes=hardware.usable_ram_bytes // count)
