from __future__ import annotations

from dataclasses import replace

import pytest

from minivess.supervision.limits import (
    Limits,
    Verdict,
    broken_budgets,
    find_breach,
    find_warnings,
    memory_verdict,
    next_wait_s,
)
from minivess.supervision.outcome import Cause
from minivess.supervision.process_tree import SystemSample, TreeSample
from minivess.supervision.recorder import Growth, Peaks, Snapshot

GIB = 2**30
CALM = Snapshot(
    elapsed_s=60.0,
    tree=TreeSample(pids=(7,), rss_bytes=11 * GIB, file_bytes=GIB, cpu_s=50.0),
    system=SystemSample(available_bytes=16 * GIB, swap_used_bytes=0, disk_free_bytes=100 * GIB),
    growth_bytes_per_s=0.0,
    swap_growth_bytes=GIB,
    gpu_tree_bytes=6 * GIB,
    gpu_used_bytes=7 * GIB,
    silence_s=5.0,
)


class TestMemoryVerdict:
    @pytest.mark.parametrize(
        ("used", "growth", "verdict"),
        [
            (91, 0, Verdict.GO_ON),
            (92, 0, Verdict.ASK),
            (97, 0, Verdict.ASK),
            (98, 0, Verdict.KILL),
            (50, 499, Verdict.GO_ON),
            (50, 500, Verdict.KILL),
        ],
    )
    def test_verdict_at_a_limit_of_100(self, used: int, growth: float, verdict: Verdict) -> None:
        assert memory_verdict(used, growth, 100) is verdict


class TestNextWait:
    def test_far_from_the_limit_the_wait_is_the_poll_time(self) -> None:
        assert next_wait_s(5 * GIB, 0.0, 24 * GIB, poll_s=0.5) == 0.5
        assert next_wait_s(5 * GIB, 0.0, None, poll_s=0.5) == 0.5

    def test_near_the_limit_half_of_the_remaining_memory_can_be_used(self) -> None:
        assert next_wait_s(22 * GIB, 0.0, 24 * GIB, poll_s=0.5) == 2 / (2 * 8)
        assert next_wait_s(22 * GIB, 16.0 * GIB, 24 * GIB, poll_s=0.5) == 2 / (2 * 16)

    def test_never_zero(self) -> None:
        assert next_wait_s(25 * GIB, 0.0, 24 * GIB, poll_s=0.5) == 0.005


class TestVerdictAndWaitTogether:
    @pytest.mark.parametrize("growth_gib_per_s", [0.1, 1, 8])
    @pytest.mark.parametrize("start_gib", [0, 12, 21])
    def test_sudden_growth_is_caught_below_the_limit(self, growth_gib_per_s: float, start_gib: int) -> None:
        """Growth starts right after a snapshot. Each snapshot takes 15 ms, and the kill takes another 20 ms."""
        limit_bytes, speed, start_bytes = 24 * GIB, growth_gib_per_s * GIB, start_gib * GIB
        growth, at_s, used_bytes, rate = Growth(), 0.0, start_bytes, 0.0
        while memory_verdict(used_bytes, rate, limit_bytes) is not Verdict.KILL:
            rate = growth.after(at_s, used_bytes)
            at_s += next_wait_s(used_bytes, rate, limit_bytes, poll_s=0.5) + 0.015
            used_bytes = int(start_bytes + speed * at_s)
        assert used_bytes + speed * 0.020 < limit_bytes


class TestFindBreach:
    def test_no_limits_give_no_breach(self) -> None:
        assert find_breach(CALM, Limits()) is None

    def test_all_limits_set_and_none_broken(self) -> None:
        limits = Limits(
            memory_limit_bytes=11 * GIB,
            available_min_bytes=16 * GIB,
            gpu_warn_bytes=6 * GIB,
            gpu_limit_bytes=7 * GIB,
            gpu_crowded_bytes=7 * GIB,
            swap_growth_warn_bytes=GIB,
            disk_free_min_bytes=100 * GIB,
            hang_s=5.1,
        )
        assert find_breach(CALM, limits) is None
        assert not list(find_warnings(CALM, limits))

    @pytest.mark.parametrize(
        ("limits", "cause", "verdict"),
        [
            (Limits(memory_limit_bytes=10 * GIB), Cause.MEMORY_LIMIT, Verdict.KILL),
            (Limits(available_min_bytes=17 * GIB), Cause.SYSTEM_MEMORY_LOW, Verdict.ASK),
            (Limits(available_min_bytes=33 * GIB), Cause.SYSTEM_MEMORY_LOW, Verdict.KILL),
            (Limits(gpu_limit_bytes=6 * GIB), Cause.GPU_MEMORY_LIMIT, Verdict.ASK),
            (Limits(disk_free_min_bytes=101 * GIB), Cause.DISK_FULL, Verdict.ASK),
            (Limits(hang_s=5.0), Cause.HANG, Verdict.ASK),
        ],
    )
    def test_each_limit_gives_its_cause_and_verdict(self, limits: Limits, cause: Cause, verdict: Verdict) -> None:
        breach = find_breach(CALM, limits)
        assert breach is not None
        assert (breach.cause, breach.verdict) == (cause, verdict)

    def test_kill_goes_before_a_request_to_stop(self) -> None:
        breach = find_breach(CALM, Limits(memory_limit_bytes=int(10.5 * GIB), available_min_bytes=33 * GIB))
        assert breach is not None
        assert breach.cause is Cause.SYSTEM_MEMORY_LOW

    def test_message_has_the_numbers(self) -> None:
        breach = find_breach(CALM, Limits(gpu_limit_bytes=5 * GIB))
        assert breach is not None
        assert "6.0 GiB" in breach.message
        assert "5.0 GiB" in breach.message

    def test_without_a_gpu_reading_there_is_no_gpu_breach(self) -> None:
        assert find_breach(replace(CALM, gpu_tree_bytes=None), Limits(gpu_limit_bytes=1, gpu_warn_bytes=0)) is None


class TestFindWarnings:
    def test_gpu_budget_and_swap(self) -> None:
        found = dict(find_warnings(CALM, Limits(gpu_warn_bytes=5 * GIB, swap_growth_warn_bytes=0)))
        assert set(found) == {"gpu", "swap"}
        assert "5.0 GiB" in found["gpu"]

    def test_gpu_that_other_programs_fill(self) -> None:
        snapshot = replace(CALM, gpu_tree_bytes=int(5.9 * GIB), gpu_used_bytes=int(7.9 * GIB))
        ((key, text),) = find_warnings(snapshot, Limits(gpu_crowded_bytes=7 * GIB))
        assert key == "gpu card"
        assert all(size in text for size in ("7.9 GiB", "7.0 GiB", "5.9 GiB"))
        assert find_breach(snapshot, Limits(gpu_limit_bytes=7 * GIB)) is None


class TestBrokenBudgets:
    LIMITS = Limits(rss_budget_bytes=16 * GIB, swap_growth_warn_bytes=0, gpu_warn_bytes=6 * GIB)

    def test_no_budget_is_exceeded(self) -> None:
        assert not list(broken_budgets(Peaks(15 * GIB, 15 * GIB, 6 * GIB, 0), self.LIMITS))

    def test_each_exceeded_budget_gives_a_text_with_its_numbers(self) -> None:
        memory, swap, gpu = broken_budgets(Peaks(16 * GIB, 2 * GIB, 7 * GIB, 2**20), self.LIMITS)
        assert memory.count("16.0 GiB") == 2
        assert "1 MiB" in swap
        assert "7.0 GiB" in gpu
        assert "6.0 GiB" in gpu
