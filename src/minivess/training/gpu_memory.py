"""GPU memory of a process tree, from NVML or else nvidia-smi; read in a thread, so that a hung driver blinds nobody."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

SMI_TIMEOUT_S = 10.0
RETRY_S = (1.0, 10.0, 60.0)
"""Waits before reading is tried again, the last one for ever: a driver that is being updated comes back after a while."""
_DRIVER_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")


@dataclass(frozen=True, slots=True)
class GpuSample:
    """GPU memory on the card that is watched.

    Attributes:
        tree_bytes: What the tree's processes hold; 0 when the driver lists others of this machine and none of them, as before
            their first use of the card; None when it lists nobody whom we know, as in containers and under WSL.
        used_bytes: What all processes hold on that card.
    """

    tree_bytes: int | None
    used_bytes: int


@dataclass(frozen=True, slots=True)
class Card:
    """One card: what is used on it and by which processes (bytes by pid, empty when they cannot be listed), its names."""

    used_bytes: int
    bytes_by_pid: dict[int, int] = field(default_factory=dict)
    index: int = 0
    uuid: str = ""


class GpuReader(Protocol):
    """Reads every card; any exception means that this way of reading does not work now."""

    def cards(self) -> list[Card]:
        """One entry for each card that could be read."""
        ...


class NvmlReader:
    """Reads through the driver's own library: about a millisecond a look."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()  # what an earlier reader opened; the library counts, and opens anew only from zero
        pynvml.nvmlInit()

    def cards(self) -> list[Card]:
        """One entry for each card that could be read, in the driver's order."""
        cards = []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(self._nvml.NVMLError):  # one lost card does not hide the others
                cards.append(self._card(index))
        return cards

    def _card(self, index: int) -> Card:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        used_bytes = self._nvml.nvmlDeviceGetMemoryInfo(handle).used
        return Card(used_bytes, self._bytes_by_pid(handle), index, self._nvml.nvmlDeviceGetUUID(handle))

    def _bytes_by_pid(self, handle: object) -> dict[int, int]:
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except self._nvml.NVMLError:  # WSL has no list of processes
            return {}
        return {process.pid: process.usedGpuMemory for process in processes if process.usedGpuMemory is not None}


class SmiReader:
    """Reads through the ``nvidia-smi`` command, for drivers that the Python binding cannot talk to."""

    def cards(self) -> list[Card]:
        """One entry for each card that could be read, in the driver's order."""
        rows = _query_smi("--query-gpu=index,uuid,memory.used")
        cards = [Card(_mib(used), {}, int(index), uuid) for index, uuid, used in rows if used.isdigit()]
        for uuid, pid, used in _processes():
            for card in cards:
                if card.uuid == uuid and used.isdigit():
                    card.bytes_by_pid[int(pid)] = _mib(used)
        return cards


def chosen_cards(cards: Iterable[Card], name: str | None) -> list[Card]:
    """The card of that uuid or index; all of them for None."""
    return [card for card in cards if name is None or name in (card.uuid, str(card.index))]


def busiest_card(cards: Iterable[Card], pids: Iterable[int]) -> GpuSample | None:
    """The card that ``pids`` hold most of, or the fullest one when they hold none; None without cards."""
    pids = set(pids)
    samples = []
    for card in cards:
        held = [size for pid, size in card.bytes_by_pid.items() if pid in pids]
        known = held or any(Path(f"/proc/{pid}").exists() for pid in card.bytes_by_pid)
        samples.append(GpuSample(sum(held) if known else None, card.used_bytes))
    return max(samples, key=lambda sample: (sample.tree_bytes or 0, sample.used_bytes), default=None)


class GpuWatch:
    """Reads the cards every ``period_s`` in a thread of its own; ``latest`` is the last reading, ``pids`` the tree.

    Without a driver ``latest`` stays None. A way of reading that fails is replaced by the next; when all have failed,
    ``latest`` is None and ``trouble`` says why, until one of them works again. ``read_at_s`` is the monotonic time of
    the last reading.

    Args:
        period_s: Time between two readings.
        reader: How to read; by default NVML, then nvidia-smi.
        card: Uuid or index of the only card to look at; None takes the one that the tree uses most.
    """

    def __init__(self, period_s: float, reader: GpuReader | None = None, card: str | None = None) -> None:
        self.pids: tuple[int, ...] = ()
        self.latest: GpuSample | None = None
        self.read_at_s = time.monotonic()
        self._period_s, self._card = period_s, card
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
        waited = 0
        while self._ways and not self._done.is_set():
            before_s = self.read_at_s
            errors = [self._read(open_reader) for open_reader in self._ways]
            if self._done.is_set():
                return
            self.trouble = "; ".join(errors)
            waited = 0 if self.read_at_s > before_s else waited
            self._done.wait(RETRY_S[min(waited, len(RETRY_S) - 1)])
            waited += 1

    def _read(self, open_reader: Callable[[], GpuReader]) -> str:
        """Read until that fails, and say why."""
        try:
            reader = open_reader()
            while not self._done.is_set():
                self.latest = self._sample(reader.cards())
                self.read_at_s, self.trouble = time.monotonic(), ""
                self._done.wait(self._period_s)
        except Exception as error:
            self.latest = None
            return f"{type(error).__name__}: {error}"
        return ""

    def _sample(self, cards: list[Card]) -> GpuSample:
        sample = busiest_card(chosen_cards(cards, self._card), self.pids)
        if sample is None:
            raise LookupError(f"no reading of {'any card' if self._card is None else f'card {self._card}'}")
        return sample


def _ways_to_read() -> list[Callable[[], GpuReader]]:
    ways: list[Callable[[], GpuReader]] = []
    if any(Path(file).exists() for file in _DRIVER_FILES):
        ways.append(NvmlReader)
    if shutil.which("nvidia-smi"):
        ways.append(SmiReader)
    return ways


def _processes() -> list[list[str]]:
    try:
        return _query_smi("--query-compute-apps=gpu_uuid,pid,used_memory")
    except (OSError, subprocess.SubprocessError):
        return []


def _query_smi(query: str) -> list[list[str]]:
    """The rows of the answer; OSError when there are none and the command failed."""
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False)
    lines = answer.stdout.splitlines()
    rows = [[cell.strip() for cell in line.split(",")] for line in lines]
    rows = [row for row in rows if len(row) == query.count(",") + 1]
    if answer.returncode and not rows:  # with one card lost it fails too, and lists the others
        raise OSError(f"nvidia-smi ended with exit status {answer.returncode}: {(lines or ['nothing'])[0][:200]}")
    return rows


def _mib(text: str) -> int:
    return int(text) * 2**20
