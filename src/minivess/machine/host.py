"""Memory, swap, processors and load, from /proc and the cgroups. A cgroup's limit counts as the machine's limit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import psutil

from minivess.text import format_bytes


@dataclass(frozen=True)
class Host:
    """The machine without its GPUs.

    Attributes:
        cpu_count: Processors that this process may use, limited by affinity and cgroup quotas; at least 1.
        load_1min: Mean number of runnable processes of the whole machine in the last minute; None if it is not
            reported.
        ram_total_bytes: Installed memory, or the tightest cgroup limit if that is less.
        ram_available_bytes: Memory that can be allocated now without swapping. File cache counts as available.
        swap_total_bytes: Swap of the whole machine.
        swap_used_bytes: Swap in use on the whole machine.
        notes: Limits set by cgroups, and what could not be read.
    """

    cpu_count: int
    load_1min: float | None
    ram_total_bytes: int
    ram_available_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    notes: tuple[str, ...] = ()


def read_host(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Host:
    """Read the current state of the machine.

    Args:
        proc: Mount point of procfs. If it has no usable ``meminfo`` (not Linux), psutil is used instead.
        cgroup: Mount point of the cgroup hierarchies, v1 or v2.
    """
    ram_total, ram_available, swap_total, swap_used, notes = _read_meminfo(proc)
    for level in _cgroup_levels(proc, cgroup, "memory"):
        limit = _memory_limit(level)
        if limit is not None and limit < ram_total:
            ram_total = limit
            notes.append(f"memory is limited to {format_bytes(limit)} by the cgroup {level.name}")
        if limit is not None:
            ram_available = max(0, min(ram_available, limit - _memory_in_use(level)))
    cpu_count = _affinity()
    for level in _cgroup_levels(proc, cgroup, "cpu"):
        quota = _cpu_quota(level)
        if quota is not None and quota < cpu_count:
            cpu_count = max(1, int(quota))
            notes.append(f"processors are limited to {quota:g} by the cgroup {level.name}")
    return Host(cpu_count, _load(proc), ram_total, ram_available, swap_total, swap_used, tuple(notes))


def _read_meminfo(proc: Path) -> tuple[int, int, int, int, list[str]]:
    """Total, available, swap total, swap used, notes."""
    kib = _read_table(proc / "meminfo")
    if "MemTotal" not in kib or "MemAvailable" not in kib:
        ram, swap = psutil.virtual_memory(), psutil.swap_memory()
        return ram.total, ram.available, swap.total, swap.used, [f"no usable {proc / 'meminfo'}, so psutil is used"]
    swap_total = kib.get("SwapTotal", 0)
    swap_used = swap_total - kib.get("SwapFree", swap_total)
    return kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024, swap_total * 1024, swap_used * 1024, []


def _cgroup_levels(proc: Path, cgroup: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's cgroup and its ancestors, innermost first.

    In a container, the container's own cgroup is often mounted as the root, although /proc names the path on the host.
    Therefore some of the folders may not exist; they count as folders without limits.
    """
    for line in _read_text(proc / "self" / "cgroup").splitlines():
        _, controllers, name = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroup / controller if controllers else cgroup
        folder = root.joinpath(*(part for part in PurePosixPath(name).parts if part not in ("/", "..")))
        yield from (level for level in (folder, *folder.parents) if level.is_relative_to(root))


def _memory_limit(level: Path) -> int | None:
    """The lowest of v2's hard limit, v2's throttling limit (above it a process becomes very slow) and v1's limit."""
    limits = (_read_int(level / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes"))
    return min((limit for limit in limits if limit is not None), default=None)


def _memory_in_use(level: Path) -> int:
    """Memory used by the group without file cache, which the kernel drops before it refuses memory."""
    current = _read_int(level / "memory.current") or _read_int(level / "memory.usage_in_bytes") or 0
    stat = _read_table(level / "memory.stat")
    # v1 counts a group's children under total_*, v2 under the plain name.
    cache = sum(stat.get(f"total_{kind}", stat.get(kind, 0)) for kind in ("active_file", "inactive_file"))
    return max(0, current - cache)


def _cpu_quota(level: Path) -> float | None:
    quota, period = [*_read_text(level / "cpu.max").split(), "", ""][:2]
    if not quota:
        quota, period = (_read_text(level / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _affinity() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _load(proc: Path) -> float | None:
    try:
        return float(_read_text(proc / "loadavg").split()[0])
    except (IndexError, ValueError):
        return None


def _read_table(path: Path) -> dict[str, int]:
    """``name number`` lines, as in meminfo and memory.stat; other lines are ignored."""
    rows = (line.replace(":", " ").split() for line in _read_text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _read_int(path: Path) -> int | None:
    text = _read_text(path).strip()
    return int(text) if text.isdigit() else None


def _read_text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
