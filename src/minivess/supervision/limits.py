"""How much is too much, what to do about it, and when to look again: pure functions on what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from minivess.supervision.outcome import Cause
from minivess.supervision.recorder import Peaks, Snapshot
from minivess.text import format_bytes

ASK_AT = 0.92
KILL_AT = 0.98
REACTION_S = 0.1
"""Longest time assumed between a look and the end of the process, on a busy machine."""
FASTEST_GROWTH_BYTES_PER_S = 8 * 2**30
"""Growth assumed between two looks: several threads touching fresh pages."""
SHORTEST_WAIT_S = 0.005


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one supervised process tree; ``None`` switches a limit off.

    Attributes:
        memory_limit_bytes: Resident memory of the tree without file-backed pages, which the kernel can take back.
        available_min_bytes: Memory that the whole machine must keep available, whoever uses the rest.
        gpu_warn_bytes: GPU memory of the tree on one card above which a warning is recorded.
        gpu_limit_bytes: GPU memory of the tree on one card at which the tree is stopped.
        gpu_crowded_bytes: Use of the whole card, other programs included, above which a warning is recorded.
        gpu_shared: Whether other cells of the run use the same card.
        rss_budget_bytes: Resident memory of the tree, file-backed pages and all, that a cell should stay below.
        swap_growth_warn_bytes: Growth of the machine's used swap since the start above which a warning is recorded.
        disk_free_min_bytes: Free space on the cell folder's disk below which the tree is stopped.
        hang_s: Longest time without a heartbeat, counted from the start, without the time asleep (suspended).
    """

    memory_limit_bytes: int | None = None
    available_min_bytes: int | None = None
    gpu_warn_bytes: int | None = None
    gpu_limit_bytes: int | None = None
    gpu_crowded_bytes: int | None = None
    gpu_shared: bool = False
    rss_budget_bytes: int | None = None
    swap_growth_warn_bytes: int | None = None
    disk_free_min_bytes: int | None = None
    hang_s: float | None = None


class Verdict(Enum):
    """What to do about a process tree."""

    GO_ON = "go on"
    ASK = "ask"
    """There is time to write a checkpoint and leave."""
    KILL = "kill"
    """At the memory limit, or there before one can look again."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was reached: which, in words, and what to do."""

    cause: Cause
    message: str
    verdict: Verdict


def find_breach(look: Snapshot, limits: Limits) -> Breach | None:
    """The limit that ``look`` breaks: one that leaves no time before all others, then memory before the rest."""
    return max(_breaches(look, limits), key=lambda breach: breach.verdict is Verdict.KILL, default=None)


def find_warnings(look: Snapshot, limits: Limits) -> Iterator[tuple[str, str]]:
    """What ``look`` shows that ends nothing: a key that says what about, and the words."""
    if limits.gpu_warn_bytes is not None and (look.gpu_tree_bytes or 0) > limits.gpu_warn_bytes:
        yield "gpu", f"GPU memory above its budget of {format_bytes(limits.gpu_warn_bytes)}"
    if limits.gpu_crowded_bytes is not None and (others := _crowded(look, limits.gpu_crowded_bytes)):
        yield "gpu card", others
    if limits.swap_growth_warn_bytes is not None and look.swap_growth_bytes > limits.swap_growth_warn_bytes:
        yield "swap", "the machine began to swap"


def broken_budgets(peaks: Peaks, limits: Limits) -> Iterator[str]:
    """In words, each budget that a cell went over without being ended for it: resident memory, swap, GPU memory."""
    if limits.rss_budget_bytes is not None and peaks.rss_bytes >= limits.rss_budget_bytes:
        yield f"{format_bytes(peaks.rss_bytes)} resident of {format_bytes(limits.rss_budget_bytes)}"
    if limits.swap_growth_warn_bytes is not None and peaks.swap_growth_bytes > limits.swap_growth_warn_bytes:
        yield f"the machine's swap grew by {format_bytes(peaks.swap_growth_bytes)}"
    if limits.gpu_warn_bytes is not None and (peaks.gpu_bytes or 0) > limits.gpu_warn_bytes:
        yield f"{format_bytes(peaks.gpu_bytes or 0)} of GPU memory of {format_bytes(limits.gpu_warn_bytes)}"


def memory_verdict(used_bytes: int, growth_bytes_per_s: float, limit_bytes: int) -> Verdict:
    """Judge the memory of a tree, so that it ends below the limit however fast it grows."""
    if used_bytes >= KILL_AT * limit_bytes or used_bytes + growth_bytes_per_s * REACTION_S >= limit_bytes:
        return Verdict.KILL
    return Verdict.ASK if used_bytes >= ASK_AT * limit_bytes else Verdict.GO_ON


def next_wait_s(used_bytes: int, growth_bytes_per_s: float, limit_bytes: int | None, poll_s: float) -> float:
    """Time until the next look: ``poll_s``, or less, so that at most half of the room left can be used up by then."""
    if limit_bytes is None:
        return poll_s
    room_bytes = max(0, limit_bytes - used_bytes)
    wait_s = room_bytes / (2 * max(growth_bytes_per_s, FASTEST_GROWTH_BYTES_PER_S))
    return min(max(wait_s, SHORTEST_WAIT_S), poll_s)


def _crowded(look: Snapshot, limit_bytes: int) -> str:
    """In words, that the whole card's use is above a size which the tree alone keeps below; empty when it is not."""
    tree_bytes, used_bytes = look.gpu_tree_bytes or 0, look.gpu_used_bytes or 0
    if not tree_bytes < limit_bytes < used_bytes:
        return ""
    use = f"{format_bytes(used_bytes)} of the graphics card were in use, more than {format_bytes(limit_bytes)}"
    return f"{use}: the process tree held {format_bytes(tree_bytes)}, others the rest"


def _breaches(look: Snapshot, limits: Limits) -> Iterator[Breach]:
    used_bytes, growth = look.tree.anonymous_bytes, look.growth_bytes_per_s
    if limits.memory_limit_bytes is not None:
        verdict = memory_verdict(used_bytes, growth, limits.memory_limit_bytes)
        if verdict is not Verdict.GO_ON:
            held = f"the process tree held {format_bytes(used_bytes)}, growing by {format_bytes(growth)} a second"
            limit = f"the limit is {format_bytes(limits.memory_limit_bytes)}"
            yield Breach(Cause.MEMORY_LIMIT, f"{held}; {limit}", verdict)
    if limits.available_min_bytes is not None and look.system.available_bytes < limits.available_min_bytes:
        left = f"the machine had {format_bytes(look.system.available_bytes)} of memory left"
        verdict = Verdict.KILL if look.system.available_bytes < limits.available_min_bytes / 2 else Verdict.ASK
        yield Breach(
            Cause.SYSTEM_MEMORY_LOW, f"{left}, of which the process tree held {format_bytes(used_bytes)}", verdict
        )
    if limits.gpu_limit_bytes is not None and (look.gpu_tree_bytes or 0) >= limits.gpu_limit_bytes:
        held = f"the process tree held {format_bytes(look.gpu_tree_bytes or 0)} of GPU memory"
        yield Breach(
            Cause.GPU_MEMORY_LIMIT, f"{held}; the limit is {format_bytes(limits.gpu_limit_bytes)}", Verdict.ASK
        )
    free_bytes = look.system.disk_free_bytes
    if limits.disk_free_min_bytes is not None and free_bytes is not None and free_bytes < limits.disk_free_min_bytes:
        yield Breach(Cause.DISK_FULL, f"{format_bytes(free_bytes)} left on the disk", Verdict.ASK)
    if limits.hang_s is not None and look.silence_s >= limits.hang_s:
        yield Breach(Cause.HANG, f"no sign of life for {look.silence_s:.0f} s", Verdict.ASK)
