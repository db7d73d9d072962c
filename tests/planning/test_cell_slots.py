from __future__ import annotations

from dataclasses import replace

import pytest

from minivess.errors import ConfigError
from minivess.planning.cell_slots import cell_slots
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB


def machine(*free_gib: int) -> HardwareBudget:
    """Eight processors, 32 GiB of memory, and GPUs of 8 GiB with this much free memory each."""
    hardware = HardwareBudget.imagined(8 * GIB, 32 * GIB)
    gpus = (replace(hardware.gpus[0], uuid=f"GPU-{k}", free_bytes=free * GIB) for k, free in enumerate(free_gib))
    return replace(hardware, gpus=tuple(gpus))


class TestGpus:
    def test_each_gpu_has_a_slot_with_a_share_of_memory_and_processors(self) -> None:
        first, second = cell_slots(machine(8, 8))
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in (first, second)] == ["GPU-0", "GPU-1"]
        assert [len(slot.hardware.gpus) for slot in (first, second)] == [1, 1]
        assert first.hardware.usable_ram_bytes == 12 * GIB
        assert first.hardware.host.cpu_count == 4

    def test_a_gpu_with_a_smaller_budget_is_not_used(self) -> None:
        (slot,) = cell_slots(machine(4, 8))
        assert slot.environment == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
        assert slot.hardware.usable_ram_bytes == 24 * GIB

    def test_the_first_slot_has_the_smallest_budget(self) -> None:
        large, small = machine(8, 8).gpus
        small = replace(small, total_bytes=8 * GIB * 95 // 100)
        first, _ = cell_slots(replace(machine(8), gpus=(large, small)))
        assert first.hardware.gpu == small

    def test_a_single_gpu_is_named_too(self) -> None:
        """CUDA_VISIBLE_DEVICES=1 leaves one GPU, and GPU 1 of CUDA may be another one than GPU 1 of the driver."""
        (slot,) = cell_slots(machine(8))
        assert (slot.hardware, slot.environment) == (machine(8), {"CUDA_VISIBLE_DEVICES": "GPU-0"})

    @pytest.mark.parametrize("uuid", ["", "[N/A]"])
    def test_a_gpu_without_a_uuid_is_selected_by_its_pci_index(self, uuid: str) -> None:
        gpu = replace(machine(8).gpus[0], index=3, uuid=uuid)
        (slot,) = cell_slots(replace(machine(), gpus=(gpu,)))
        assert slot.environment == {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def test_fewer_slots_than_gpus_on_request(self) -> None:
        (slot,) = cell_slots(machine(8, 8), cells=1)
        assert slot.environment == {"CUDA_VISIBLE_DEVICES": "GPU-0"}

    def test_more_cells_than_gpus_share_the_gpus(self) -> None:
        slots = cell_slots(machine(8, 8), cells=3)
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["GPU-0", "GPU-1", "GPU-0"]
        assert {slot.environment["OMP_NUM_THREADS"] for slot in slots} == {"2"}
        budget = slots[0].hardware
        assert (budget.gpu_abort_bytes, budget.gpu_budget_bytes) == (7 * GIB // 2, 3 * GIB)
        assert (budget.gpu_crowded_bytes, budget.tier) == (7 * GIB, "gpu_low")
        assert "4.0 GiB: 2 cells" in budget.explain()["tier"]

    def test_cells_share_the_gpu_memory_that_other_programs_leave(self) -> None:
        slots = cell_slots(machine(5), "gpu", cells=2)
        assert [slot.hardware.gpu_budget_bytes for slot in slots] == [2 * GIB, 2 * GIB]

    def test_cells_share_the_gpu_memory_within_a_limit(self) -> None:
        lab = replace(machine(8), gpus=(replace(machine(8).gpus[0], limit_bytes=6 * GIB),))
        budget = cell_slots(lab, "gpu", cells=2)[0].hardware
        assert (budget.gpu_abort_bytes, budget.gpu_crowded_bytes) == (21 * GIB // 8, 7 * GIB)
        reasons = budget.explain()
        assert "3.0 GiB: the limit" in reasons["tier"]
        assert "75 %" in reasons["gpu_budget_bytes"]
        assert all("2 cells" in reasons[name] for name in ("tier", "gpu_budget_bytes"))

    def test_more_slots_than_processors_are_refused(self) -> None:
        with pytest.raises(ConfigError) as caught:
            cell_slots(machine(8, 8), cells=9)
        assert "at most 8" in caught.value.expected
        assert "processors" in caught.value.expected
        assert caught.value.got == "9"

    def test_one_slot_per_gpu_is_allowed_with_fewer_processors(self) -> None:
        few = replace(machine(8, 8, 8), host=replace(machine().host, cpu_count=2))
        assert len(cell_slots(few, cells=3)) == 3
        with pytest.raises(ConfigError) as caught:
            cell_slots(few, cells=4)
        assert "at most 3" in caught.value.expected
        assert "GPU" in caught.value.expected
        assert caught.value.got == "4"


class TestProcessors:
    def test_one_slot_has_the_whole_machine(self) -> None:
        (slot,) = cell_slots(machine(8, 8), "cpu")
        assert (slot.hardware, slot.environment) == (machine(8, 8), {"OMP_NUM_THREADS": "8"})
        (slot,) = cell_slots(machine(8, 8), "cpu", threads="3")
        assert slot.environment == {"OMP_NUM_THREADS": "3"}

    def test_more_slots_share_the_processors(self) -> None:
        slots = cell_slots(machine(), cells=3)
        assert len(slots) == 3
        assert slots[0].environment == {"OMP_NUM_THREADS": "2"}
        assert slots[0].hardware.usable_ram_bytes == 8 * GIB

    def test_more_slots_than_processors_are_refused(self) -> None:
        with pytest.raises(ConfigError) as caught:
            cell_slots(machine(), cells=9)
        assert "at most 8" in caught.value.expected
        assert "processors" in caught.value.expected
        assert caught.value.got == "9"
