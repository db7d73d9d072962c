"""The processes of a run: each under a supervisor in a process of its own, followed while it works."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from minivess.data.profiler import VolumeStats
from minivess.errors import RunError
from minivess.experiments.cell_spec import CellSpec, Retry
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import from_plain, write_state
from minivess.locks import hold
from minivess.machine.host import read_host
from minivess.machine.processes import torch_environment, worker_command
from minivess.planning.hardware import HardwareBudget
from minivess.supervision.exit_codes import HEARTBEAT_FILE, Heartbeat
from minivess.supervision.limits import Limits
from minivess.supervision.outcome import OUT_OF_MEMORY, OUTCOME_FILE, Cause, Outcome, cause_of, cure_for, read_outcome
from minivess.supervision.supervisor import ORDER_FILE, SupervisorSpec
from minivess.text import GIB

_LOOK_S = 0.2
_PATIENCE_S = 1800.0
_WAITS = 3
"""Times that a cell waits for other programs to give memory back before it counts as too large itself."""
_ENVIRONMENT = {
    # The same sums in the same order on every attempt.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    # MONAI imports MLflow, whose telemetry is on by default.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONFAULTHANDLER": "1",
    "PYTHONUNBUFFERED": "1",
}

Progress = Callable[[str, int, int], None]


class RunObserver(Protocol):
    """Whoever wants to see a run; called often, must be quick."""

    def on_message(self, text: str) -> None:
        """One line about the run as a whole."""

    def on_volume_stored(self, volume: VolumeStats) -> None: ...

    def on_cell_start(self, name: str, number: int, total: int) -> None: ...

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None: ...

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None:
        """``outcome`` is None for a cell that was finished before."""


def supervise_cell(
    cell: CellFolder, spec: CellSpec, prepared: Prepared, observer: RunObserver, lock: int | None
) -> Outcome | None:
    """Run one cell to its end; None where somebody else has finished it. May be called from any thread.

    Where its training runs out of memory it goes on from its checkpoint with half as many patches a forward pass, down to one;
    the batch of an optimizer step stays the same. Where other programs took the machine's memory, it waits for them.

    Args:
        cell: Where it goes.
        spec: What it is told.
        prepared: Its first slot is where the cell runs.
        observer: Who wants to see it.
        lock: Of the run folder; None where another machine holds that one. The cell has a lock of its own as well: what
            another worker is running already is then waited for, for as long as that takes.

    Raises:
        RunError: Its supervisor was killed, or (with ``lock``) another process runs this cell.
    """
    cell.path.mkdir(parents=True, exist_ok=True)
    with hold(cell.path / ".lock", wait=lock is None) as own:
        if cell.finished:
            return None
        write_state(cell.spec, spec)
        locks = (own,) if lock is None else (lock, own)
        moves = partial(observer.on_progress, cell.path.name)
        waits = 0
        while True:
            outcome = supervise(cell.path, "cell", prepared, moves, *locks)
            if outcome.cause is Cause.SYSTEM_MEMORY_LOW and waits < _WAITS:
                waits += 1
                observer.on_message(f"{cell.path.name}: {outcome.message}; waits until other programs give it back")
                if _memory_returns(prepared, outcome, moves):
                    continue
            smaller = _smaller(cell, spec, outcome)
            if smaller is None:
                return outcome
            write_state(cell.retry, smaller)
            observer.on_message(f"{cell.path.name}: {smaller.because[-1]}; goes on with {smaller.micro_batch}")


def _smaller(cell: CellFolder, spec: CellSpec, outcome: Outcome) -> Retry | None:
    """How a training that ran out of memory goes on; None where that is not what happened, or it cannot be smaller."""
    retry = cell.read_retry(spec)
    if outcome.cause not in OUT_OF_MEMORY or retry.micro_batch == 1 or cell.trained:
        return None
    because = f"{outcome.cause} with {retry.micro_batch} a forward pass: {outcome.message.splitlines()[0]}"
    return Retry(micro_batch=retry.micro_batch // 2, because=(*retry.because, because))


def _memory_returns(prepared: Prepared, outcome: Outcome, moves: Progress) -> bool:
    """Wait until the machine has what a cell takes, beyond what it must keep; False where that takes too long."""
    wanted_bytes = max(prepared.plan.ram_bytes or 0, outcome.peak_anonymous_bytes)
    keep_bytes = 2 * available_min_bytes(prepared.hardware)
    give_up_s = time.monotonic() + _PATIENCE_S
    while read_host().ram_available_bytes < wanted_bytes + keep_bytes:
        if time.monotonic() > give_up_s:
            return False
        moves("wait for memory", 0, 1)
        time.sleep(_LOOK_S)
    return True


def available_min_bytes(hardware: HardwareBudget) -> int:
    """Memory that a cell must leave the machine, whoever uses the rest."""
    return hardware.host.ram_total_bytes // 32


def supervise(folder: Path, task: str, prepared: Prepared, moves: Progress, *locks: int) -> Outcome:
    """Run ``python -m minivess.worker TASK FOLDER`` under a supervisor until it ends.

    Args:
        folder: Holds log, heartbeat and outcome.
        task: What to run, a key of `minivess.worker.__main__.TASKS`.
        prepared: Its first slot is where it runs.
        moves: Called with stage, done and total; what it raises asks the process to save and stop, and comes back. After a
            KeyboardInterrupt the outcome comes back instead, if the process did stop.
        locks: Of the run folder and of the cell. The supervisor inherits them, so that both stay taken until it has ended
            its process, whatever becomes of us.

    Raises:
        RunError: The supervisor itself was killed; or an interrupt came as the process ended by itself, and what would come
            next is not wanted.
    """
    order = folder / ORDER_FILE
    write_state(order, _supervisor_spec(folder, task, prepared))
    (folder / OUTCOME_FILE).unlink(missing_ok=True)
    supervisor = subprocess.Popen(worker_command("supervisor", str(order)), pass_fds=locks)
    interrupted = False
    try:
        while supervisor.poll() is None:
            report_progress(folder, moves)
            time.sleep(_LOOK_S)
    except BaseException as error:
        # Ctrl-C has reached the supervisor as well, `kill` has not; asked once or twice, its process saves and stops.
        supervisor.terminate()
        supervisor.wait()
        if not isinstance(error, KeyboardInterrupt):
            raise
        interrupted = True
    outcome = read_outcome(folder)
    if interrupted and (outcome is None or outcome.status != "stopped"):
        raise RunError("a run to its end", f"interrupted in {folder.name}", cure_for(Cause.INTERRUPTED))
    if outcome is None:
        raise RunError(
            "a supervisor that outlives its cell",
            f"it ended with code {supervisor.returncode}",
            cure_for(cause_of(supervisor.returncode)),
        )
    return outcome


def _supervisor_spec(folder: Path, task: str, prepared: Prepared) -> SupervisorSpec:
    hardware, limits = prepared.hardware, prepared.config.limits
    card = hardware.gpu if prepared.plan.device == "cuda" else None
    return SupervisorSpec(
        argv=tuple(worker_command(task, str(folder.absolute()))),
        folder=folder.absolute(),
        limits=Limits(
            memory_limit_bytes=hardware.ram_abort_bytes,
            available_min_bytes=available_min_bytes(hardware),
            gpu_warn_bytes=hardware.gpu_warn_bytes if card else None,
            gpu_limit_bytes=hardware.gpu_abort_bytes if card else None,
            gpu_crowded_bytes=hardware.gpu_crowded_bytes if card else None,
            gpu_shared=card is not None and card.cells > 1,
            rss_budget_bytes=hardware.ram_abort_bytes * 2 // 3,  # 16 of 24 GiB
            swap_growth_warn_bytes=0,
            disk_free_min_bytes=GIB // 2,
            hang_s=limits.hang_minutes * 60,
        ),
        environment={**_ENVIRONMENT, **torch_environment(), **prepared.slots[0].environment},
        interval_s=limits.monitor_interval_s,
    )


def report_progress(folder: Path, moves: Progress) -> None:
    """Call ``moves`` with what the process that works in ``folder`` said last, if it has said anything."""
    try:
        beat = from_plain(Heartbeat, json.loads((folder / HEARTBEAT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):  # not written yet, or just being written
        return
    moves(beat.stage, beat.done, beat.total)
