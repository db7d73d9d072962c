"""Run one cell, which is one loss on one fold in one repeat: train, save the weights, predict and score the held-out cases.

Run as ``python -m minivess.worker cell CELL_FOLDER`` under the supervisor. Every stage continues where an earlier
attempt stopped. ``result.json`` is written last; a cell is finished when it exists.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from minivess.data.array_store import LabelMark, Store, StoredCase
from minivess.data.label_values import UNKNOWN
from minivess.data.sampling.loaders import BatchSource, batches
from minivess.data.sampling.patch_sampler import PatchSampler
from minivess.errors import RunError
from minivess.evaluation.baselines import BASELINES
from minivess.evaluation.evaluate import PREDICTIONS_FOLDER, CaseRow, evaluate_cases
from minivess.experiments.cell_spec import CellResult, CellSpec, RaceScores, code_of_cell
from minivess.experiments.run_folder import CellFolder
from minivess.geometry import patch_for
from minivess.inference.predict_volume import predict_volume
from minivess.json_files import to_plain, write_state
from minivess.losses.blindness import require_blind
from minivess.losses.registry import build_loss
from minivess.metrics.overlap import dsc
from minivess.models.model_profile import build_network
from minivess.models.weights import TrainedOn, load_network, save_network
from minivess.planning.memory.real_steps import cap_gpu_memory, reset_gpu_peak
from minivess.planning.plan import TrainingPlan
from minivess.supervision.supervisor import ORDER_FILE, SupervisorSpec
from minivess.tracking.code import Code
from minivess.tracking.provenance import describe_environment
from minivess.training.callbacks import Checkpoints, GracefulStop, Heartbeat, Journal
from minivess.training.checkpoint import CheckpointManager
from minivess.training.config import TrainingConfig
from minivess.training.loop import fit
from minivess.training.state import TrainState
from minivess.training.step import NanLossError, Step, autocast
from minivess.worker.exit_status import Beat, PausedError, exit_code_of, heartbeat

Predict = Callable[[StoredCase], Any]


class Trainable(Protocol):
    """What a training starts from: a cell, or a pretraining."""

    @property
    def method(self) -> str: ...
    @property
    def fold(self) -> int: ...
    @property
    def plan(self) -> TrainingPlan: ...
    @property
    def training(self) -> TrainingConfig: ...
    @property
    def loss_options(self) -> dict[str, Any]: ...
    @property
    def seed(self) -> int: ...
    @property
    def code(self) -> Code | None: ...


def run_cell(folder: CellFolder) -> CellResult:
    """Run a cell to its end, continuing from what earlier attempts left in its folder.

    Args:
        folder: The cell folder, with ``cell.json``.

    Returns:
        The result, which is also written to ``result.json``.

    Raises:
        NanLossError: The weights contain NaN or infinity after the last step.
        PausedError: A race pauses the cell; it is scored there and continues from its checkpoint.
    """
    began = time.monotonic()
    spec = folder.read_spec()
    require_code(spec)
    write_state(folder.next_environment, {**describe_environment(), "code": to_plain(spec.code)})
    store = Store(spec.store)
    beat = heartbeat(folder.path)
    micro_batch = folder.read_retry(spec).micro_batch
    predict, note = (
        _baseline_predictor(spec, store, beat)
        if spec.method in BASELINES
        else _trained_predictor(spec, store, folder, micro_batch, beat)
    )
    rows = _evaluate(folder.path, spec, store, predict, beat)
    result = CellResult(
        method=spec.method,
        fold=spec.fold,
        steps=0 if spec.method in BASELINES else spec.training.steps,
        seconds=time.monotonic() - began,
        note=note,
        micro_batch=micro_batch,
        rows=tuple(rows),
        repeat=spec.repeat,
    )
    write_state(folder.result, result)
    return result


def _evaluate(into: Path, spec: CellSpec, store: Store, predict: Predict, beat: Beat) -> list[CaseRow]:
    return evaluate_cases(
        into,
        store,
        spec.held_out,
        predict,
        method=spec.method,
        fold=spec.fold,
        repeat=spec.repeat,
        groups=spec.groups,
        tolerance_um=spec.tolerance_um,
        scoring_processes=spec.plan.scoring_processes,
        progress=lambda done, total: beat("score", done, total),
    )


def require_code(spec: Trainable) -> None:
    """Compare the code of this process with the code that the run was prepared with.

    They differ if a source was edited in the meantime, or if a Dask worker has other versions.

    Raises:
        RunError: The code differs.
    """
    now = code_of_cell(spec.method, spec.plan.network)
    if spec.code is not None and (changed := spec.code.differences(now)):
        raise RunError(
            "the code with which the run was prepared",
            "; ".join(changed),
            "restore the code (on a cluster: install the same versions on every worker), or run the command again "
            "with --accept-changed-code",
        )


def _trained_on(spec: CellSpec, store: Store) -> TrainedOn:
    volumes = [store.stats(name) for name in spec.train]
    axes = list(zip(*(volume.spacing_um for volume in volumes), strict=True))
    return TrainedOn(
        volumes=len(volumes),
        spacing_min_um=(min(axes[0]), min(axes[1]), min(axes[2])),
        spacing_max_um=(max(axes[0]), max(axes[1]), max(axes[2])),
        intensity_min=min(volume.intensity_low or 0.0 for volume in volumes),
        intensity_max=max(volume.intensity_high or 0.0 for volume in volumes),
    )


def _baseline_predictor(spec: CellSpec, store: Store, beat: Beat) -> tuple[Predict, str]:
    baseline = BASELINES[spec.method]
    level = baseline.choose_level([store.case(name) for name in spec.train], partial(beat, "choose the level"))

    def predict(case: StoredCase) -> Any:
        return baseline.mask(case, level, partial(beat, f"predict {case.stats.name}"))

    return predict, f"cut at {level:.3g}: {baseline.meaning}"


def _trained_predictor(
    spec: CellSpec, store: Store, folder: CellFolder, micro_batch: int, beat: Beat
) -> tuple[Predict, str]:
    device = device_of(spec.plan, folder.path)
    if not folder.trained:
        # Remove scores of older weights, so that they are not mixed with the new ones.
        shutil.rmtree(folder.scores, ignore_errors=True)
        network = _train(spec, store, folder, micro_batch, beat)
        save_network(folder.weights, network, spec.plan.network, _trained_on(spec, store))
        del network
        reset_gpu_peak()  # GPU memory that training still holds would count against the limit during prediction
    network = load_network(folder.weights).to(device)
    note = f"averaged weights after {spec.training.steps} steps"
    if micro_batch < spec.plan.micro_batch:
        note += f"; {micro_batch} patches per forward pass instead of {spec.plan.micro_batch}, because memory ran out"
    return predictor(network, spec.plan, beat), note


def device_of(plan: TrainingPlan, folder: Path) -> torch.device:
    """Return the device of the plan. On a GPU, also cap the memory of torch at the limit of the supervisor.

    With the cap, torch itself refuses an allocation that would break the limit, also while cuDNN tries algorithms.

    Args:
        plan: The training plan.
        folder: Folder with the `SupervisorSpec`, for its GPU limit.
    """
    if plan.device == "cuda":
        order = SupervisorSpec.read(folder / ORDER_FILE)
        cap_gpu_memory(order.limits.gpu_limit_bytes)
    return torch.device(plan.device)


def label_mark(loss: torch.nn.Module) -> LabelMark | None:
    """Return what a loss wants to be marked in the labels, its attribute ``label_mark``; None if it has none."""
    mark: LabelMark | None = getattr(loss, "label_mark", None)
    return mark


def start_training(spec: Trainable, micro_batch: int) -> tuple[TrainState, Step]:
    """Build the training state and the step function of a cell. Every loss of a fold and repeat starts from the same
    weights.

    Args:
        spec: The cell.
        micro_batch: Patches per forward pass.
    """
    training, plan = spec.training, spec.plan
    if training.deterministic:  # even a call that switches it off imports torch's compiler: seconds and megabytes
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not training.deterministic
    torch.manual_seed(spec.seed * 1_000_003 + spec.fold)
    state = TrainState.start(build_network(plan.network).to(plan.device), training, plan.precision)
    if training.compile:
        state.network.compile()  # in place: the parameters keep their names
    loss = build_loss(spec.method, **spec.loss_options).to(plan.device)
    return state, Step(loss, training, spec.seed, micro_batch, plan.precision)


def require_usable_loss(loss: torch.nn.Module, spec: CellSpec, store: Store) -> None:
    """Require that the loss leaves out unknown voxels, if the data set can have them.

    Raises:
        ConfigError: It does not.
    """
    if store.profile.ignore_value is not None:
        require_blind(loss, spec.method, spec.plan.patch, spec.plan.device)


def _train(spec: CellSpec, store: Store, folder: CellFolder, micro_batch: int, beat: Beat) -> torch.nn.Module:
    training, plan = spec.training, spec.plan
    store.read_ahead(plan.cache_rate)
    state, step = start_training(spec, micro_batch)
    require_usable_loss(step.loss, spec, store)
    manager = CheckpointManager(folder.checkpoints)
    saved = manager.restore()
    if saved is not None:
        state.restore(*saved)
        logging.info("resumes after step %d of %d", state.step, training.steps)
    sampler = PatchSampler(
        store,
        spec.train,
        plan.network.patches,
        batch=plan.batch,
        foreground_fraction=training.foreground_fraction,
        seed=spec.seed,
        augment=training.augment,
        mark=label_mark(step.loss),
    )
    validation_case = spec.held_out[len(spec.held_out) // 2]

    def predict(case: StoredCase) -> Any:
        return predictor(state.average, plan, beat)(case)

    def measure(state: TrainState) -> dict[str, Any]:
        case = store.case(validation_case)
        found = (predict(case) != 0) & (case.label != UNKNOWN)
        return {"dsc": dsc(found, case.label == 1), "case": validation_case}

    def train_to(last: int) -> None:
        train_until(last, state, step, sampler, manager, folder, beat, plan.workers, measure)

    for last in spec.scored_at:
        if state.step <= last:  # otherwise it was scored before training went on
            train_to(last)
            _score_at(last, spec, store, folder, predict, beat)
            if folder.read_pause() == last:
                raise PausedError(f"paused by the race after step {last} of {training.steps}")
    train_to(training.steps)
    return state.average


def train_until(
    last: int,
    state: TrainState,
    step: Step,
    source: BatchSource,
    manager: CheckpointManager,
    folder: CellFolder,
    beat: Beat,
    workers: int,
    measure: Callable[[TrainState], dict[str, Any]] | None = None,
) -> None:
    """Train until step ``last`` with heartbeat, journal, checkpoints and a graceful stop.

    Args:
        last: Number after the last step.
        state: State to train; changed in place.
        step: Computes one optimizer step.
        source: Gives the batch of each step.
        manager: Keeps the checkpoints.
        folder: Folder of the journal.
        beat: Called with the progress.
        workers: Threads that prepare batches.
        measure: Further values for the journal.

    Raises:
        NanLossError: The weights contain NaN or infinity at the end.
    """
    checkpoints = Checkpoints(manager, step.config)
    callbacks = [
        Heartbeat(beat, step.config.steps),
        Journal(folder.journal, step.config, state.step, measure),
        checkpoints,
        GracefulStop(checkpoints.save),
    ]
    fit(state, step, batches(source, state.step, last, workers), callbacks)
    if not all(value.isfinite().all() for value in state.average.parameters()):
        raise NanLossError(f"the weights contain NaN or infinity after step {last}")


def _score_at(step: int, spec: CellSpec, store: Store, folder: CellFolder, predict: Predict, beat: Beat) -> None:
    """Score the held-out cases for a race; the masks of weights that train on are not kept."""
    if folder.rows_at(step) is None:
        rows = _evaluate(folder.race(step), spec, store, predict, beat)
        write_state(folder.race(step) / "scores.json", RaceScores(step=step, rows=tuple(rows)))
    shutil.rmtree(folder.race(step) / PREDICTIONS_FOLDER, ignore_errors=True)


def predictor(network: torch.nn.Module, plan: TrainingPlan, beat: Beat) -> Predict:
    """Return a function that predicts the mask of a stored case with the patches, overlap and precision of the plan.

    Args:
        network: The network, on the device of the plan.
        plan: The training plan.
        beat: Called with the progress in percent.
    """

    def predict(case: StoredCase) -> Any:
        return predict_volume(
            network,
            case.image,
            patch_for(plan.network.patches, case.stats.shape[2]),
            plan.overlap,
            normalise=case.stats.normalise,
            precision=autocast(torch.device(plan.device), plan.precision),
            progress=lambda share: beat(f"predict {case.stats.name}", round(100 * share), 100),
        )

    return predict


def main(folder: str) -> int:
    """Run the cell in ``folder`` and return the exit code."""
    return exit_code_of(lambda: logging.info("finished in %.0f s", run_cell(CellFolder(Path(folder))).seconds))
