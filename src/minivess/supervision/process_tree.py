"""Measure what a process tree and its machine use now. Only reads, mostly from /proc (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from minivess.machine.host import read_host

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class TreeSample:
    """One measurement of a process tree.

    Attributes:
        pids: The processes of the tree that are alive.
        rss_bytes: Resident memory of all processes; pages that processes share count once for each of them.
        file_bytes: The part of it that is backed by files (mapped volumes, libraries), which the kernel can reclaim.
        cpu_s: Processor time used so far by these processes, in core-seconds.
        stopped: Whether one of them is stopped (SIGSTOP, a debugger).
    """

    pids: tuple[int, ...]
    rss_bytes: int
    file_bytes: int
    cpu_s: float
    stopped: bool = False

    @property
    def anonymous_bytes(self) -> int:
        """Resident memory that the kernel cannot reclaim: anonymous pages and shared memory."""
        return self.rss_bytes - self.file_bytes


@dataclass(frozen=True, slots=True)
class SystemSample:
    """One measurement of the machine. The limit of a cgroup counts as the limit of the machine.

    Attributes:
        available_bytes: Memory that is available.
        swap_used_bytes: Swap in use.
        disk_free_bytes: Free space on the disk of the cell folder; None if the disk does not answer (a network disk).
    """

    available_bytes: int
    swap_used_bytes: int
    disk_free_bytes: int | None


class _Stat(NamedTuple):
    """What /proc/PID/stat says about a process; ``cpu_s`` in core-seconds."""

    state: str
    parent: int
    session: int
    cpu_s: float


def descendants(pid: int) -> list[psutil.Process]:
    """Return all direct and indirect child processes of ``pid`` that run in another session.

    A process in the session of ``pid`` itself, for example a query tool, is not part of the supervised tree.
    """
    session = os.getsid(pid)
    return [
        child for child in psutil.Process(pid).children(recursive=True) if _session(child.pid) not in {session, None}
    ]


def sample_tree(pid: int) -> TreeSample:
    """Measure the `descendants` of ``pid``. Zombies and processes that end during the measurement do not count.

    A measurement must be short, because memory grows meanwhile: every file is read once.
    """
    pids: list[int] = []
    rss_bytes = file_bytes = 0
    cpu_s, stopped = 0.0, False
    for child, stat in _stats_below(pid):
        status = _status(child)
        resident = {name: int(text.split()[0]) * 1024 for name, text in status.items() if name.startswith("Rss")}
        if not resident:
            continue
        pids.append(child)
        rss_bytes += sum(resident.values())
        file_bytes += resident["RssFile"]
        cpu_s += stat.cpu_s
        stopped = stopped or stat.state in ("T", "t")
    return TreeSample(tuple(pids), rss_bytes, file_bytes, cpu_s, stopped)


def sample_system(folder: Path) -> SystemSample:
    """Measure the machine and the disk that holds ``folder``."""
    host = read_host()
    return SystemSample(host.ram_available_bytes, host.swap_used_bytes, _disk_free_bytes(folder))


def count_oom_kills() -> int:
    """Return how many processes the kernel's out-of-memory killer has ended since boot; 0 if it is not known."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def _disk_free_bytes(folder: Path) -> int | None:
    try:
        return psutil.disk_usage(str(folder)).free
    except OSError:
        return None


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _stats_below(pid: int) -> Iterator[tuple[int, _Stat]]:
    """Yield the `descendants` of ``pid`` with their state, from one pass over /proc."""
    stats = {int(name): stat for name in os.listdir("/proc") if name.isdigit() and (stat := _stat(name)) is not None}
    children: dict[int, list[int]] = {}
    for number, stat in stats.items():
        children.setdefault(stat.parent, []).append(number)
    session, waiting = os.getsid(pid), [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            waiting.append(child)
            if stats[child].session != session:
                yield child, stats[child]


def _stat(pid: str) -> _Stat | None:
    """Return None for a process that has ended, or that the system hides from this user."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # a name may contain spaces and parentheses
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    ticks = int(fields[11]) + int(fields[12])
    return _Stat(fields[0].decode(), int(fields[1]), int(fields[3]), ticks / _TICKS_PER_S)


def _status(pid: int) -> dict[str, str]:
    """Return the resident memory (``RssAnon``, ``RssFile``, ``RssShmem``) of a process from /proc.

    A process that has ended and a zombie have none.
    """
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            return dict(line.split(":", 1) for line in file if line.startswith("Rss"))
    except (FileNotFoundError, ProcessLookupError):
        return {}
