"""Read the GPU memory of a process tree in a separate thread, so that a hung driver does not block the supervisor."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from minivess.machine.gpus import GpuReader, GpuUse, select_uses, sources

RETRY_S = (1.0, 10.0, 60.0)
"""Waits in seconds before the next attempt to read; the last one repeats. A driver that is being updated comes back."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """Memory in use on the watched GPU.

    Attributes:
        tree_bytes: Memory that the processes of the tree hold. 0 if the driver lists other processes of this machine
            but none of the tree, for example before the tree first uses the GPU. None if the driver lists no process
            of this machine, as in containers and under WSL.
        used_bytes: Memory that all processes together hold on that GPU.
    """

    tree_bytes: int | None
    used_bytes: int


def busiest_gpu(uses: Iterable[GpuUse], pids: Iterable[int]) -> GpuSample | None:
    """Sample the GPU on which ``pids`` hold the most memory, or the fullest GPU if they hold none.

    Args:
        uses: Use of each GPU.
        pids: Processes of the tree.

    Returns:
        The sample; None if there is no GPU.
    """
    pids = set(pids)
    samples = []
    for use in uses:
        held = [size for pid, size in use.bytes_by_pid.items() if pid in pids]
        known = held or any(Path(f"/proc/{pid}").exists() for pid in use.bytes_by_pid)
        samples.append(GpuSample(sum(held) if known else None, use.used_bytes))
    return max(samples, key=lambda sample: (sample.tree_bytes or 0, sample.used_bytes), default=None)


class GpuWatch:
    """Read the GPUs every ``period_s`` seconds in a separate thread. A source that fails is replaced by the next one.

    Attributes:
        pids: Processes of the tree; set by the owner.
        latest: The last reading; None without a driver, and while no source works.
        read_at_s: Monotonic time of the last reading, in seconds.
        trouble: Why there is no reading; empty while reading works.

    Args:
        period_s: Seconds between two readings.
        reader: Source of the readings; by default those of `minivess.machine.gpus.sources`.
        gpu: UUID or index of the only GPU to read; None for the GPU that the tree uses most.
    """

    def __init__(self, period_s: float, reader: GpuReader | None = None, gpu: str | None = None) -> None:
        self.pids: tuple[int, ...] = ()
        self.latest: GpuSample | None = None
        self.read_at_s = time.monotonic()
        self._period_s, self._gpu = period_s, gpu
        self._sources: list[Callable[[], GpuReader]] = [lambda: reader] if reader else sources()
        self.trouble = "" if self._sources else "no NVIDIA driver found"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> GpuWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        waits = 0
        while self._sources and not self._done.is_set():
            before_s = self.read_at_s
            errors = [self._read(open_reader) for open_reader in self._sources]
            if self._done.is_set():
                return
            self.trouble = "; ".join(errors)
            waits = 0 if self.read_at_s > before_s else waits
            self._done.wait(RETRY_S[min(waits, len(RETRY_S) - 1)])
            waits += 1

    def _read(self, open_reader: Callable[[], GpuReader]) -> str:
        """Read until reading fails; return the reason, or an empty string if the watch has ended."""
        try:
            reader = open_reader()
            while not self._done.is_set():
                self.latest = self._sample(reader.uses())
                self.read_at_s, self.trouble = time.monotonic(), ""
                self._done.wait(self._period_s)
        except Exception as error:
            self.latest = None
            return f"{type(error).__name__}: {error}"
        return ""

    def _sample(self, uses: list[GpuUse]) -> GpuSample:
        sample = busiest_gpu(select_uses(uses, self._gpu), self.pids)
        if sample is None:
            raise LookupError(f"no reading of {'any GPU' if self._gpu is None else f'GPU {self._gpu}'}")
        return sample
