"""The one reader of NVIDIA GPUs, for planning and supervision: NVML first, ``nvidia-smi`` if NVML gives nothing.

Planning reads once which GPUs exist (`read_gpus`). Supervision reads repeatedly how much memory is in use and by which
process (`NvmlReader.uses`, `SmiReader.uses`). Imports no torch.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from minivess.machine.time_limit import within
from minivess.text import MIB

SMI = ("nvidia-smi",)
TIMEOUT_S = 10.0
"""Time limit of one query. A GPU driver that hangs blocks NVML and nvidia-smi forever."""

_DRIVER_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")
_GPU_FIELDS = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap", "driver_version")
_USE_FIELDS = ("index", "uuid", "memory.used")
_PROCESS_FIELDS = ("gpu_uuid", "pid", "used_memory")


@dataclass(frozen=True)
class Gpu:
    """One GPU as the GPU driver reports it.

    Attributes:
        index: Position in PCI order, as in nvidia-smi. CUDA's own order may differ: select a GPU by ``uuid``.
        uuid: What CUDA_VISIBLE_DEVICES accepts to select exactly this GPU.
        name: Product name, e.g. "NVIDIA GeForce RTX 2070 SUPER".
        total_bytes: Memory of the GPU.
        free_bytes: Memory that no process uses now.
        compute_capability: Major and minor version, (7, 5) for Turing; None if the driver does not report it.
        driver: Version of the GPU driver.
        limit_bytes: Memory that a run may treat as the whole GPU; None for all of it.
        cells: Number of cells of the run that share this GPU.
    """

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    compute_capability: tuple[int, int] | None
    driver: str
    limit_bytes: int | None = None
    cells: int = 1

    @property
    def counted_bytes(self) -> int:
        """Memory that one cell treats as its GPU: budgets are fractions of this."""
        whole = self.total_bytes if self.limit_bytes is None else min(self.total_bytes, self.limit_bytes)
        return whole // self.cells


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Memory in use on one GPU: in total, and by process (bytes by pid; empty if processes cannot be listed)."""

    used_bytes: int
    bytes_by_pid: dict[int, int] = field(default_factory=dict)
    index: int = 0
    uuid: str = ""


Reading = tuple[tuple[Gpu, ...], tuple[str, ...]]
"""The GPUs that could be read, and a note for each GPU and each source that could not."""


class GpuReader(Protocol):
    """Reads the memory in use on every GPU; any exception means that this source does not work now."""

    def uses(self) -> list[GpuUse]:
        """One entry for each GPU that could be read."""
        ...


class NvmlReader:
    """Reads with NVML, the library of the GPU driver; one reading takes about a millisecond."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()  # NVML counts its users, and starts again only if none is left
        pynvml.nvmlInit()

    def gpus(self) -> Reading:
        """Read every GPU; a GPU that cannot be read becomes a note."""
        return self._each(self._gpu)

    def uses(self) -> list[GpuUse]:
        """One entry for each GPU that could be read, in the driver's order."""
        return list(self._each(self._use)[0])

    def _each(self, read: Callable[[int, Any], Any]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
        found, notes = [], []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                found.append(read(index, self._nvml.nvmlDeviceGetHandleByIndex(index)))
            except self._nvml.NVMLError as error:  # a failed GPU must not hide the others
                notes.append(f"GPU {index}: {error}")
        return tuple(found), tuple(notes)

    def _gpu(self, index: int, handle: Any) -> Gpu:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return Gpu(
            index=index,
            uuid=self._nvml.nvmlDeviceGetUUID(handle),
            name=self._nvml.nvmlDeviceGetName(handle),
            total_bytes=int(memory.total),
            free_bytes=int(memory.free),
            compute_capability=tuple(self._nvml.nvmlDeviceGetCudaComputeCapability(handle)),
            driver=self._nvml.nvmlSystemGetDriverVersion(),
        )

    def _use(self, index: int, handle: Any) -> GpuUse:
        used_bytes = self._nvml.nvmlDeviceGetMemoryInfo(handle).used
        return GpuUse(used_bytes, self._bytes_by_pid(handle), index, self._nvml.nvmlDeviceGetUUID(handle))

    def _bytes_by_pid(self, handle: Any) -> dict[int, int]:
        try:
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        except self._nvml.NVMLError:  # WSL has no list of processes
            return {}
        return {process.pid: process.usedGpuMemory for process in processes if process.usedGpuMemory is not None}


class SmiReader:
    """Reads with the ``nvidia-smi`` command, for GPU drivers that the Python binding of NVML cannot use.

    Args:
        command: The command with its leading arguments.
        timeout_s: Time limit of one query.
    """

    def __init__(self, command: Sequence[str] = SMI, timeout_s: float = TIMEOUT_S) -> None:
        self._command, self._timeout_s = tuple(command), timeout_s

    def gpus(self) -> Reading:
        """Read every GPU; a GPU that cannot be read becomes a note.

        Raises:
            OSError: The command failed or printed nothing.
        """
        status, output = self._run("gpu", _GPU_FIELDS)
        if status != 0 or not output.strip():
            raise OSError(_failure(status, output))
        found, notes = [], []
        for row in csv.reader(output.splitlines(), skipinitialspace=True):
            try:
                found.append(_gpu_from_row(row))
            except ValueError:
                notes.append(f"unreadable line: {', '.join(row)[:200]}")
        return tuple(found), tuple(notes)

    def uses(self) -> list[GpuUse]:
        """One entry for each GPU that could be read, in the driver's order."""
        status, output = self._run("gpu", _USE_FIELDS)
        rows = _rows(output, len(_USE_FIELDS))
        if status and not rows:  # if one GPU has failed, the command fails too but lists the others
            raise OSError(_failure(status, output))
        uses = [GpuUse(int(used) * MIB, {}, int(index), uuid) for index, uuid, used in rows if used.isdigit()]
        for uuid, pid, used in self._processes():
            for use in uses:
                if use.uuid == uuid and used.isdigit():
                    use.bytes_by_pid[int(pid)] = int(used) * MIB
        return uses

    def _processes(self) -> list[list[str]]:
        try:
            return _rows(self._run("compute-apps", _PROCESS_FIELDS)[1], len(_PROCESS_FIELDS))
        except OSError:
            return []

    def _run(self, what: str, fields: Sequence[str]) -> tuple[int, str]:
        """Run a query and return its exit status and output; if it takes too long, it is killed with its children."""
        query = [*self._command, f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"]
        with subprocess.Popen(
            query,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise TimeoutError(f"no answer within {self._timeout_s:g} s") from None
        return process.returncode, output


def sources() -> list[Callable[[], GpuReader]]:
    """The sources that this machine may have, in the order in which they are tried."""
    found: list[Callable[[], GpuReader]] = []
    if any(Path(file).exists() for file in _DRIVER_FILES):
        found.append(NvmlReader)
    if shutil.which(SMI[0]):
        found.append(SmiReader)
    return found


def read_gpus(smi: Sequence[str] = SMI, nvml: bool = True, timeout_s: float = TIMEOUT_S) -> Reading:
    """Read every GPU; if there is none, the notes say why.

    Args:
        smi: The nvidia-smi command with its leading arguments.
        nvml: Whether NVML is tried first.
        timeout_s: Time limit of each source.
    """
    asked: dict[str, Callable[[], Reading]] = {"NVML": lambda: NvmlReader().gpus()} if nvml else {}
    asked[smi[0]] = lambda: SmiReader(smi, timeout_s).gpus()
    notes: list[str] = []
    for source, ask in asked.items():
        try:
            # One second more than nvidia-smi gets: only a process that survives SIGKILL in the driver needs it.
            gpus, remarks = within(timeout_s + 1, ask)
        except Exception as error:
            gpus, remarks = (), (getattr(error, "strerror", None) or str(error),)
        notes += (f"{source}: {remark}" for remark in remarks)
        if gpus or not remarks:
            return gpus, tuple(notes)
    return (), tuple(notes)


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs that ``CUDA_VISIBLE_DEVICES=visible`` leaves, in its order; all of them for None.

    Entries are indices or the beginning of a UUID, and the first entry that matches no GPU ends the list, as in CUDA.
    Indices count in PCI order, as in nvidia-smi. CUDA counts so only with CUDA_DEVICE_ORDER=PCI_BUS_ID, so pass on the
    UUID of a GPU, not its index.
    """
    if visible is None:
        return tuple(gpus)
    selected = []
    for entry in (entry.strip() for entry in visible.split(",")):
        gpu = next((g for g in gpus if entry == str(g.index) or (entry and g.uuid.startswith(entry))), None)
        if gpu is None:
            break
        selected.append(gpu)
    return tuple(selected)


def select_uses(uses: Iterable[GpuUse], name: str | None) -> list[GpuUse]:
    """The GPU with that UUID or index; all GPUs for None."""
    return [use for use in uses if name is None or name in (use.uuid, str(use.index))]


def _rows(output: str, columns: int) -> list[list[str]]:
    rows = csv.reader(output.splitlines(), skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if len(row) == columns]


def _failure(status: int, output: str) -> str:
    first_line = (output.strip().splitlines() or ["nothing"])[0]
    return f"exit status {status}, output: {first_line[:200]}"


def _gpu_from_row(row: Sequence[str]) -> Gpu:
    """A GPU from one line of the output; ValueError if the line is anything else ("[N/A]", "ERR!", a message)."""
    index, uuid, name, total_mib, free_mib, capability, driver = row
    total_bytes, free_bytes = int(total_mib) * MIB, int(free_mib) * MIB
    if not 0 <= free_bytes <= total_bytes or total_bytes == 0:
        raise ValueError(row)
    major, _, minor = capability.partition(".")
    compute = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return Gpu(int(index), uuid, name, total_bytes, free_bytes, compute, driver)
