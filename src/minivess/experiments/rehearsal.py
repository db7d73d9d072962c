"""The dry start of a run, and the smaller plan that follows where memory did not suffice."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from minivess.data.store import Store
from minivess.errors import RunError
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.cells import cell_specs
from minivess.experiments.duration import in_words, predict_seconds
from minivess.experiments.folder import read_model, write_model
from minivess.experiments.prepare import Prepared
from minivess.experiments.spec import DryStartResult, DryStartSpec
from minivess.experiments.supervise import Watcher, supervise
from minivess.models.registry import load_model_profile
from minivess.planning.plan import TrainingPlan
from minivess.planning.shrink import shrink
from minivess.planning.sizes import format_gib
from minivess.training.outcome import OUT_OF_MEMORY, Outcome


def rehearse(prepared: Prepared, store: Store, watcher: Watcher, lock: int) -> Prepared:
    """Run the dry start, once a run; out of memory it is run again with a smaller plan.

    Returns:
        The run with the plan that went well, its steps timed.

    Raises:
        RunError: It failed for another reason than memory, was interrupted, or no smaller plan is allowed.
    """
    folder = prepared.folder.dry_start
    if folder.result.is_file() or not prepared.config.dry_start:
        return prepared
    while (outcome := _attempt(prepared, store, watcher, lock)).status != "finished":
        smaller = _smaller(prepared) if outcome.cause in OUT_OF_MEMORY else None
        if smaller is None:
            raise RunError("a dry start that succeeds", f"{outcome.cause}: {outcome.message}", outcome.cure)
        watcher.says(
            f"Dry start: {outcome.cause}: {outcome.message.splitlines()[0]}; again with {smaller.micro_batch} of "
            f"{'x'.join(map(str, smaller.patch))} a forward pass"
        )
        write_model(prepared.folder.plan, smaller)
        prepared = replace(prepared, plan=smaller)
    result = read_model(folder.result, DryStartResult)
    prepared = replace(prepared, plan=_timed(prepared.plan, result))
    write_model(prepared.folder.plan, prepared.plan)
    watcher.says(_summary(prepared, result, outcome))
    return prepared


def _attempt(prepared: Prepared, store: Store, watcher: Watcher, lock: int) -> Outcome:
    folder = prepared.folder.dry_start
    folder.path.mkdir(exist_ok=True)
    volumes = prepared.profile.volumes
    cells = [cell for cell in cell_specs(prepared, store) if cell.fold == 0 and cell.method not in BASELINES]
    spec = DryStartSpec(
        cells=tuple(cells),
        predicted=max(volumes, key=lambda volume: volume.shape[0] * volume.shape[1]).name,
        scored=max(volumes, key=lambda volume: volume.voxels).name,
    )
    write_model(folder.spec, spec)
    moves = partial(watcher.cell_moves, "dry start")
    return supervise(folder.path, "minivess.experiments.dry_start", prepared, moves, lock)


def _smaller(prepared: Prepared) -> TrainingPlan | None:
    config = prepared.config
    model = load_model_profile(config.model.name, **config.model.changes())
    return shrink(prepared.plan, prepared.profile, model, config.plan)


def _timed(plan: TrainingPlan, result: DryStartResult) -> TrainingPlan:
    steps = ", ".join(f"{seconds:.2g} s a step with {loss}" for loss, seconds in result.step_seconds.items())
    reasons = {**plan.reasons, "time": f"{steps}, timed in the dry start"}
    return plan.model_copy(update={"step_seconds": result.step_seconds, "reasons": reasons})


def _summary(prepared: Prepared, result: DryStartResult, outcome: Outcome) -> str:
    cells = predict_seconds(prepared.config, prepared.profile, prepared.splits, prepared.plan)
    seconds = sum(cells.values()) / len(prepared.lanes)
    memory = f"{format_gib(outcome.peak_rss_bytes)} of memory"
    if result.device_bytes is not None:
        memory += f", {format_gib(result.device_bytes)} on the card"
    return f"Dry start: went well, {prepared.plan.reasons['time']}; {memory}; all cells in about {in_words(seconds)}"
