from __future__ import annotations

from dataclasses import replace

import pytest

from minivess.errors import ConfigError
from minivess.planning.cell_slots import cell_slots
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB


def machine(*free_gib: int) -> HardwareBudget:
    """Eight processors, 32 GiB, and cards of 8 GiB of which so much is free."""
    hardware = HardwareBudget.imagined(8 * GIB, 32 * GIB)
    cards = (replace(hardware.gpus[0], uuid=f"GPU-{k}", free_bytes=free * GIB) for k, free in enumerate(free_gib))
    return replace(hardware, gpus=tuple(cards))


class TestCards:
    def test_each_has_a_lane_with_its_share_of_memory_and_processors(self) -> None:
        first, second = cell_slots(machine(8, 8))
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in (first, second)] == ["GPU-0", "GPU-1"]
        assert [len(slot.hardware.gpus) for slot in (first, second)] == [1, 1]
        assert first.hardware.usable_ram_bytes == 12 * GIB
        assert first.hardware.host.cpu_count == 4

    def test_a_lesser_one_is_left_alone(self) -> None:
        (slot,) = cell_slots(machine(4, 8))
        assert slot.environment == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
        assert slot.hardware.usable_ram_bytes == 24 * GIB

    def test_the_first_lane_is_the_tightest(self) -> None:
        large, small = machine(8, 8).gpus
        small = replace(small, total_bytes=8 * GIB * 95 // 100)
        first, _ = cell_slots(replace(machine(8), gpus=(large, small)))
        assert first.hardware.gpu == small

    def test_a_single_one_is_named_too(self) -> None:
        """CUDA_VISIBLE_DEVICES=1 leaves one card, and CUDA's own card 1 may be another than the driver's."""
        (slot,) = cell_slots(machine(8))
        assert (slot.hardware, slot.environment) == (machine(8), {"CUDA_VISIBLE_DEVICES": "GPU-0"})

    @pytest.mark.parametrize("uuid", ["", "[N/A]"])
    def test_without_a_uuid_it_is_its_place_in_the_drivers_order(self, uuid: str) -> None:
        card = replace(machine(8).gpus[0], index=3, uuid=uuid)
        (slot,) = cell_slots(replace(machine(), gpus=(card,)))
        assert slot.environment == {"CUDA_VISIBLE_DEVICES": "3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def test_fewer_lanes_on_request(self) -> None:
        (slot,) = cell_slots(machine(8, 8), cells=1)
        assert slot.environment == {"CUDA_VISIBLE_DEVICES": "GPU-0"}

    def test_more_cells_than_cards_share_them(self) -> None:
        slots = cell_slots(machine(8, 8), cells=3)
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == ["GPU-0", "GPU-1", "GPU-0"]
        assert {slot.environment["OMP_NUM_THREADS"] for slot in slots} == {"2"}
        budget = slots[0].hardware
        assert (budget.gpu_abort_bytes, budget.gpu_budget_bytes) == (7 * GIB // 2, 3 * GIB)
        assert (budget.gpu_crowded_bytes, budget.tier) == (7 * GIB, "gpu_low")
        assert "counts as one of 4.0 GiB: 2 cells share it" in budget.explain()["tier"]

    def test_cells_share_what_other_programs_leave_of_a_card(self) -> None:
        slots = cell_slots(machine(5), "gpu", cells=2)
        assert [slot.hardware.gpu_budget_bytes for slot in slots] == [2 * GIB, 2 * GIB]

    def test_they_share_what_a_limit_leaves(self) -> None:
        lab = replace(machine(8), gpus=(replace(machine(8).gpus[0], limit_bytes=6 * GIB),))
        budget = cell_slots(lab, "gpu", cells=2)[0].hardware
        assert (budget.gpu_abort_bytes, budget.gpu_crowded_bytes) == (21 * GIB // 8, 7 * GIB)
        said = budget.explain()
        assert "counts as one of 3.0 GiB: the limit that was set, and 2 cells share it" in said["tier"]
        assert "75 % of the card, shared by 2 cells" in said["gpu_budget_bytes"]

    def test_never_more_lanes_than_processors(self) -> None:
        with pytest.raises(ConfigError, match="at most 8, the processors here"):
            cell_slots(machine(8, 8), cells=9)

    def test_a_lane_for_each_card_is_not_too_many_for_few_processors(self) -> None:
        few = replace(machine(8, 8, 8), host=replace(machine().host, cpu_count=2))
        assert len(cell_slots(few, cells=3)) == 3
        with pytest.raises(ConfigError, match="at most 3, the graphics cards of one size here"):
            cell_slots(few, cells=4)


class TestProcessors:
    def test_one_lane_has_the_machine(self) -> None:
        (slot,) = cell_slots(machine(8, 8), "cpu")
        assert (slot.hardware, slot.environment) == (machine(8, 8), {})

    def test_more_lanes_share_them(self) -> None:
        slots = cell_slots(machine(), cells=3)
        assert len(slots) == 3
        assert slots[0].environment == {"OMP_NUM_THREADS": "2"}
        assert slots[0].hardware.usable_ram_bytes == 8 * GIB

    def test_never_more_lanes_than_processors(self) -> None:
        with pytest.raises(ConfigError, match="at most 8, the processors here"):
            cell_slots(machine(), cells=9)
