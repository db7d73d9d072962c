"""The hardware budget: what the machine has, how much of it a run may use, and the matching compute profile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minivess.machine.gpus import Gpu, read_gpus, visible_gpus
from minivess.machine.host import Host, read_host
from minivess.text import GIB, format_bytes, parse_size

Tier = Literal["cpu", "gpu_low", "gpu_high", "gpu_extreme"]


@dataclass(frozen=True)
class HardwareBudget:
    """The machine, and the shares of it that a run may use. All sizes are in bytes.

    The shares are those of the reference desktop, scaled to the detected machine: 24 of 32 GB of main memory; of an 8
    GB GPU, 6 GB to plan with and 7 GB at which a run is aborted.

    Attributes:
        host: Memory, swap, processors and load, with its own notes.
        gpus: All visible GPUs; empty if there is none.
        gpu_notes: Why a GPU could not be read.
        ram_limit_bytes: Memory limit set by the researcher, or the share of one slot; None if there is no limit.
    """

    host: Host
    gpus: tuple[Gpu, ...] = ()
    gpu_notes: tuple[str, ...] = ()
    ram_limit_bytes: int | None = None

    @classmethod
    def imagined(cls, gpu_bytes: int | None, ram_bytes: int, cpu_count: int = 8) -> HardwareBudget:
        """Return a hypothetical idle machine, e.g. to plan for another computer.

        Args:
            gpu_bytes: Memory of its only GPU; None for a machine without a GPU.
            ram_bytes: Main memory.
            cpu_count: Number of processors.
        """
        host = Host(cpu_count, None, ram_bytes, ram_bytes, 0, 0, notes=("hypothetical machine: nothing was detected",))
        gpus = () if gpu_bytes is None else (Gpu(0, "", "hypothetical GPU", gpu_bytes, gpu_bytes, None, ""),)
        return cls(host, gpus)

    @property
    def gpu(self) -> Gpu | None:
        """The GPU that a run would use: the one with the largest budget; None without a GPU.

        If several have the same budget, it is the first. If the tier is "cpu", this GPU is too small or too busy to be
        chosen automatically.
        """
        return max(self.gpus, key=gpu_budget_bytes, default=None)

    @property
    def tier(self) -> Tier:
        """The name of the compute profile that fits this machine.

        It depends on the GPU memory: "cpu" below 6 GiB, "gpu_low" to 10, "gpu_high" to 24, "gpu_extreme" above.

        A busy GPU counts as the idle GPU with the same budget. A GPU counts as its nominal size if it reports up to 5 %
        less, because the driver keeps a part. If several cells share a GPU, the share of one cell may be less than 6
        GiB: only the sum over the cells must reach 6 GiB.
        """
        idle_bytes = self.gpu_budget_bytes * 4 // 3
        if self.gpu is None or not at_least(idle_bytes * self.gpu.cells, 6 * GIB):
            return "cpu"
        if idle_bytes <= 10 * GIB:
            return "gpu_low"
        return "gpu_high" if idle_bytes <= 24 * GIB else "gpu_extreme"

    @property
    def usable_ram_bytes(self) -> int:
        """Main memory for the process tree of a run.

        This is 75 % of the total, but at most the memory available now minus 1/32 of the total. The rest is left to the
        desktop: with 24 of 32 GB used, a session with a browser survives. The run is aborted when it reaches this size.
        ``ram_limit_bytes`` can lower it further.
        """
        total, available = self.host.ram_total_bytes, self.host.ram_available_bytes
        usable = max(0, min(total * 3 // 4, available - total // 32))
        return usable if self.ram_limit_bytes is None else min(usable, self.ram_limit_bytes)

    @property
    def ram_abort_bytes(self) -> int:
        """Main memory at which a run is aborted: ``ram_limit_bytes`` if the machine has it, else the usable memory."""
        limit = self.ram_limit_bytes
        return limit if limit is not None and limit <= self.host.ram_total_bytes else self.usable_ram_bytes

    @property
    def gpu_budget_bytes(self) -> int:
        """Memory of ``gpu`` that a plan may use; 0 without a GPU."""
        return gpu_budget_bytes(self.gpu) if self.gpu else 0

    @property
    def gpu_warn_bytes(self) -> int:
        """GPU memory above which a run warns: 75 % of the GPU, 6 of 8 GB; 0 without a GPU."""
        return self.gpu.counted_bytes * 3 // 4 if self.gpu else 0

    @property
    def gpu_abort_bytes(self) -> int:
        """GPU memory at which a run is aborted: 87.5 % of the GPU, 7 of 8 GB; 0 without a GPU."""
        return gpu_abort_bytes(self.gpu.counted_bytes) if self.gpu else 0

    @property
    def gpu_crowded_bytes(self) -> int:
        """Use of the whole GPU by all programs above which a run warns about the others: 87.5 % of its total memory."""
        return gpu_abort_bytes(self.gpu.total_bytes) if self.gpu else 0

    def explain(self) -> dict[str, str]:
        """Reasons for the values of ``tier``, ``usable_ram_bytes`` and ``gpu_budget_bytes``, one text each."""
        total = self.host.ram_total_bytes
        rule = "the memory available now minus 1/32 of" if self.usable_ram_bytes < total * 3 // 4 else "75 % of"
        if self.usable_ram_bytes == self.ram_limit_bytes:
            rule = "the memory limit in effect, on a machine with"
        reasons = {"usable_ram_bytes": f"{format_bytes(self.usable_ram_bytes)}: {rule} {format_bytes(total)}"}
        if self.gpu is None:
            none = "no NVIDIA GPU was found"
            return reasons | {"tier": f"cpu: {none}", "gpu_budget_bytes": f"0: {none}"}
        gpu = f"GPU {self.gpu.index} ({self.gpu.name}) has {format_bytes(self.gpu.total_bytes)}"
        gpu += f", {format_bytes(self.gpu.free_bytes)} of it free"
        if self.gpu.counted_bytes < self.gpu.total_bytes:
            why = ["the limit set by the user"] if self.gpu.limit_bytes is not None else []
            why += [f"{self.gpu.cells} cells share it"] if self.gpu.cells > 1 else []
            gpu += f", and counts as a GPU of {format_bytes(self.gpu.counted_bytes)}: {' and '.join(why)}"
        rule = "the free memory minus 1/8" if self.gpu_budget_bytes < self.gpu_warn_bytes else "75 %"
        shared = f", shared by {self.gpu.cells} cells" if self.gpu.cells > 1 else ""
        budget = f"{format_bytes(self.gpu_budget_bytes)}: {rule} of the GPU{shared}; {gpu}"
        return reasons | {"tier": f"{self.tier}: {gpu}", "gpu_budget_bytes": budget}


def detect_hardware(
    *,
    proc: Path = Path("/proc"),
    cgroup: Path = Path("/sys/fs/cgroup"),
    smi: Sequence[str] = ("nvidia-smi",),
    nvml: bool = True,
    timeout_s: float = 10.0,
    visible: str | None = None,
) -> HardwareBudget:
    """Read the current state of this machine. It never fails: what cannot be read is missing, and a note says why.

    Args:
        proc: Where procfs is mounted.
        cgroup: Where the cgroup hierarchies are mounted.
        smi: The nvidia-smi command, used if NVML gives no result.
        nvml: Whether to use NVML at all.
        timeout_s: Time limit of each of the two queries, in seconds.
        visible: Value of CUDA_VISIBLE_DEVICES, to count only these GPUs; None counts all.
    """
    found, notes = read_gpus(smi, nvml, timeout_s)
    gpus = visible_gpus(found, visible)
    if len(gpus) < len(found):
        notes += (f"CUDA_VISIBLE_DEVICES={visible!r} leaves {len(gpus)} of {len(found)} GPUs",)
    return HardwareBudget(read_host(proc, cgroup), gpus, notes)


def hardware_for(gpu: str | None = None, ram: str | None = None) -> HardwareBudget:
    """This machine, or a machine that you do not have.

    Args:
        gpu: Memory of its GPU, e.g. "8GB"; "none" for a machine without a GPU; None for the GPU of this machine.
        ram: Its main memory, e.g. "32GB"; None for the memory of this machine.

    Raises:
        ConfigError: A size is not written as "8GB", "512MB" or "24" (GiB).
    """
    detected = detect_hardware(visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpu is None and ram is None:
        return detected
    gpu_bytes = detected.gpu.total_bytes if gpu is None and detected.gpu else None
    if gpu is not None and gpu != "none":
        gpu_bytes = parse_size(gpu)
    return HardwareBudget.imagined(gpu_bytes, parse_size(ram) if ram else detected.host.ram_total_bytes)


def gpu_budget_bytes(gpu: Gpu) -> int:
    """Return the GPU memory that a plan may use, for one cell.

    This is 75 % of the GPU, but at most its free memory minus 1/8 of its total, divided by the cells that share it. The
    budget plus the memory used by other programs then stays below the size at which a run is aborted (87.5 %).
    """
    return max(0, min(gpu.counted_bytes * 3 // 4, (gpu.free_bytes - gpu.total_bytes // 8) // gpu.cells))


def gpu_abort_bytes(total_bytes: int) -> int:
    """Return the GPU memory at which a run is aborted: 87.5 % of the GPU, 7 of 8 GB."""
    return total_bytes * 7 // 8


def at_least(size_bytes: int, nominal_bytes: int) -> bool:
    """Return whether a memory size reaches a nominal size; it may report up to 5 % less."""
    return size_bytes >= nominal_bytes * 95 // 100
