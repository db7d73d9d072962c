"""The dry start: do everything that a cell does once, before epoch 1, so that an error shows now and not after hours.

Run as ``python -m minivess.worker dry_start FOLDER`` under the supervisor. For each loss it does two real steps on the
largest patch (three on a GPU), and computes the loss alone as if the network had learnt to segment. Then it saves a
checkpoint, predicts the volume that needs the most memory (cut to a depth of two windows, because memory does not grow
with depth) and scores the largest volume.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch

from minivess.data.array_store import Store, StoredCase
from minivess.data.label_values import UNKNOWN
from minivess.data.sampling.loaders import batches
from minivess.data.sampling.patch_sampler import PatchSampler
from minivess.experiments.cell_spec import CellSpec, DryStartResult, DryStartSpec
from minivess.experiments.run_folder import DryStartFolder
from minivess.json_files import read_state, write_state
from minivess.metrics.case import score_case
from minivess.planning.memory.real_steps import read_step_on_gpu, reset_gpu_peak
from minivess.planning.memory.workload import GpuStep
from minivess.training.checkpoint import CheckpointManager
from minivess.training.state import TrainState
from minivess.training.step import NanLossError, Step
from minivess.worker.cell_worker import device_of, label_mark, predictor, require_usable_loss, start_training
from minivess.worker.exit_status import Beat, exit_code_of, heartbeat


def dry_start(folder: DryStartFolder) -> DryStartResult:
    """Run the dry start in ``folder``, write its result and remove its checkpoint.

    Raises:
        NanLossError: A loss or its gradient is NaN or infinite.
        RunError: The file that says what to try is damaged.
    """
    spec = read_state(folder.spec, DryStartSpec, "delete the folder; the same command then writes it again")
    store = Store(spec.cells[0].store)
    beat = heartbeat(folder.path)
    plan = spec.cells[0].plan
    device_of(plan, folder.path)
    step_seconds: dict[str, float] = {}
    card_use: dict[str, GpuStep] = {}
    state: TrainState | None = None
    for number, cell in enumerate(spec.cells):
        beat(f"step with {cell.method}", number, len(spec.cells))
        state = None  # weights and moments of two losses at the same time need more memory than any cell
        reset_gpu_peak()
        state, step_seconds[cell.method] = _real_steps(cell, store, spec.scored)
        if plan.device == "cuda":
            card_use[cell.method] = read_step_on_gpu(step_seconds[cell.method])
    assert state is not None
    checkpoint_bytes, checkpoint_seconds = _checkpoint(folder.checkpoints, state)
    predictor(state.average, plan, beat)(_cut_depth(store.case(spec.predicted), 2 * plan.patch[2]))
    result = DryStartResult(
        step_seconds=step_seconds,
        card_use=card_use,
        device_bytes=_most_reserved(card_use) if card_use else None,
        checkpoint_bytes=checkpoint_bytes,
        checkpoint_seconds=checkpoint_seconds,
        scoring_seconds=_score(store.case(spec.scored), spec.cells[0].tolerance_um, beat),
    )
    write_state(folder.result, result)
    return result


def _real_steps(cell: CellSpec, store: Store, name: str) -> tuple[TrainState, float]:
    """Do two real steps on a CPU, three on a GPU, and return the state and the seconds of a step late in training.

    The last step is timed: the optimizer's moments exist by then, and the one-time work of the first step is done. On
    a GPU, the GPU memory is measured from the second step on, because cuDNN tries algorithms in the first.
    """
    plan, training = cell.plan, cell.training
    state, step = start_training(cell, plan.micro_batch)
    require_usable_loss(step.loss, cell, store)
    sampler = PatchSampler(
        store,
        [name],
        [plan.patch],
        batch=plan.batch,
        foreground_fraction=training.foreground_fraction,
        seed=cell.seed,
        augment=training.augment,
        mark=label_mark(step.loss),
    )
    for number, batch in enumerate(batches(sampler, 0, 3 if plan.device == "cuda" else 2, plan.workers)):
        if number == 1:
            reset_gpu_peak()
        began = time.perf_counter()
        step(state, batch)
    seconds = time.perf_counter() - began
    return state, seconds + _late_seconds(cell, step, store, name)


def _late_seconds(cell: CellSpec, step: Step, store: Store, name: str) -> float:
    """Return how many seconds longer a step takes when the network already segments well.

    Parts of a loss may run, or fail, only then. The loss is timed on logits that are right and on logits that are
    wrong.

    Raises:
        NanLossError: The loss or its gradient is NaN or infinite.
    """
    plan = cell.plan
    sampler = PatchSampler(
        store,
        [name],
        [plan.patch],
        batch=plan.micro_batch,
        foreground_fraction=1.0,
        seed=cell.seed,
        augment=False,
        mark=label_mark(step.loss),
    )
    _, label, mask = (torch.from_numpy(part).to(plan.device) for part in sampler.batch(0))
    late = _almost_right_logits(label)
    right, wrong = (
        min(_seconds_of_loss(step.loss, logits, label, mask, what) for _ in range(2))
        for logits, what in ((late, f"{cell.method} on right logits"), (-late, f"{cell.method} on wrong logits"))
    )
    calls = math.ceil(plan.batch / plan.micro_batch) * (1 + plan.network.heads)
    return max(right - wrong, 0.0) * calls


def _seconds_of_loss(
    loss: torch.nn.Module, logits: torch.Tensor, label: torch.Tensor, mask: torch.Tensor, what: str
) -> float:
    """Time a forward and a backward pass through the loss alone. ``what`` names both in an error."""
    logits = logits.clone().requires_grad_()
    began = time.perf_counter()
    value = loss(logits, label, mask)
    value.backward()
    if not (value.isfinite() and logits.grad is not None and logits.grad.isfinite().all()):
        raise NanLossError(f"the loss {what} is {value.item()}, or its gradient is not finite")
    return time.perf_counter() - began


def _almost_right_logits(label: torch.Tensor) -> torch.Tensor:
    """Return logits (B, 2, X, Y, Z) of a network that is confident and almost always right.

    It misses one vessel voxel in 50 and marks about as many background voxels.
    """
    found = label.flatten() > 0.5
    vessel, background = found.nonzero()[:, 0], found.logical_not().nonzero()[:, 0]
    missed = vessel[::50]
    found[missed] = False
    found[background[:: max(len(background) // max(len(missed), 1), 1)]] = True
    foreground = torch.where(found.view(label.shape), 5.0, -5.0)
    return torch.cat([-foreground, foreground], 1)


def _most_reserved(card_use: dict[str, GpuStep]) -> int:
    """Return the most bytes that torch reserved on the GPU, in the steps and after the last of them."""
    return max(torch.cuda.max_memory_reserved(), *(use.reserved_bytes for use in card_use.values()))


def _checkpoint(folder: Path, state: TrainState) -> tuple[int, float]:
    shutil.rmtree(folder, ignore_errors=True)  # left by a dry start that was killed
    began = time.perf_counter()
    try:
        written = CheckpointManager(folder).save(state.step, state.tensors(), state.facts())
        size = sum(file.stat().st_size for file in written.iterdir())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return size, time.perf_counter() - began


def _cut_depth(case: StoredCase, depth: int) -> StoredCase:
    shape = (*case.stats.shape[:2], min(case.stats.shape[2], depth))
    return replace(case, stats=case.stats.model_copy(update={"shape": shape}), image=case.image[..., : shape[2]])


def _score(case: StoredCase, tolerance_um: float, beat: Beat) -> float:
    beat(f"score {case.stats.name}", 0, 1)
    began = time.perf_counter()
    ignore_value = UNKNOWN if case.stats.has_unknown else None
    score_case(case.label, case.label, case.stats.spacing_um, tolerance_um, ignore_value=ignore_value)
    return time.perf_counter() - began


def main(folder: str) -> int:
    """Run the dry start in ``folder`` and return the exit code."""
    return exit_code_of(lambda: logging.info("%s", dry_start(DryStartFolder(Path(folder)))))
