"""Compare a snapshot with the limits, and decide what to do and when to check again. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from minivess.supervision.outcome import Cause
from minivess.supervision.recorder import Peaks, Snapshot
from minivess.text import format_bytes

ASK_AT = 0.92
"""Share of the memory limit at which the process is asked to stop."""
KILL_AT = 0.98
"""Share of the memory limit at which the process is killed."""
REACTION_S = 0.1
"""Longest time in seconds assumed between a snapshot and the end of the process, on a busy machine."""
FASTEST_GROWTH_BYTES_PER_S = 8 * 2**30
"""Growth assumed between two snapshots: several threads that write to new pages."""
SHORTEST_WAIT_S = 0.005
"""Shortest time in seconds between two snapshots."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one supervised process tree; ``None`` switches a limit off.

    Attributes:
        memory_limit_bytes: Resident memory at which the tree is ended. File-backed pages do not count, because the
            kernel can reclaim them.
        available_min_bytes: Memory that must stay available on the whole machine, whichever program uses the rest.
        gpu_warn_bytes: GPU memory of the tree on one GPU above which a warning is recorded.
        gpu_limit_bytes: GPU memory of the tree on one GPU at which the tree is stopped.
        gpu_crowded_bytes: Memory in use on the whole GPU, other programs included, above which a warning is recorded.
        gpu_shared: Whether other cells of the run use the same GPU.
        rss_budget_bytes: Resident memory of the tree, file-backed pages included, that a cell should stay below.
        swap_growth_warn_bytes: Growth of the machine's used swap since the start above which a warning is recorded.
        disk_free_min_bytes: Free space on the disk of the cell folder below which the tree is stopped.
        hang_s: Seconds without a heartbeat after which the tree is stopped. Time in which the machine is suspended does
            not count.
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
    """Ask the process to stop: there is time to write a checkpoint and exit."""
    KILL = "kill"
    """Kill the process: it is at the memory limit, or will be before the next check."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that was reached.

    Attributes:
        cause: Which limit, as a name for programs.
        message: What was measured, as text.
        verdict: What to do.
    """

    cause: Cause
    message: str
    verdict: Verdict


def find_breach(snapshot: Snapshot, limits: Limits) -> Breach | None:
    """Return the most urgent limit that ``snapshot`` breaks; None if it breaks none.

    A limit that requires a kill goes before one that leaves time to stop; memory goes before the rest.
    """
    return max(_breaches(snapshot, limits), key=lambda breach: breach.verdict is Verdict.KILL, default=None)


def find_warnings(snapshot: Snapshot, limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield a key and a text for each warning that ``snapshot`` gives. A warning does not end the process."""
    if limits.gpu_warn_bytes is not None and (snapshot.gpu_tree_bytes or 0) > limits.gpu_warn_bytes:
        yield "gpu", f"GPU memory is above its budget of {format_bytes(limits.gpu_warn_bytes)}"
    if limits.gpu_crowded_bytes is not None and (others := _crowded(snapshot, limits.gpu_crowded_bytes)):
        yield "gpu card", others
    if limits.swap_growth_warn_bytes is not None and snapshot.swap_growth_bytes > limits.swap_growth_warn_bytes:
        yield "swap", "the machine started to swap"


def broken_budgets(peaks: Peaks, limits: Limits) -> Iterator[str]:
    """Yield a text for each budget that a cell exceeded without being stopped: resident memory, swap, GPU memory."""
    if limits.rss_budget_bytes is not None and peaks.rss_bytes >= limits.rss_budget_bytes:
        used, budget = format_bytes(peaks.rss_bytes), format_bytes(limits.rss_budget_bytes)
        yield f"resident memory {used} against a budget of {budget}"
    if limits.swap_growth_warn_bytes is not None and peaks.swap_growth_bytes > limits.swap_growth_warn_bytes:
        yield f"the machine's swap grew by {format_bytes(peaks.swap_growth_bytes)}"
    if limits.gpu_warn_bytes is not None and (peaks.gpu_bytes or 0) > limits.gpu_warn_bytes:
        used, budget = format_bytes(peaks.gpu_bytes or 0), format_bytes(limits.gpu_warn_bytes)
        yield f"GPU memory {used} against a budget of {budget}"


def memory_verdict(used_bytes: int, growth_bytes_per_s: float, limit_bytes: int) -> Verdict:
    """Decide what to do about the memory of a tree, so that the tree ends below the limit however fast it grows.

    Args:
        used_bytes: Anonymous memory of the tree.
        growth_bytes_per_s: Growth of that memory in bytes per second.
        limit_bytes: The memory limit.
    """
    if used_bytes >= KILL_AT * limit_bytes or used_bytes + growth_bytes_per_s * REACTION_S >= limit_bytes:
        return Verdict.KILL
    return Verdict.ASK if used_bytes >= ASK_AT * limit_bytes else Verdict.GO_ON


def next_wait_s(used_bytes: int, growth_bytes_per_s: float, limit_bytes: int | None, poll_s: float) -> float:
    """Return the seconds until the next snapshot, at most ``poll_s``.

    The wait is so short that the tree can use at most half of the memory that is left below the limit.
    """
    if limit_bytes is None:
        return poll_s
    room_bytes = max(0, limit_bytes - used_bytes)
    wait_s = room_bytes / (2 * max(growth_bytes_per_s, FASTEST_GROWTH_BYTES_PER_S))
    return min(max(wait_s, SHORTEST_WAIT_S), poll_s)


def _crowded(snapshot: Snapshot, limit_bytes: int) -> str:
    """Return a warning if more than ``limit_bytes`` of the GPU are in use but the tree holds less; else an empty string."""
    tree_bytes, used_bytes = snapshot.gpu_tree_bytes or 0, snapshot.gpu_used_bytes or 0
    if not tree_bytes < limit_bytes < used_bytes:
        return ""
    use = f"{format_bytes(used_bytes)} of GPU memory were in use, more than {format_bytes(limit_bytes)}"
    return f"{use}: the process tree held {format_bytes(tree_bytes)}, other programs held the rest"


def _breaches(snapshot: Snapshot, limits: Limits) -> Iterator[Breach]:
    used_bytes, growth = snapshot.tree.anonymous_bytes, snapshot.growth_bytes_per_s
    if limits.memory_limit_bytes is not None:
        verdict = memory_verdict(used_bytes, growth, limits.memory_limit_bytes)
        if verdict is not Verdict.GO_ON:
            held = f"the process tree held {format_bytes(used_bytes)} and grew by {format_bytes(growth)} per second"
            limit = f"the limit is {format_bytes(limits.memory_limit_bytes)}"
            yield Breach(Cause.MEMORY_LIMIT, f"{held}; {limit}", verdict)
    if limits.available_min_bytes is not None and snapshot.system.available_bytes < limits.available_min_bytes:
        left = f"the machine had {format_bytes(snapshot.system.available_bytes)} of memory available"
        verdict = Verdict.KILL if snapshot.system.available_bytes < limits.available_min_bytes / 2 else Verdict.ASK
        yield Breach(Cause.SYSTEM_MEMORY_LOW, f"{left}; the process tree held {format_bytes(used_bytes)}", verdict)
    if limits.gpu_limit_bytes is not None and (snapshot.gpu_tree_bytes or 0) >= limits.gpu_limit_bytes:
        held = f"the process tree held {format_bytes(snapshot.gpu_tree_bytes or 0)} of GPU memory"
        yield Breach(
            Cause.GPU_MEMORY_LIMIT, f"{held}; the limit is {format_bytes(limits.gpu_limit_bytes)}", Verdict.ASK
        )
    free_bytes = snapshot.system.disk_free_bytes
    if limits.disk_free_min_bytes is not None and free_bytes is not None and free_bytes < limits.disk_free_min_bytes:
        yield Breach(Cause.DISK_FULL, f"the disk has {format_bytes(free_bytes)} of free space left", Verdict.ASK)
    if limits.hang_s is not None and snapshot.silence_s >= limits.hang_s:
        yield Breach(Cause.HANG, f"no heartbeat for {snapshot.silence_s:.0f} s", Verdict.ASK)
