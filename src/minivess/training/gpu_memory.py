"""GPU memory of a process tree, from NVML or else nvidia-smi; read in a thread, so that a hung driver blinds nobody."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

SMI_TIMEOUT_S = 10.0
_DRIVER_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")


@dataclass(frozen=True, slots=True)
class GpuSample:
    """GPU memory on the card that the tree uses most.

    Attributes:
        tree_bytes: What the tree's processes hold; None when the driver lists none of them, as before their first
            use of the card, but also in containers and under WSL.
        used_bytes: What all processes hold on that card.
    """

    tree_bytes: int | None
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Card:
    """One card: what is used on it, and by which processes (bytes by pid)."""

    used_bytes: int
    bytes_by_pid: dict[int, int]


class GpuReader(Protocol):
    """Reads every card; any exception means that this way of reading does not work here."""

    def cards(self) -> list[Card]:
        """One entry a card."""
        ...


class NvmlReader:
    """Reads through the driver's own library: about a millisecond a look."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]

    def cards(self) -> list[Card]:
        """One entry a card, in the driver's order."""
        return [self._card(handle) for handle in self._handles]

    def _card(self, handle: object) -> Card:
        processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        known = {process.pid: process.usedGpuMemory for process in processes if process.usedGpuMemory is not None}
        return Card(self._nvml.nvmlDeviceGetMemoryInfo(handle).used, known)


class SmiReader:
    """Reads through the ``nvidia-smi`` command, for drivers that the Python binding cannot talk to."""

    def cards(self) -> list[Card]:
        """One entry a card, in the driver's order."""
        cards = {uuid: Card(_mib(used), {}) for uuid, used in _query_smi("--query-gpu=uuid,memory.used")}
        for uuid, pid, used in _query_smi("--query-compute-apps=gpu_uuid,pid,used_memory"):
            if used.isdigit():
                cards[uuid].bytes_by_pid[int(pid)] = _mib(used)
        return list(cards.values())


def busiest_card(cards: Iterable[Card], pids: Iterable[int]) -> GpuSample | None:
    """The card that ``pids`` hold most of, or the fullest one when they hold none; None without cards."""
    pids = set(pids)
    samples = []
    for card in cards:
        held = [size for pid, size in card.bytes_by_pid.items() if pid in pids]
        samples.append(GpuSample(sum(held) if held else None, card.used_bytes))
    return max(samples, key=lambda sample: (sample.tree_bytes or 0, sample.used_bytes), default=None)


class GpuWatch:
    """Reads the cards every ``period_s`` in a thread of its own; ``latest`` is the last reading, ``pids`` the tree.

    Without a driver ``latest`` stays None. A way of reading that fails is replaced by the next, and in the end by
    none; ``trouble`` then says why. ``read_at_s`` is the monotonic time of the last reading.
    """

    def __init__(self, period_s: float, reader: GpuReader | None = None) -> None:
        self.pids: tuple[int, ...] = ()
        self.latest: GpuSample | None = None
        self.read_at_s = time.monotonic()
        self._period_s = period_s
        self._ways: list[Callable[[], GpuReader]] = [lambda: reader] if reader else _ways_to_read()
        self.trouble = "" if self._ways else "no NVIDIA driver found"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> GpuWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        for open_reader in self._ways:
            try:
                reader = open_reader()
                while not self._done.is_set():
                    self.latest, self.read_at_s = busiest_card(reader.cards(), self.pids), time.monotonic()
                    self._done.wait(self._period_s)
            except Exception as error:
                self.latest, self.trouble = None, f"{type(error).__name__}: {error}"


def _ways_to_read() -> list[Callable[[], GpuReader]]:
    ways: list[Callable[[], GpuReader]] = []
    if any(Path(file).exists() for file in _DRIVER_FILES):
        ways.append(NvmlReader)
    if shutil.which("nvidia-smi"):
        ways.append(SmiReader)
    return ways


def _query_smi(query: str) -> list[list[str]]:
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=True)
    return [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines() if line.strip()]


def _mib(text: str) -> int:
    return int(text) * 2**20
