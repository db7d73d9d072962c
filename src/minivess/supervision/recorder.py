"""Record a process tree over time: snapshots, peaks and the rows of ``monitor.csv``."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from minivess.supervision.exit_codes import HEARTBEAT_FILE
from minivess.supervision.gpu_watch import GpuWatch
from minivess.supervision.process_tree import SystemSample, TreeSample, sample_system, sample_tree

MONITOR_FILE = "monitor.csv"
LONGEST_LOOK_S = 2.0
"""More seconds than this between two snapshots mean that this process was stopped or the machine stalled."""
RATE_WINDOW_S = 0.1
"""Growth is averaged over at least this many seconds: one large allocation between two close snapshots is no trend."""


class MonitorRow(NamedTuple):
    """One row of ``monitor.csv``; an unknown value is an empty cell.

    ``elapsed_s`` counts from the start of this attempt. ``swap_growth_bytes`` is the growth since that start and is
    never negative. ``cpu_percent`` is the processor use of the tree since the previous row; 100 is one full core.
    """

    time_iso: str
    elapsed_s: float
    tree_rss_bytes: int
    tree_file_bytes: int
    gpu_tree_bytes: int | None
    gpu_total_used_bytes: int | None
    system_available_bytes: int
    swap_used_bytes: int
    swap_growth_bytes: int
    disk_free_bytes: int | None
    processes: int
    cpu_percent: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One measurement of the process tree, the machine and the GPU.

    Attributes:
        elapsed_s: Seconds since the recorder was made, without the time in which the machine was suspended.
        tree: The process tree.
        system: The machine.
        growth_bytes_per_s: Recent growth of the tree's anonymous memory; never negative.
        swap_growth_bytes: Growth of the machine's used swap since the start; never negative.
        gpu_tree_bytes: GPU memory of the tree on one GPU. If the driver does not list the processes of the tree, it is
            the growth of the GPU's used memory since the start. None without a reading.
        gpu_used_bytes: GPU memory that all programs use on that GPU; None without a reading.
        silence_s: Seconds since the last heartbeat, or since the start.
    """

    elapsed_s: float
    tree: TreeSample
    system: SystemSample
    growth_bytes_per_s: float
    swap_growth_bytes: int
    gpu_tree_bytes: int | None
    gpu_used_bytes: int | None
    silence_s: float


@dataclass(frozen=True, slots=True)
class Peaks:
    """The largest values measured. ``gpu_bytes`` is None without a reading."""

    rss_bytes: int = 0
    anonymous_bytes: int = 0
    gpu_bytes: int | None = None
    swap_growth_bytes: int = 0

    def with_snapshot(self, snapshot: Snapshot) -> Peaks:
        """Return the peaks after one more snapshot."""
        tree = snapshot.tree
        return self.joined(
            Peaks(tree.rss_bytes, tree.anonymous_bytes, snapshot.gpu_tree_bytes, snapshot.swap_growth_bytes)
        )

    def joined(self, other: Peaks) -> Peaks:
        """Return the larger value of each pair."""
        known_gpu = [size for size in (self.gpu_bytes, other.gpu_bytes) if size is not None]
        return Peaks(
            rss_bytes=max(self.rss_bytes, other.rss_bytes),
            anonymous_bytes=max(self.anonymous_bytes, other.anonymous_bytes),
            gpu_bytes=max(known_gpu, default=None),
            swap_growth_bytes=max(self.swap_growth_bytes, other.swap_growth_bytes),
        )


class Growth:
    """Growth rate of a size, measured against the newest value that is at least ``RATE_WINDOW_S`` old."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, at_s: float, size_bytes: int) -> float:
        """Add a value and return the growth in bytes per second: never negative, and 0 for the first value."""
        self._seen.append((at_s, size_bytes))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - RATE_WINDOW_S:
            self._seen.popleft()
        then_s, then_bytes = self._seen[0]
        return max(0, size_bytes - then_bytes) / max(at_s - then_s, RATE_WINDOW_S)


class Recorder:
    """Measure all processes that this process started, keep the peaks, and append a CSV row every ``interval_s``
    seconds.

    If the driver lists no processes, the growth of the GPU's used memory counts as the memory of the tree. This does
    not work if other cells of the run share the GPU (``gpu_shared``): then only the memory cap that torch enforces
    keeps the tree below its limit.

    Attributes:
        peaks: The largest values measured so far.

    Args:
        folder: The cell folder, with the heartbeat file and ``monitor.csv``.
        gpu: Source of the GPU readings.
        interval_s: Seconds between two rows of ``monitor.csv``.
        gpu_shared: Whether other cells of the run use the same GPU.
    """

    def __init__(self, folder: Path, gpu: GpuWatch, interval_s: float, gpu_shared: bool = False) -> None:
        self.peaks = Peaks()
        self._folder, self._gpu, self._interval_s, self._gpu_shared = folder, gpu, interval_s, gpu_shared
        self._start_s = time.monotonic()
        self._swap_at_start_bytes = sample_system(folder).swap_used_bytes
        self._gpu_at_start_bytes: int | None = None
        self._growth = Growth()
        self._rows, self._row_at_s, self._row_cpu_s = 0, 0.0, 0.0
        self._heartbeat: int | None = None
        self._looked_at_s = 0.0
        self._heartbeat, self._heartbeat_at_s = self._heartbeat_mtime(), 0.0

    def take_snapshot(self) -> Snapshot:
        """Measure once more, update the peaks, and append a CSV row if one is due."""
        elapsed_s = self.elapsed_s()
        tree, system = sample_tree(os.getpid()), sample_system(self._folder)
        gpu_tree_bytes, gpu_used_bytes = self._gpu_bytes(tree.pids)
        snapshot = Snapshot(
            elapsed_s,
            tree,
            system,
            growth_bytes_per_s=self._growth.after(elapsed_s, tree.anonymous_bytes),
            swap_growth_bytes=max(0, system.swap_used_bytes - self._swap_at_start_bytes),
            gpu_tree_bytes=gpu_tree_bytes,
            gpu_used_bytes=gpu_used_bytes,
            silence_s=self._silence_s(elapsed_s, tree.stopped),
        )
        self.peaks = self.peaks.with_snapshot(snapshot)
        if elapsed_s >= self._rows * self._interval_s:
            self._append_row(snapshot)
        return snapshot

    def elapsed_s(self) -> float:
        """Return the seconds since the start, without the time in which the machine was suspended."""
        return time.monotonic() - self._start_s

    def _gpu_bytes(self, pids: tuple[int, ...]) -> tuple[int | None, int | None]:
        self._gpu.pids = pids
        sample = self._gpu.latest
        if sample is None:
            return None, None
        if self._gpu_at_start_bytes is None:
            self._gpu_at_start_bytes = sample.used_bytes
        if sample.tree_bytes is not None or self._gpu_shared:
            return sample.tree_bytes, sample.used_bytes
        return max(0, sample.used_bytes - self._gpu_at_start_bytes), sample.used_bytes

    def _silence_s(self, elapsed_s: float, stopped: bool) -> float:
        """Return the seconds since the modification time of the heartbeat file was last seen to change.

        The monotonic clock measures them, because the system clock can jump and the machine can be suspended. Time in
        which this process did not look (SIGSTOP, a stalled machine), or in which a process of the tree is stopped, does
        not count.
        """
        gap_s = elapsed_s - self._looked_at_s
        self._looked_at_s = elapsed_s
        if gap_s > LONGEST_LOOK_S or stopped:
            self._heartbeat_at_s += gap_s
        mtime = self._heartbeat_mtime()
        if mtime != self._heartbeat:
            self._heartbeat, self._heartbeat_at_s = mtime, elapsed_s
        return elapsed_s - self._heartbeat_at_s

    def _heartbeat_mtime(self) -> int | None:
        try:
            return (self._folder / HEARTBEAT_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError:  # a network disk that is not reachable for a moment says nothing about the process
            return self._heartbeat

    def _append_row(self, snapshot: Snapshot) -> None:
        since_s = snapshot.elapsed_s - self._row_at_s
        cpu_s = max(0.0, snapshot.tree.cpu_s - self._row_cpu_s)
        row = MonitorRow(
            time_iso=now_iso(),
            elapsed_s=round(snapshot.elapsed_s, 3),
            tree_rss_bytes=snapshot.tree.rss_bytes,
            tree_file_bytes=snapshot.tree.file_bytes,
            gpu_tree_bytes=snapshot.gpu_tree_bytes,
            gpu_total_used_bytes=snapshot.gpu_used_bytes,
            system_available_bytes=snapshot.system.available_bytes,
            swap_used_bytes=snapshot.system.swap_used_bytes,
            swap_growth_bytes=snapshot.swap_growth_bytes,
            disk_free_bytes=snapshot.system.disk_free_bytes,
            processes=len(snapshot.tree.pids),
            cpu_percent=round(100 * cpu_s / since_s, 1) if self._rows else 0.0,
        )
        with contextlib.suppress(OSError):  # a full disk must not end the supervision
            append_row(self._folder / MONITOR_FILE, row)
        self._rows = int(snapshot.elapsed_s / self._interval_s) + 1
        self._row_at_s, self._row_cpu_s = snapshot.elapsed_s, snapshot.tree.cpu_s


def append_row(path: Path, row: MonitorRow) -> None:
    """Append ``row`` to the CSV file at ``path`` in one write. A new file gets the header first."""
    line = ",".join("" if value is None else str(value) for value in row) + "\n"
    with path.open("a", encoding="utf-8") as file:
        header = ",".join(MonitorRow._fields) + "\n" if file.tell() == 0 else ""
        file.write(header + line)


def now_iso() -> str:
    """Return the local time to the second, with its offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
