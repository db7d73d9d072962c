"""Measure what a process tree and its machine use now. Only reads, mostly from /proc (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from minivess.machine.host import read_host


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


def descendants(pid: int) -> list[psutil.Process]:
    """Return all direct and indirect child processes of ``pid`` that run in another session.

    A process in the session of ``pid`` itself, for example a query tool, is not part of the supervised tree.
    """
    session = os.getsid(pid)
    return [
        child for child in psutil.Process(pid).children(recursive=True) if _session(child.pid) not in {session, None}
    ]


def sample_tree(pid: int) -> TreeSample:
    """Measure the `descendants` of ``pid``. Zombies and processes that end during the measurement do not count."""
    pids: list[int] = []
    rss_bytes = file_bytes = 0
    cpu_s, stopped = 0.0, False
    for process in descendants(pid):
        status = _status(process.pid)
        resident = {name: int(text.split()[0]) * 1024 for name, text in status.items() if name.startswith("Rss")}
        if not resident:
            continue
        pids.append(process.pid)
        rss_bytes += sum(resident.values())
        file_bytes += resident["RssFile"]
        cpu_s += _cpu_s(process)
        stopped = stopped or status["State"].split()[0] in ("T", "t")
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


def _status(pid: int) -> dict[str, str]:
    """Return ``State`` and the resident memory (``RssAnon``, ``RssFile``, ``RssShmem``) of a process from /proc.

    A process that has ended has neither; a zombie has no resident memory.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("Rss", "State")))


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
