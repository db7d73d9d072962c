from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from minivess.json_files import from_plain, to_plain
from minivess.machine.gpus import Gpu
from minivess.machine.host import Host
from minivess.planning.hardware import HardwareBudget, detect_hardware
from minivess.text import GIB


def fake_smi(folder: Path, *gpus: tuple[int, int]) -> tuple[str, ...]:
    """Create a command with the output of nvidia-smi for GPUs of (total, free) MiB."""
    lines = "\n".join(f"{i}, GPU-{i}, Model {i}, {total}, {free}, 7.5, 550" for i, (total, free) in enumerate(gpus))
    (folder / "answer").write_text(lines)
    (folder / "smi.sh").write_text(f"cat '{folder / 'answer'}'")
    return ("/bin/sh", str(folder / "smi.sh"))


def machine(gpu_gib: float, free_gib: float) -> HardwareBudget:
    gpu = Gpu(0, "GPU-0", "a GPU", int(gpu_gib * GIB), int(free_gib * GIB), None, "550")
    return HardwareBudget(Host(8, 0.0, 32 * GIB, 32 * GIB, 0, 0), (gpu,))


class TestHardwareDetection:
    def test_detect_returns_budget(self, tmp_path: Path) -> None:
        """32 GiB of memory, 20 GiB of it available, 3 of 4 GiB of swap used, and a GPU with 8 of 10 GiB free."""
        proc = tmp_path / "proc"
        proc.mkdir()
        kib = {"MemTotal": 32, "MemAvailable": 20, "SwapTotal": 4, "SwapFree": 1}
        (proc / "meminfo").write_text("".join(f"{name}: {size * 2**20} kB\n" for name, size in kib.items()))
        (proc / "loadavg").write_text("1.50 1.00 0.50 1/100 4242\n")
        smi = fake_smi(tmp_path, (10240, 8192))
        budget = detect_hardware(proc=proc, cgroup=tmp_path, smi=smi, nvml=False)
        assert (budget.host.ram_total_bytes, budget.host.swap_used_bytes) == (32 * GIB, 3 * GIB)
        assert (budget.usable_ram_bytes, budget.host.load_1min) == (19 * GIB, 1.5)  # 20 - 32 / 32
        assert (budget.tier, budget.gpu_budget_bytes) == ("gpu_low", 8 * GIB - 10 * GIB // 8)
        assert from_plain(HardwareBudget, json.loads(json.dumps(to_plain(budget)))) == budget

    def test_no_gpu_detected(self) -> None:
        budget = detect_hardware(smi=("no-such-command",), nvml=False)
        assert budget.gpu is None
        assert (budget.tier, budget.gpu_budget_bytes, budget.gpu_abort_bytes) == ("cpu", 0, 0)
        assert "no-such-command" in budget.gpu_notes[0]

    def test_8gb_gpu_returns_gpu_low(self, tmp_path: Path) -> None:
        budget = detect_hardware(smi=fake_smi(tmp_path, (8192, 7800)), nvml=False)
        assert budget.tier == "gpu_low"
        assert budget.gpu_budget_bytes == budget.gpu_warn_bytes == 6 * GIB
        assert budget.gpu_abort_bytes == 7 * GIB

    def test_the_gpu_with_the_largest_budget_is_used(self, tmp_path: Path) -> None:
        smi = fake_smi(tmp_path, (24576, 1024), (8192, 8192), (8192, 8192))
        budget = detect_hardware(smi=smi, nvml=False)
        assert len(budget.gpus) == 3
        assert budget.gpu is budget.gpus[1]

    def test_hidden_gpus_do_not_count_and_a_note_says_so(self, tmp_path: Path) -> None:
        budget = detect_hardware(smi=fake_smi(tmp_path, (8192, 8192), (8192, 8192)), nvml=False, visible="1")
        assert [gpu.index for gpu in budget.gpus] == [1]
        assert "1 of 2" in budget.gpu_notes[0]


class TestTier:
    @pytest.mark.parametrize(
        ("gib", "tier"),
        [
            (4, "cpu"),
            (5.5, "cpu"),
            (5.8, "gpu_low"),  # what a GPU sold as 6 GB may report
            (10, "gpu_low"),
            (11, "gpu_high"),
            (24, "gpu_high"),
            (32, "gpu_extreme"),
        ],
    )
    def test_depends_on_the_size_of_an_idle_gpu(self, gib: float, tier: str) -> None:
        assert machine(gib, gib).tier == tier

    def test_a_limit_makes_a_large_gpu_count_as_a_small_one(self) -> None:
        large = machine(80, 75)
        limited = replace(large, gpus=(replace(large.gpus[0], limit_bytes=8 * GIB),))
        assert limited.tier == "gpu_low"
        shares = (limited.gpu_budget_bytes, limited.gpu_warn_bytes, limited.gpu_abort_bytes, limited.gpu_crowded_bytes)
        assert shares == (6 * GIB, 6 * GIB, 7 * GIB, 70 * GIB)
        assert "8.0 GiB: the limit" in limited.explain()["tier"]
        assert replace(large, gpus=(replace(large.gpus[0], limit_bytes=96 * GIB),)).gpu_abort_bytes == 70 * GIB

    def test_a_desktop_session_on_the_gpu_does_not_lower_it(self) -> None:
        assert machine(24, 23).tier == "gpu_high"

    def test_a_busy_gpu_counts_by_its_free_memory(self) -> None:
        assert (
            machine(24, 10).tier == "gpu_low"
        )  # 10 - 24 / 8 = 7 GiB to plan with, the same as on an idle GPU of 9.3 GiB
        assert machine(8, 2).tier == "cpu"


class TestBudget:
    def test_the_reference_desktop_has_24_gib_and_6_gib_of_gpu_memory(self) -> None:
        budget = HardwareBudget.imagined(8 * GIB, 32 * GIB)
        assert (budget.usable_ram_bytes, budget.gpu_budget_bytes) == (24 * GIB, 6 * GIB)
        assert budget.explain()["usable_ram_bytes"].startswith("24.0 GiB: 75 %")

    def test_an_imagined_machine_may_have_no_gpu(self) -> None:
        assert HardwareBudget.imagined(None, 16 * GIB).tier == "cpu"

    def test_usable_memory_is_at_most_the_available_memory_minus_a_reserve(self) -> None:
        budget = HardwareBudget(Host(8, 0.0, 32 * GIB, 11 * GIB, 0, 0))
        assert budget.usable_ram_bytes == 10 * GIB
        assert "available" in budget.explain()["usable_ram_bytes"]

    @pytest.mark.parametrize(("limit_gib", "usable_gib"), [(5, 5), (24, 24), (30, 24)])
    def test_a_limit_lowers_the_usable_memory(self, limit_gib: int, usable_gib: int) -> None:
        limited = replace(HardwareBudget.imagined(None, 32 * GIB), ram_limit_bytes=limit_gib * GIB)
        assert limited.usable_ram_bytes == usable_gib * GIB

    def test_without_available_memory_nothing_is_usable(self) -> None:
        assert HardwareBudget(Host(8, 0.0, 32 * GIB, GIB // 2, 0, 0)).usable_ram_bytes == 0

    @pytest.mark.parametrize(("free", "budget"), [(8, 6), (7, 6), (5, 4), (0.5, 0)])
    def test_budget_plus_other_programs_stays_below_the_abort_limit(self, free: float, budget: float) -> None:
        busy = machine(8, free)
        assert busy.gpu_budget_bytes == budget * GIB
        assert budget == 0 or 8 * GIB - free * GIB + busy.gpu_budget_bytes <= busy.gpu_abort_bytes

    def test_round_trips_through_json_with_a_gpu(self) -> None:
        budget = HardwareBudget.imagined(8 * GIB, 32 * GIB)
        gpu = Gpu(0, "GPU-0", "a GPU", GIB, GIB, (8, 6), "550")
        budget = HardwareBudget(budget.host, (gpu,), ("a note",))
        assert from_plain(HardwareBudget, json.loads(json.dumps(to_plain(budget)))) == budget
