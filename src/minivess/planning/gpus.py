"""Which NVIDIA cards there are and what is free on each: from NVML, or ``nvidia-smi`` when that gives nothing."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from minivess.sizes import MIB

_FIELDS = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap", "driver_version")


@dataclass(frozen=True)
class Gpu:
    """One card as the driver reports it.

    Attributes:
        index: Its place in PCI order, which is nvidia-smi's. CUDA's own order may differ: choose a card by ``uuid``.
        uuid: What CUDA_VISIBLE_DEVICES takes to name exactly this card.
        name: The model, e.g. "NVIDIA GeForce RTX 2070 SUPER".
        total_bytes: Memory of the card.
        free_bytes: What nobody uses now.
        compute_capability: Major and minor, (7, 5) for Turing; None when the driver does not say.
        driver: The driver's version.
        limit_bytes: What a run may count as the whole card; None is all of it.
        cells: How many cells of the run share it.
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
        """What a cell counts as its card, less than all of it where a limit was set or cells share it: budgets are parts of this."""
        whole = self.total_bytes if self.limit_bytes is None else min(self.total_bytes, self.limit_bytes)
        return whole // self.cells


Reading = tuple[tuple[Gpu, ...], tuple[str, ...]]
"""The cards that could be read, and a note for every one and every source that could not."""


class _NoReadingError(Exception):
    """A source gave no usable answer."""


def read_gpus(smi: Sequence[str] = ("nvidia-smi",), nvml: bool = True, timeout_s: float = 10.0) -> Reading:
    """Every card, or none with notes that say why.

    Args:
        smi: The command that answers ``--query-gpu``, with its leading arguments.
        nvml: Whether NVML is asked first.
        timeout_s: How long each source may take. A wedged driver hangs either one for ever.
    """
    sources: dict[str, Callable[[], Reading]] = {"NVML": _ask_nvml} if nvml else {}
    sources[smi[0]] = lambda: _ask_smi(smi, timeout_s)
    notes: list[str] = []
    for source, ask in sources.items():
        try:
            # One second more than nvidia-smi gets: only a process that survives SIGKILL, in a wedged driver, is left.
            gpus, remarks = _within(timeout_s + 1, ask)
        except _NoReadingError as error:
            remarks = (str(error),)
            gpus = ()
        notes += (f"{source}: {remark}" for remark in remarks)
        if gpus or not remarks:
            return gpus, tuple(notes)
    return (), tuple(notes)


def visible_gpus(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """The cards that a CUDA_VISIBLE_DEVICES of ``visible`` leaves, in its order; all of them for None.

    As CUDA does it: entries are indices or the beginning of a uuid, and the first that names no card ends the list.
    Indices count in PCI order, as in nvidia-smi; CUDA counts so only with CUDA_DEVICE_ORDER=PCI_BUS_ID, so hand on the
    card's uuid and not the index (see `lanes.lanes_of`).
    """
    if visible is None:
        return tuple(gpus)
    chosen = []
    for entry in (entry.strip() for entry in visible.split(",")):
        card = next((g for g in gpus if entry == str(g.index) or (entry and g.uuid.startswith(entry))), None)
        if card is None:
            break
        chosen.append(card)
    return tuple(chosen)


def _within(timeout_s: float, ask: Callable[[], Reading]) -> Reading:
    """The answer of a thread that is left behind when none comes: a hanging library call cannot be interrupted."""
    answer: Future[Reading] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        return answer.result(timeout_s)
    except TimeoutError:
        raise _NoReadingError(f"no answer within {timeout_s:g} s") from None


def _ask_nvml() -> Reading:
    import pynvml

    gpus, notes = [], []
    try:
        pynvml.nvmlInit()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    gpus.append(_nvml_gpu(index))
                except pynvml.NVMLError as error:  # one lost card does not hide the others
                    notes.append(f"card {index}: {error}")
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise _NoReadingError(str(error)) from error
    return tuple(gpus), tuple(notes)


def _nvml_gpu(index: int) -> Gpu:
    import pynvml

    card = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(card)
    return Gpu(
        index=index,
        uuid=pynvml.nvmlDeviceGetUUID(card),
        name=pynvml.nvmlDeviceGetName(card),
        total_bytes=int(memory.total),
        free_bytes=int(memory.free),
        compute_capability=tuple(pynvml.nvmlDeviceGetCudaComputeCapability(card)),
        driver=pynvml.nvmlSystemGetDriverVersion(),
    )


def _ask_smi(command: Sequence[str], timeout_s: float) -> Reading:
    query = [*command, f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    status, output = _run(query, timeout_s)
    if status != 0 or not output.strip():
        first_line = (output.strip().splitlines() or ["nothing"])[0]
        raise _NoReadingError(f"it ended with status {status} and said: {first_line[:200]}")
    gpus, notes = [], []
    for row in csv.reader(output.splitlines(), skipinitialspace=True):
        try:
            gpus.append(_smi_gpu(row))
        except ValueError:
            notes.append(f"not a reading: {', '.join(row)[:200]}")
    return tuple(gpus), tuple(notes)


def _run(command: Sequence[str], timeout_s: float) -> tuple[int, str]:
    """Exit status and output of a command that is killed, its children too, when it takes longer."""
    try:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
    except subprocess.TimeoutExpired:
        raise _NoReadingError(f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise _NoReadingError(error.strerror or str(error)) from None
    return process.returncode, output


def _smi_gpu(row: Sequence[str]) -> Gpu:
    """A card from one line of the answer; ValueError when the line is anything else ("[N/A]", "ERR!", a sentence)."""
    index, uuid, name, total_mib, free_mib, capability, driver = row
    total_bytes, free_bytes = int(total_mib) * MIB, int(free_mib) * MIB
    if not 0 <= free_bytes <= total_bytes or total_bytes == 0:
        raise ValueError(row)
    major, _, minor = capability.partition(".")
    compute = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return Gpu(int(index), uuid, name, total_bytes, free_bytes, compute, driver)
