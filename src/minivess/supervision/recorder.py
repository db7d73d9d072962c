"""What was seen of a process tree over time: each look, the peaks, and the rows of ``monitor.csv``."""

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
RATE_WINDOW_S = 0.1
"""Growth is measured over at least this long: one big allocation between two close looks is no trend."""


class MonitorRow(NamedTuple):
    """One row of ``monitor.csv``; an unknown value is an empty cell.

    ``elapsed_s`` counts from the start of this attempt, ``swap_growth_bytes`` since then (never below zero),
    ``cpu_percent`` is the tree's since the row before, with 100 for one full core.
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
    """One look at tree, machine and cards.

    Attributes:
        elapsed_s: Time since the first look was prepared, without the time asleep (suspended).
        tree: The process tree.
        system: The machine.
        growth_bytes_per_s: How fast the tree's anonymous memory grew lately; never below zero.
        swap_growth_bytes: How much more swap the machine uses than at the start; never below zero.
        gpu_tree_bytes: GPU memory of the tree on one card; where the driver does not list the tree's processes, by
            how much the card's used memory grew since the start; None without a reading.
        gpu_used_bytes: GPU memory used by everybody on that card; None without a reading.
        silence_s: Time since the last heartbeat, or since the start.
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
    """The largest values seen."""

    rss_bytes: int = 0
    anonymous_bytes: int = 0
    gpu_bytes: int | None = None
    swap_growth_bytes: int = 0

    def with_look(self, look: Snapshot) -> Peaks:
        """The peaks after one more look."""
        tree = look.tree
        return self.joined(Peaks(tree.rss_bytes, tree.anonymous_bytes, look.gpu_tree_bytes, look.swap_growth_bytes))

    def joined(self, other: Peaks) -> Peaks:
        """The larger of each."""
        known_gpu = [size for size in (self.gpu_bytes, other.gpu_bytes) if size is not None]
        return Peaks(
            rss_bytes=max(self.rss_bytes, other.rss_bytes),
            anonymous_bytes=max(self.anonymous_bytes, other.anonymous_bytes),
            gpu_bytes=max(known_gpu, default=None),
            swap_growth_bytes=max(self.swap_growth_bytes, other.swap_growth_bytes),
        )


class Growth:
    """How fast a size grows, between now and the latest earlier value that is ``RATE_WINDOW_S`` old."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, at_s: float, size_bytes: int) -> float:
        """Bytes a second, never below zero, after one more value; 0 for the first."""
        self._seen.append((at_s, size_bytes))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - RATE_WINDOW_S:
            self._seen.popleft()
        then_s, then_bytes = self._seen[0]
        return max(0, size_bytes - then_bytes) / max(at_s - then_s, RATE_WINDOW_S)


class Recorder:
    """Looks at everything that this process started, keeps the peaks, appends a CSV row every ``interval_s``.

    Where the driver lists no processes, the growth of a card's use stands for the tree's, unless ``gpu_shared`` with others
    of ours; then torch's own cap alone keeps the tree below its limit.
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
        self._heartbeat, self._heartbeat_at_s = self._heartbeat_mtime(), 0.0

    def look(self) -> Snapshot:
        """Snapshot once more."""
        elapsed_s = self.elapsed_s()
        tree, system = sample_tree(os.getpid()), sample_system(self._folder)
        gpu_tree_bytes, gpu_used_bytes = self._gpu_bytes(tree.pids)
        look = Snapshot(
            elapsed_s,
            tree,
            system,
            growth_bytes_per_s=self._growth.after(elapsed_s, tree.anonymous_bytes),
            swap_growth_bytes=max(0, system.swap_used_bytes - self._swap_at_start_bytes),
            gpu_tree_bytes=gpu_tree_bytes,
            gpu_used_bytes=gpu_used_bytes,
            silence_s=self._silence_s(elapsed_s),
        )
        self.peaks = self.peaks.with_look(look)
        if elapsed_s >= self._rows * self._interval_s:
            self._append_row(look)
        return look

    def elapsed_s(self) -> float:
        """Time since the start, without the time asleep (suspended)."""
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

    def _silence_s(self, elapsed_s: float) -> float:
        """Counted on our own clock from when the file's time was seen to change: clocks jump, machines sleep."""
        mtime = self._heartbeat_mtime()
        if mtime != self._heartbeat:
            self._heartbeat, self._heartbeat_at_s = mtime, elapsed_s
        return elapsed_s - self._heartbeat_at_s

    def _heartbeat_mtime(self) -> int | None:
        try:
            return (self._folder / HEARTBEAT_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError:  # a network disk that is away for a moment is no news of the process
            return self._heartbeat

    def _append_row(self, look: Snapshot) -> None:
        since_s = look.elapsed_s - self._row_at_s
        cpu_s = max(0.0, look.tree.cpu_s - self._row_cpu_s)
        row = MonitorRow(
            time_iso=now_iso(),
            elapsed_s=round(look.elapsed_s, 3),
            tree_rss_bytes=look.tree.rss_bytes,
            tree_file_bytes=look.tree.file_bytes,
            gpu_tree_bytes=look.gpu_tree_bytes,
            gpu_total_used_bytes=look.gpu_used_bytes,
            system_available_bytes=look.system.available_bytes,
            swap_used_bytes=look.system.swap_used_bytes,
            swap_growth_bytes=look.swap_growth_bytes,
            disk_free_bytes=look.system.disk_free_bytes,
            processes=len(look.tree.pids),
            cpu_percent=round(100 * cpu_s / since_s, 1) if self._rows else 0.0,
        )
        with contextlib.suppress(OSError):  # a full disk must not end the watch
            append_row(self._folder / MONITOR_FILE, row)
        self._rows = int(look.elapsed_s / self._interval_s) + 1
        self._row_at_s, self._row_cpu_s = look.elapsed_s, look.tree.cpu_s


def append_row(path: Path, row: MonitorRow) -> None:
    """Append ``row`` to the CSV file at ``path`` in one write; a new file gets the header first."""
    line = ",".join("" if value is None else str(value) for value in row) + "\n"
    with path.open("a", encoding="utf-8") as file:
        header = ",".join(MonitorRow._fields) + "\n" if file.tell() == 0 else ""
        file.write(header + line)


def now_iso() -> str:
    """Local time to the second, with its offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
