"""A prepared run, cell by cell, to its table. The same call again continues; finished cells are not redone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Protocol

from minivess.atomic import write_text
from minivess.data.profiler import VolumeStats
from minivess.data.store import Store, build_store
from minivess.errors import ConfigError, RunError
from minivess.experiments.folder import CellFolder, write_model
from minivess.experiments.lock import hold
from minivess.experiments.prepare import Prepared, saved_profile, store_root
from minivess.experiments.results import write_results
from minivess.experiments.spec import BASELINES, CellSpec
from minivess.planning.sizes import GIB
from minivess.tracking.provenance import describe_environment
from minivess.training.exit_codes import HEARTBEAT_FILE
from minivess.training.limits import Limits
from minivess.training.outcome import OUTCOME_FILE, Outcome
from minivess.training.supervisor import SupervisorSpec

_LOOK_S = 0.2


class Watcher(Protocol):
    """Whoever wants to see a run; called often, must be quick."""

    def stored(self, volume: VolumeStats) -> None: ...

    def cell_begins(self, name: str, number: int, total: int) -> None: ...

    def cell_moves(self, name: str, stage: str, done: int, total: int) -> None: ...

    def cell_ends(self, name: str, outcome: Outcome | None) -> None:
        """``outcome`` is None for a cell that was finished before."""


Supervise = Callable[[CellFolder, CellSpec, Prepared, Watcher, int], Outcome]


def run(prepared: Prepared, watcher: Watcher, supervise: Supervise) -> dict[str, Outcome]:
    """Bring every cell to its end and compare.

    A cell that fails does not stop the others; the results are those of the cells that finished.

    Args:
        prepared: What to run.
        watcher: Who wants to see it.
        supervise: Runs one cell to its end: ``supervise_cell``, or something around it.

    Returns:
        The outcome of each cell that did not finish, by name; empty when all did.

    Raises:
        RunError: Another run holds the folder, or the run was interrupted.
    """
    folder = prepared.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    with hold(folder.path / ".lock") as lock:
        _write_decisions(prepared)
        store = build_store(prepared.profile, store_root(prepared.config), watcher.stored)
        write_model(saved_profile(prepared.config), prepared.profile)
        specs = cell_specs(prepared, store)
        failures = {}
        for number, spec in enumerate(specs, start=1):
            cell = folder.cell(spec.method, spec.fold)
            watcher.cell_begins(cell.path.name, number, len(specs))
            outcome = None if _is_finished(cell, spec) else supervise(cell, spec, prepared, watcher, lock)
            watcher.cell_ends(cell.path.name, outcome)
            if outcome is not None and outcome.status == "stopped":
                raise RunError("a run to its end", f"interrupted in {cell.path.name}: {outcome.message}", outcome.cure)
            if outcome is not None and outcome.status == "failed":
                failures[cell.path.name] = outcome
        write_results(folder, prepared.config.evaluation)
    return failures


def cell_specs(prepared: Prepared, store: Store) -> list[CellSpec]:
    """The cells of a run in order: baselines, which take seconds, then loss by loss."""
    config = prepared.config
    unknown = set(config.evaluation.baselines) - set(BASELINES)
    if unknown:
        raise ConfigError(
            f"baselines among {', '.join(BASELINES)}", ", ".join(sorted(unknown)), "mend evaluation.baselines"
        )
    return [
        CellSpec(
            method=method,
            fold=number,
            train=fold.train,
            held_out=fold.held_out,
            store=store.folder.absolute(),
            plan=prepared.plan,
            training=config.training,
            tolerance_um=config.evaluation.tolerance_um,
            loss_options=config.loss_options.get(method, {}),
            seed=config.seed,
        )
        for method in (*config.evaluation.baselines, *config.losses)
        for number, fold in enumerate(prepared.splits.folds)
    ]


def _write_decisions(prepared: Prepared) -> None:
    folder = prepared.folder
    write_text(folder.preflight, json.dumps(prepared.preflight.as_dict(), indent=2) + "\n")
    write_text(folder.environment, json.dumps(describe_environment(), indent=2) + "\n")
    write_model(folder.profile, prepared.profile)
    write_model(folder.splits, prepared.splits)
    write_model(folder.plan, prepared.plan)
    # Last: where config.yaml stands, the decisions stand.
    write_model(folder.config, prepared.config)


def _is_finished(cell: CellFolder, spec: CellSpec) -> bool:
    """Whether the cell has its result. What stands of a cell with another spec must never be mixed with this one."""
    if cell.spec.is_file():
        before = CellSpec.model_validate_json(cell.spec.read_bytes())
        if before.model_copy(update={"store": spec.store}) != spec:
            raise RunError(
                "the cell that was begun", f"another in {cell.path}", "begin another run with another name (--name)"
            )
    return cell.finished


def supervise_cell(cell: CellFolder, spec: CellSpec, prepared: Prepared, watcher: Watcher, lock: int) -> Outcome:
    """Run one cell in a process of its own, under a supervisor in a process of its own."""
    cell.path.mkdir(parents=True, exist_ok=True)
    cell.result.unlink(missing_ok=True)
    write_model(cell.spec, spec)
    order = cell.path / "supervisor.json"
    write_text(order, _supervisor_spec(cell, prepared).to_json())
    (cell.path / OUTCOME_FILE).unlink(missing_ok=True)
    # The supervisor inherits the lock, so that the folder stays taken until it has ended its cell, whatever becomes of us.
    supervisor = subprocess.Popen([sys.executable, "-m", "minivess.training.supervisor", str(order)], pass_fds=(lock,))
    try:
        while supervisor.poll() is None:
            _report_progress(cell, watcher)
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        # The terminal has sent it to the supervisor as well, which asks the cell to save and stop.
        supervisor.wait()
    try:
        return Outcome.read(cell.path / OUTCOME_FILE)
    except FileNotFoundError:
        raise RunError(
            "a supervisor that outlives its cell",
            f"it ended with code {supervisor.returncode}",
            "run the same command again; it resumes",
        ) from None


def _supervisor_spec(cell: CellFolder, prepared: Prepared) -> SupervisorSpec:
    hardware, limits = prepared.hardware, prepared.config.limits
    memory = hardware.usable_ram_bytes if limits.memory_limit_gib is None else int(limits.memory_limit_gib * GIB)
    on_gpu = prepared.plan.device == "cuda"
    return SupervisorSpec(
        argv=(sys.executable, "-m", "minivess.experiments.cell", str(cell.path.absolute())),
        folder=cell.path.absolute(),
        limits=Limits(
            memory_limit_bytes=memory,
            available_min_bytes=hardware.host.ram_total_bytes // 32,
            gpu_warn_bytes=hardware.gpu_warn_bytes if on_gpu else None,
            gpu_limit_bytes=hardware.gpu_abort_bytes if on_gpu else None,
            swap_growth_warn_bytes=GIB // 4,
            disk_free_min_bytes=GIB // 2,
            hang_s=limits.hang_minutes * 60,
        ),
        # cuBLAS: the same sums in the same order on every attempt. MONAI imports MLflow, whose telemetry is on by default.
        # OpenMP threads that spin while they wait make a step nine times slower as soon as something else wants a core.
        environment={
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONUNBUFFERED": "1",
        },
        interval_s=limits.monitor_interval_s,
    )


def _report_progress(cell: CellFolder, watcher: Watcher) -> None:
    try:
        beat = json.loads((cell.path / HEARTBEAT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    watcher.cell_moves(cell.path.name, beat["stage"], beat["done"], beat["total"])
