"""A machine shared out among cells that run side by side: each has a card, or a part of one, or some processors, and a part
of the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from minivess.errors import ConfigError
from minivess.machine.gpus import Gpu
from minivess.planning.hardware import HardwareBudget, gpu_budget_bytes


@dataclass(frozen=True)
class CellSlot:
    """Where one cell at a time runs.

    Attributes:
        hardware: What a cell may use of the machine.
        environment: Variables that keep its process to that: a card is always named, the only one too.
    """

    hardware: HardwareBudget
    environment: Mapping[str, str] = field(default_factory=dict)


def cell_slots(hardware: HardwareBudget, compute: str = "auto", cells: int | None = None) -> tuple[CellSlot, ...]:
    """The machine as slots for one plan: the first is the tightest.

    Args:
        hardware: The whole machine.
        compute: As in a plan's request; "cpu" leaves the cards alone, and whatever names a card takes one, busy or not.
        cells: How many slots; more than there are cards share them. None makes one for each card that has nine tenths of the
            largest budget (a plan for a lesser one would waste the others), and a single one for a CPU.

    Raises:
        ConfigError: More cells than processors, and than cards.
    """
    tier = hardware.tier if compute == "auto" else compute
    cards = () if tier == "cpu" else _alike(hardware.gpus)
    count, processors = cells or len(cards) or 1, hardware.host.cpu_count
    most = max(processors, len(cards))
    if count > most:
        what = "processors" if most == processors else "graphics cards of one size"
        raise ConfigError(
            f"limits.cells_at_a_time of at most {most}, the {what} here",
            str(count),
            f"set {most} or less, or leave it out",
        )
    environment = {"OMP_NUM_THREADS": str(processors // count)} if count > max(1, len(cards)) else {}
    share = _share(hardware, count)
    if not cards:
        return (CellSlot(share, environment),) * count
    a_card = -(-count // len(cards))
    slots = [
        CellSlot(replace(share, gpus=(replace(card, cells=a_card),)), _name_of(card) | environment) for card in cards
    ]
    return tuple(slots[number % len(cards)] for number in range(count))


def _alike(gpus: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Cards with nine tenths of the largest budget, the least first."""
    enough = 0.9 * max(map(gpu_budget_bytes, gpus), default=0)
    return tuple(sorted((card for card in gpus if gpu_budget_bytes(card) >= enough), key=gpu_budget_bytes))


def _name_of(card: Gpu) -> dict[str, str]:
    # CUDA's order of cards, by default the fastest first, is not the driver's; what is inherited may count in either.
    if card.uuid.startswith("GPU-"):
        return {"CUDA_VISIBLE_DEVICES": card.uuid}
    return {"CUDA_VISIBLE_DEVICES": str(card.index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _share(hardware: HardwareBudget, count: int) -> HardwareBudget:
    if count == 1:
        return hardware
    host = replace(hardware.host, cpu_count=max(1, hardware.host.cpu_count // count))
    return replace(hardware, host=host, ram_limit_bytes=hardware.usable_ram_bytes // count)
