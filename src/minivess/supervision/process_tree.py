"""What a process tree and its machine use right now: reads only, from /proc (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from minivess.machine.host import read_host


@dataclass(frozen=True, slots=True)
class TreeSample:
    """One look at a process tree.

    Attributes:
        pids: Its living processes.
        rss_bytes: Resident memory, summed; pages shared between processes count once for each.
        file_bytes: The part of it that is backed by files (mapped volumes, libraries): the kernel can take it back.
        cpu_s: Processor time used so far by the living processes, in core-seconds.
    """

    pids: tuple[int, ...]
    rss_bytes: int
    file_bytes: int
    cpu_s: float

    @property
    def anonymous_bytes(self) -> int:
        """Resident memory that cannot be taken back: anonymous pages and shared memory."""
        return self.rss_bytes - self.file_bytes


@dataclass(frozen=True, slots=True)
class SystemSample:
    """One look at the machine, where a cgroup's limit counts as the machine's.

    ``disk_free_bytes`` is of the cell folder's disk; None where that does not answer, as a network disk may for a while.
    """

    available_bytes: int
    swap_used_bytes: int
    disk_free_bytes: int | None


def descendants(pid: int) -> list[psutil.Process]:
    """Everything that ``pid`` started, directly or not, in a session other than its own.

    What runs in the session of ``pid`` itself (a query tool it called, say) is not part of the supervised tree.
    """
    session = os.getsid(pid)
    return [
        child for child in psutil.Process(pid).children(recursive=True) if _session(child.pid) not in {session, None}
    ]


def sample_tree(pid: int) -> TreeSample:
    """Snapshot at the `descendants` of ``pid``; zombies and processes that end meanwhile count as gone."""
    pids: list[int] = []
    rss_bytes = file_bytes = 0
    cpu_s = 0.0
    for process in descendants(pid):
        resident = _resident_bytes(process.pid)
        if resident is None:
            continue
        pids.append(process.pid)
        rss_bytes += sum(resident.values())
        file_bytes += resident["RssFile"]
        cpu_s += _cpu_s(process)
    return TreeSample(tuple(pids), rss_bytes, file_bytes, cpu_s)


def sample_system(folder: Path) -> SystemSample:
    """Snapshot at the machine and at the disk that holds ``folder``."""
    host = read_host()
    return SystemSample(host.ram_available_bytes, host.swap_used_bytes, _disk_free_bytes(folder))


def count_oom_kills() -> int:
    """Processes that the kernel's out-of-memory killer has ended since boot; 0 where the kernel does not say."""
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


def _resident_bytes(pid: int) -> dict[str, int] | None:
    """``RssAnon``, ``RssFile`` and ``RssShmem`` of a process; None when it is gone or a zombie."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Rss"))
    return {name: int(value.split()[0]) * 1024 for name, value in fields.items()} or None


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
