"""The machine as a budget: what is there, what of it a run may use, and which tier of compute profile that makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minivess.machine.gpus import Gpu, read_gpus, visible_gpus
from minivess.machine.host import Host, read_host
from minivess.text import GIB, format_bytes

Tier = Literal["cpu", "gpu_low", "gpu_high", "gpu_extreme"]


@dataclass(frozen=True)
class HardwareBudget:
    """The machine, and the shares of it that a run may take. All sizes are bytes.

    The shares are those of the reference desktop (24 of 32 GB of memory; of an 8 GB card 6 to plan with and 7 to abort
    at), scaled to what is detected.

    Attributes:
        host: Memory, swap, processors and load, with notes of its own.
        gpus: Every visible card; empty without one.
        gpu_notes: Why a card, or any card, could not be read.
        ram_limit_bytes: Memory that the researcher allows a run; None leaves it to the machine.
    """

    host: Host
    gpus: tuple[Gpu, ...] = ()
    gpu_notes: tuple[str, ...] = ()
    ram_limit_bytes: int | None = None

    @classmethod
    def imagined(cls, gpu_bytes: int | None, ram_bytes: int, cpu_count: int = 8) -> HardwareBudget:
        """An idle machine one does not have: one card of ``gpu_bytes`` (None: no card) and ``ram_bytes`` of memory."""
        host = Host(cpu_count, None, ram_bytes, ram_bytes, 0, 0, notes=("imagined: nothing was detected",))
        gpus = () if gpu_bytes is None else (Gpu(0, "", "imagined card", gpu_bytes, gpu_bytes, None, ""),)
        return cls(host, gpus)

    @property
    def gpu(self) -> Gpu | None:
        """The card a run would use: the one with the largest budget, the first of equals; None without any.

        On tier "cpu" it is a card too small or too busy to be chosen automatically.
        """
        return max(self.gpus, key=gpu_budget_bytes, default=None)

    @property
    def tier(self) -> Tier:
        """The named profile that fits: "cpu" below 6 GiB, "gpu_low" to 10, "gpu_high" to 24, "gpu_extreme" above.

        A busy card counts as the idle one that would leave the same budget, and a card (or machine) counts as the
        size it is sold as when it reports up to 5 % less, the part that driver and kernel keep. A part of a card that cells
        share may be less than 6 GiB: they were told to share it.
        """
        worth_bytes = self.gpu_budget_bytes * 4 // 3
        if self.gpu is None or not at_least(worth_bytes * self.gpu.cells, 6 * GIB):
            return "cpu"
        if worth_bytes <= 10 * GIB:
            return "gpu_low"
        return "gpu_high" if worth_bytes <= 24 * GIB else "gpu_extreme"

    @property
    def usable_ram_bytes(self) -> int:
        """Memory for the process tree of a run: 75 % of the machine's, and never more than is available now less 1/32.

        The rest is the desktop's: 24 of 32 GB keeps a session with a browser alive. The run is aborted at this size.
        """
        total, available = self.host.ram_total_bytes, self.host.ram_available_bytes
        usable = max(0, min(total * 3 // 4, available - total // 32))
        return usable if self.ram_limit_bytes is None else min(usable, self.ram_limit_bytes)

    @property
    def ram_abort_bytes(self) -> int:
        """Memory of a run at which it is aborted: the limit that was set, if the machine has as much; else what is usable."""
        limit = self.ram_limit_bytes
        return limit if limit is not None and limit <= self.host.ram_total_bytes else self.usable_ram_bytes

    @property
    def gpu_budget_bytes(self) -> int:
        """Card memory a plan may count on, of ``gpu``; 0 without a card."""
        return gpu_budget_bytes(self.gpu) if self.gpu else 0

    @property
    def gpu_warn_bytes(self) -> int:
        """GPU memory of a run above which it warns: 75 % of the card, 6 of 8 GB; 0 without a card."""
        return self.gpu.counted_bytes * 3 // 4 if self.gpu else 0

    @property
    def gpu_abort_bytes(self) -> int:
        """GPU memory of a run at which it is aborted: 87.5 % of the card, 7 of 8 GB; 0 without a card."""
        return gpu_abort_bytes(self.gpu.counted_bytes) if self.gpu else 0

    @property
    def gpu_crowded_bytes(self) -> int:
        """Use of the whole card, by whomever, above which a run warns of the others: 87.5 % of all of it."""
        return gpu_abort_bytes(self.gpu.total_bytes) if self.gpu else 0

    def explain(self) -> dict[str, str]:
        """Why ``tier``, ``usable_ram_bytes`` and ``gpu_budget_bytes`` are what they are, a sentence each."""
        total = self.host.ram_total_bytes
        rule = "what is available now less 1/32" if self.usable_ram_bytes < total * 3 // 4 else "75 %"
        if self.usable_ram_bytes == self.ram_limit_bytes:
            rule = "the limit that was set"
        reasons = {"usable_ram_bytes": f"{format_bytes(self.usable_ram_bytes)}: {rule} of {format_bytes(total)}"}
        if self.gpu is None:
            none = "no NVIDIA card was found"
            return reasons | {"tier": f"cpu: {none}", "gpu_budget_bytes": f"0: {none}"}
        card = f"card {self.gpu.index} ({self.gpu.name}) has {format_bytes(self.gpu.total_bytes)}"
        card += f", {format_bytes(self.gpu.free_bytes)} of it free"
        if self.gpu.counted_bytes < self.gpu.total_bytes:
            why = ["the limit that was set"] if self.gpu.limit_bytes is not None else []
            why += [f"{self.gpu.cells} cells share it"] if self.gpu.cells > 1 else []
            card += f", and counts as one of {format_bytes(self.gpu.counted_bytes)}: {', and '.join(why)}"
        rule = "what is free less an eighth" if self.gpu_budget_bytes < self.gpu_warn_bytes else "75 %"
        shared = f", shared by {self.gpu.cells} cells" if self.gpu.cells > 1 else ""
        budget = f"{format_bytes(self.gpu_budget_bytes)}: {rule} of the card{shared}; {card}"
        return reasons | {"tier": f"{self.tier}: {card}", "gpu_budget_bytes": budget}


def detect_hardware(
    *,
    proc: Path = Path("/proc"),
    cgroup: Path = Path("/sys/fs/cgroup"),
    smi: Sequence[str] = ("nvidia-smi",),
    nvml: bool = True,
    timeout_s: float = 10.0,
    visible: str | None = None,
) -> HardwareBudget:
    """Reads this machine as it is now. It never fails: what cannot be read is missing from the result and noted.

    Args:
        proc: Where procfs is mounted.
        cgroup: Where the cgroup hierarchies are mounted.
        smi: The command to ask when NVML gives nothing.
        nvml: Whether NVML is asked at all.
        timeout_s: How long each of the two may take, in seconds.
        visible: The value of CUDA_VISIBLE_DEVICES, to count only those cards; None counts all.
    """
    cards, notes = read_gpus(smi, nvml, timeout_s)
    gpus = visible_gpus(cards, visible)
    if len(gpus) < len(cards):
        notes += (f"CUDA_VISIBLE_DEVICES={visible!r} leaves {len(gpus)} of {len(cards)} cards",)
    return HardwareBudget(read_host(proc, cgroup), gpus, notes)


def gpu_budget_bytes(gpu: Gpu) -> int:
    """75 % of a card, less whatever others use beyond the eighth of it that is left to the desktop.

    So budget and others' use together stay below the size at which a run is aborted (87.5 %).
    """
    return max(0, min(gpu.counted_bytes * 3 // 4, (gpu.free_bytes - gpu.total_bytes // 8) // gpu.cells))


def gpu_abort_bytes(total_bytes: int) -> int:
    """GPU memory at which a run is aborted: 87.5 % of the card, 7 of 8 GB."""
    return total_bytes * 7 // 8


def at_least(size_bytes: int, sold_as_bytes: int) -> bool:
    """Whether a memory counts as ``sold_as_bytes``: it may report up to 5 % less than it is sold as."""
    return size_bytes >= sold_as_bytes * 95 // 100
