"""Run the dry start, and make the plan smaller if the memory was not enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from minivess.data.array_store import Store
from minivess.errors import RunError
from minivess.experiments.cell_process import RunObserver, supervise
from minivess.experiments.cell_selection import CellFilter, cell_specs
from minivess.experiments.cell_spec import DryStartResult, DryStartSpec
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import DryStartFolder
from minivess.experiments.time_estimate import predict_seconds
from minivess.json_files import read_state, write_state
from minivess.models.model_profile import load_model_profile
from minivess.planning.fit import shrink
from minivess.planning.memory.peak import CONTEXT_BYTES
from minivess.planning.plan import TrainingPlan
from minivess.planning.resources import costliest_to_predict
from minivess.supervision.outcome import OUT_OF_MEMORY, Outcome
from minivess.text import format_bytes, format_duration, format_patch


def run_dry_start(prepared: Prepared, store: Store, observer: RunObserver, lock: int) -> Prepared:
    """Run the dry start of every loss that has none yet. If memory runs out, repeat it with a smaller plan.

    Once a cell was started the plan is fixed. A loss that was added later and does not fit is then tried with fewer
    patches per forward pass, as its cells will be.

    Args:
        prepared: The run.
        store: The store with the volumes of the run.
        observer: Receives progress and messages.
        lock: File descriptor of the lock on the run folder.

    Returns:
        The run with the plan that succeeded and with its step times.

    Raises:
        RunError: The dry start failed for a reason other than memory, was interrupted, or no smaller plan is allowed.
    """
    folder = prepared.folder.dry_start
    known = _read(folder) if folder.result.is_file() else None
    losses = [loss for loss in prepared.config.losses if known is None or loss not in known.step_seconds]
    if not losses or not prepared.config.dry_start:
        return prepared
    fixed_plan = prepared.plan if prepared.folder.cells() else None
    while (outcome := _attempt(prepared, losses, store, observer, lock)).status != "finished":
        expected, got = f"a dry start of {', '.join(losses)} that succeeds", f"{outcome.cause}: {outcome.message}"
        if outcome.cause not in OUT_OF_MEMORY:
            raise RunError(expected, got, outcome.cure)
        smaller = _smaller_plan(prepared)
        if fixed_plan is not None and (smaller is None or smaller.network != fixed_plan.network):
            raise RunError(expected, got, "remove the loss, or start another run with it under a new name (--name)")
        if smaller is None:
            raise RunError(expected, got, outcome.cure)
        observer.on_message(
            f"Dry start: {outcome.cause}: {outcome.message.splitlines()[0]}; it is repeated with {smaller.micro_batch} "
            f"patches of {format_patch(smaller.patch)} per forward pass"
        )
        prepared = replace(prepared, plan=smaller)
        if fixed_plan is None:
            write_state(prepared.folder.plan, smaller)
    result = _read(folder)
    if known is not None:
        joined = {
            "step_seconds": known.step_seconds | result.step_seconds,
            "card_use": known.card_use | result.card_use,
        }
        result = result.model_copy(update=joined)
        write_state(folder.result, result)
    prepared = replace(prepared, plan=_with_step_times(fixed_plan or prepared.plan, result))
    write_state(prepared.folder.plan, prepared.plan)
    observer.on_message(_summary(prepared, result, outcome))
    return prepared


def _read(folder: DryStartFolder) -> DryStartResult:
    return read_state(folder.result, DryStartResult, "delete it; the same command then writes it again")


def _attempt(prepared: Prepared, losses: Sequence[str], store: Store, observer: RunObserver, lock: int) -> Outcome:
    folder = prepared.folder.dry_start
    folder.path.mkdir(exist_ok=True)
    volumes = prepared.profile.volumes
    cells = cell_specs(prepared, store, [CellFilter(loss, fold=0, repeat=1) for loss in losses])
    spec = DryStartSpec(
        cells=tuple(cells),
        predicted=costliest_to_predict(volumes, prepared.plan.network.patches).name,
        scored=max(volumes, key=lambda volume: volume.voxels).name,
    )
    write_state(folder.spec, spec)
    on_progress = partial(observer.on_progress, "dry start")
    return supervise(folder.path, "dry_start", prepared, on_progress, lock)


def _smaller_plan(prepared: Prepared) -> TrainingPlan | None:
    config = prepared.config
    model = load_model_profile(config.model.name, **config.model.changes())
    return shrink(prepared.plan, prepared.profile, model, config.plan)


def _with_step_times(plan: TrainingPlan, result: DryStartResult) -> TrainingPlan:
    steps = ", ".join(f"{seconds:.2g} s per step with {loss}" for loss, seconds in result.step_seconds.items())
    reasons = {**plan.reasons, "time": f"{steps}, timed in the dry start"}
    return plan.model_copy(update={"step_seconds": result.step_seconds, "reasons": reasons})


def _predicted_bytes(plan: TrainingPlan) -> int:
    """Return the bytes that torch is predicted to reserve on the GPU, without the CUDA context."""
    return max(plan.peak_bytes or 0, plan.prediction_bytes or 0, CONTEXT_BYTES) - CONTEXT_BYTES


def _summary(prepared: Prepared, result: DryStartResult, outcome: Outcome) -> str:
    cells = predict_seconds(prepared.config, prepared.profile, prepared.splits, prepared.plan)
    remaining = [taken.total for name, taken in cells.items() if not prepared.folder.cell_named(name).finished]
    seconds = sum(remaining) / prepared.at_full_speed
    memory = f"{format_bytes(outcome.peak_rss_bytes)} of memory"
    if result.device_bytes is not None:
        predicted = format_bytes(_predicted_bytes(prepared.plan))
        memory += f", {format_bytes(result.device_bytes)} of GPU memory in torch (predicted: {predicted})"
    time, total = prepared.plan.reasons["time"], format_duration(seconds)
    return f"Dry start: succeeded, {time}; {memory}; the remaining cells take about {total}"
