"""Start the processes of a run, each under its own supervisor process, and follow their progress."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from minivess.data.profiler import VolumeStats
from minivess.errors import RunError
from minivess.experiments.cell_spec import CellSpec, Retry
from minivess.experiments.config import LimitsConfig
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import from_plain, write_state
from minivess.locks import hold
from minivess.machine.host import read_host
from minivess.machine.processes import torch_environment, worker_command
from minivess.planning.cell_slots import CellSlot
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import TrainingPlan
from minivess.planning.resources import DISK_FREE_MIN_BYTES
from minivess.supervision.exit_codes import HEARTBEAT_FILE, Heartbeat
from minivess.supervision.limits import Limits
from minivess.supervision.outcome import OUT_OF_MEMORY, OUTCOME_FILE, Cause, Outcome, cause_of, cure_for, read_outcome
from minivess.supervision.supervisor import ORDER_FILE, SupervisorSpec

_POLL_S = 0.2
"""Seconds between two readings of the heartbeat file or of the available memory."""
_MEMORY_WAIT_S = 1800.0
"""Longest wait in seconds until other programs release memory."""
_MAX_MEMORY_WAITS = 3
"""Number of times that a cell waits until other programs release memory, before it counts as too large itself."""
_ENVIRONMENT = {
    # Makes cuBLAS add in the same order in every attempt.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # MONAI imports MLflow, whose telemetry is on by default.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
}

Progress = Callable[[str, int, int], None]
"""Takes stage, done and total."""


class RunObserver(Protocol):
    """Receives the events of a run, for display. The methods are called often and must return quickly."""

    def on_message(self, text: str) -> None:
        """One line of text about the run."""

    def on_volume_stored(self, volume: VolumeStats) -> None:
        """A volume was decompressed into the store."""

    def on_cell_start(self, name: str, number: int, total: int) -> None:
        """The cell ``name``, the ``number``-th of ``total``, starts."""

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        """The cell ``name`` has done ``done`` of ``total`` parts of ``stage``."""

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None:
        """The cell ``name`` has ended. ``outcome`` is None if it was finished before."""

    def on_cells_dropped(self, names: Sequence[str]) -> None:
        """A race has stopped the losses of these cells; they are not trained any further."""


class Supervised(Protocol):
    """What a supervised process needs to know of its run: `Prepared`, or a pretraining."""

    @property
    def hardware(self) -> HardwareBudget: ...
    @property
    def plan(self) -> TrainingPlan: ...
    @property
    def slots(self) -> tuple[CellSlot, ...]: ...
    @property
    def config(self) -> Limited: ...


class Limited(Protocol):
    """A configuration with limits."""

    @property
    def limits(self) -> LimitsConfig: ...


def supervise_cell(
    cell: CellFolder, spec: CellSpec, prepared: Prepared, observer: RunObserver, lock: int | None
) -> Outcome | None:
    """Run one cell to its end. It may be called from any thread.

    If the training runs out of memory, it continues from its checkpoint with half as many patches per forward pass,
    down to one; the batch of an optimizer step stays the same. If other programs use up the memory of the machine, it
    waits for them.

    Args:
        cell: Folder of the cell.
        spec: Input of the cell.
        prepared: The run; the cell runs in its first slot.
        observer: Receives progress and messages.
        lock: File descriptor of the lock on the run folder; None if a process on another machine holds that lock. Every
            cell also has its own lock. With None, a cell that another worker is running is waited for without a time
            limit.

    Returns:
        How the cell ended; None if another process has finished it already.

    Raises:
        RunError: The supervisor was killed, or (with ``lock``) another process runs this cell.
    """
    cell.path.mkdir(parents=True, exist_ok=True)
    with hold(cell.path / ".lock", wait=lock is None) as own:
        if cell.finished:
            return None
        write_state(cell.spec, spec)
        locks = (own,) if lock is None else (lock, own)
        on_progress = partial(observer.on_progress, cell.path.name)
        waits = 0
        while True:
            outcome = supervise(cell.path, "cell", prepared, on_progress, *locks)
            if outcome.cause is Cause.SYSTEM_MEMORY_LOW and waits < _MAX_MEMORY_WAITS:
                waits += 1
                observer.on_message(
                    f"{cell.path.name}: {outcome.message}; the cell waits until other programs release memory"
                )
                if _wait_for_memory(prepared, outcome, on_progress):
                    continue
            retry = _smaller_retry(cell, spec, outcome)
            if retry is None:
                return outcome
            write_state(cell.retry, retry)
            observer.on_message(f"{cell.path.name}: {retry.because[-1]}; the cell continues with {retry.micro_batch}")


def _smaller_retry(cell: CellFolder, spec: CellSpec, outcome: Outcome) -> Retry | None:
    """Return the smaller forward passes for a training that ran out of memory; None if that does not apply or help."""
    retry = cell.read_retry(spec)
    if outcome.cause not in OUT_OF_MEMORY or retry.micro_batch == 1 or cell.trained:
        return None
    because = f"{outcome.cause} with {retry.micro_batch} patches per forward pass: {outcome.message.splitlines()[0]}"
    return Retry(micro_batch=retry.micro_batch // 2, because=(*retry.because, because))


def _wait_for_memory(prepared: Prepared, outcome: Outcome, on_progress: Progress) -> bool:
    """Wait until a cell fits in memory next to the part that must stay free; False if the wait takes too long."""
    needed_bytes = max(prepared.plan.ram_bytes or 0, outcome.peak_anonymous_bytes)
    keep_bytes = 2 * available_min_bytes(prepared.hardware)
    give_up_s = time.monotonic() + _MEMORY_WAIT_S
    while read_host().ram_available_bytes < needed_bytes + keep_bytes:
        if time.monotonic() > give_up_s:
            return False
        on_progress("wait for memory", 0, 1)
        time.sleep(_POLL_S)
    return True


def available_min_bytes(hardware: HardwareBudget) -> int:
    """Return the memory that must stay available on the machine: 1/32 of the total."""
    return hardware.host.ram_total_bytes // 32


def supervise(folder: Path, task: str, prepared: Supervised, on_progress: Progress, *locks: int) -> Outcome:
    """Run ``python -m minivess.worker TASK FOLDER`` under a supervisor until it ends.

    Args:
        folder: Folder for log, heartbeat and outcome.
        task: What to run, a key of `minivess.worker.__main__.TASKS`.
        prepared: The run; the task runs in its first slot.
        on_progress: Called with stage, done and total. If it raises an exception, the process is asked to save and
            stop, and the exception is raised again. A KeyboardInterrupt is not raised again if the process did stop:
            the outcome is returned instead.
        locks: File descriptors of the locks on the run folder and on the cell. The supervisor inherits them, so that
            both stay locked until its process has ended, even if this process is killed.

    Returns:
        How the process ended.

    Raises:
        RunError: The supervisor itself was killed, or an interrupt arrived while the process ended by itself.
    """
    order = folder / ORDER_FILE
    write_state(order, _supervisor_spec(folder, task, prepared))
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    supervisor = subprocess.Popen(worker_command("supervisor", str(order)), pass_fds=locks)
    interrupted = False
    try:
        while supervisor.poll() is None:
            report_progress(folder, on_progress)
            time.sleep(_POLL_S)
    except BaseException as error:
        # Ctrl-C reaches the supervisor too, `kill` does not. Asked once or twice, its process saves and stops.
        supervisor.terminate()
        supervisor.wait()
        if not isinstance(error, KeyboardInterrupt):
            raise
        interrupted = True
    if not folder.is_dir():
        raise RunError(
            "a run folder that stays where it is",
            f"{folder}, which was deleted or moved while it was in use",
            "put it back and run the same command again; without it, the command starts from the beginning",
        )
    outcome = read_outcome(folder)
    if interrupted and (outcome is None or outcome.status != "stopped"):
        raise RunError("a run that ends by itself", f"an interrupt in {folder.name}", cure_for(Cause.INTERRUPTED))
    if outcome is None:
        raise RunError(
            "a supervisor that runs until its process has ended",
            f"one that ended with code {supervisor.returncode} and left no outcome",
            cure_for(cause_of(supervisor.returncode)),
        )
    return outcome


def _supervisor_spec(folder: Path, task: str, prepared: Supervised) -> SupervisorSpec:
    hardware, limits = prepared.hardware, prepared.config.limits
    gpu = hardware.gpu if prepared.plan.device == "cuda" else None
    return SupervisorSpec(
        argv=tuple(worker_command(task, str(folder.absolute()))),
        folder=folder.absolute(),
        limits=Limits(
            memory_limit_bytes=hardware.ram_abort_bytes,
            available_min_bytes=available_min_bytes(hardware),
            gpu_warn_bytes=hardware.gpu_warn_bytes if gpu else None,
            gpu_limit_bytes=hardware.gpu_abort_bytes if gpu else None,
            gpu_crowded_bytes=hardware.gpu_crowded_bytes if gpu else None,
            gpu_shared=gpu is not None and gpu.cells > 1,
            rss_budget_bytes=hardware.ram_abort_bytes * 2 // 3,  # 16 of 24 GiB
            swap_growth_warn_bytes=0,
            disk_free_min_bytes=DISK_FREE_MIN_BYTES,
            hang_s=limits.hang_minutes * 60,
        ),
        environment={**_ENVIRONMENT, **torch_environment(), **prepared.slots[0].environment},
        interval_s=limits.monitor_interval_s,
    )


def report_progress(folder: Path, on_progress: Progress) -> None:
    """Call ``on_progress`` with the last heartbeat of the process that works in ``folder``, if there is one."""
    try:
        beat = from_plain(Heartbeat, json.loads((folder / HEARTBEAT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not written yet, or being written now
        return
    on_progress(beat.stage, beat.done, beat.total)
