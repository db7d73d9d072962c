"""Everything that a cell does, once, before epoch 1: what fails, fails here and not after a night.

Run as ``python -m minivess.worker dry_start FOLDER`` under the supervisor. For each loss two real steps on the largest
patch, and the loss by itself as if the network had learnt to segment; then a checkpoint, a prediction of the widest volume
(two windows deep: memory does not grow with depth) and the scoring of the largest.
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
from minivess.worker.cell_worker import device_of, predictor, start_training
from minivess.worker.exit_status import Beat, exit_code_of, heartbeat


def dry_start(folder: DryStartFolder) -> DryStartResult:
    """Try everything; writes the result, and leaves no checkpoint behind."""
    spec = read_state(folder.spec, DryStartSpec, "delete the folder; the same command writes it again")
    store = Store(spec.cells[0].store)
    beat = heartbeat(folder.path)
    plan = spec.cells[0].plan
    device_of(plan, folder.path)
    step_seconds: dict[str, float] = {}
    card_use: dict[str, GpuStep] = {}
    state: TrainState | None = None
    for number, cell in enumerate(spec.cells):
        beat(f"step with {cell.method}", number, len(spec.cells))
        state = None  # weights and moments of two losses at a time are more than any cell holds
        reset_gpu_peak()
        state, step_seconds[cell.method] = _real_steps(cell, store, spec.scored)
        if plan.device == "cuda":
            card_use[cell.method] = read_step_on_gpu(step_seconds[cell.method])
    assert state is not None
    checkpoint_bytes, checkpoint_seconds = _checkpoint(folder.checkpoints, state)
    predictor(state.average, plan, beat)(_shallow(store.case(spec.predicted), 2 * plan.patch[2]))
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
    """The last step has the optimizer's moments, and none of the first one's preparations.

    On a card there is one between them: in the first cuDNN tries algorithms, after which the card's memory is taken anew.
    """
    plan, training = cell.plan, cell.training
    state, step = start_training(cell, plan.micro_batch)
    sampler = PatchSampler(
        store,
        [name],
        [plan.patch],
        batch=plan.batch,
        foreground_fraction=training.foreground_fraction,
        seed=cell.seed,
        augment=training.augment,
    )
    for number, batch in enumerate(batches(sampler, 0, 3 if plan.device == "cuda" else 2, plan.workers)):
        if number == 1:
            reset_gpu_peak()
        began = time.perf_counter()
        step(state, batch)
    seconds = time.perf_counter() - began
    return state, seconds + _late_seconds(cell, step, store, name)


def _late_seconds(cell: CellSpec, step: Step, store: Store, name: str) -> float:
    """What a step takes longer once the network segments: some of a loss may run, and fail, only then.

    Raises:
        NanLossError: The loss or its gradient is no number.
    """
    plan = cell.plan
    sampler = PatchSampler(
        store, [name], [plan.patch], batch=plan.micro_batch, foreground_fraction=1.0, seed=cell.seed, augment=False
    )
    _, label, mask = (torch.from_numpy(part).to(plan.device) for part in sampler.batch(0))
    late = _close_to(label)
    right, wrong = (
        min(_seconds_of_loss(step.loss, logits, label, mask, of) for _ in range(2))
        for logits, of in ((late, f"{cell.method} of right logits"), (-late, f"{cell.method} of wrong logits"))
    )
    calls = math.ceil(plan.batch / plan.micro_batch) * (1 + plan.network.heads)
    return max(right - wrong, 0.0) * calls


def _seconds_of_loss(
    loss: torch.nn.Module, logits: torch.Tensor, label: torch.Tensor, mask: torch.Tensor, of: str
) -> float:
    """Forward and backward through the loss alone."""
    logits = logits.clone().requires_grad_()
    began = time.perf_counter()
    value = loss(logits, label, mask)
    value.backward()
    if not (value.isfinite() and logits.grad is not None and logits.grad.isfinite().all()):
        raise NanLossError(f"{of} is {value.item()}, or its gradient is no number")
    return time.perf_counter() - began


def _close_to(label: torch.Tensor) -> torch.Tensor:
    """Logits (B, 2, X, Y, Z) of a network that is sure and right, but for one voxel in 50 of the vessel and about as many beside."""
    found = label.flatten() > 0.5
    vessel, beside = found.nonzero()[:, 0], found.logical_not().nonzero()[:, 0]
    missed = vessel[::50]
    found[missed] = False
    found[beside[:: max(len(beside) // max(len(missed), 1), 1)]] = True
    foreground = torch.where(found.view(label.shape), 5.0, -5.0)
    return torch.cat([-foreground, foreground], 1)


def _most_reserved(card_use: dict[str, GpuStep]) -> int:
    """Of all steps, and of what came after the last of them."""
    return max(torch.cuda.max_memory_reserved(), *(use.reserved_bytes for use in card_use.values()))


def _checkpoint(folder: Path, state: TrainState) -> tuple[int, float]:
    shutil.rmtree(folder, ignore_errors=True)  # of a dry start that was killed
    began = time.perf_counter()
    try:
        written = CheckpointManager(folder).save(state.step, state.tensors(), state.facts())
        size = sum(file.stat().st_size for file in written.iterdir())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return size, time.perf_counter() - began


def _shallow(case: StoredCase, depth: int) -> StoredCase:
    shape = (*case.stats.shape[:2], min(case.stats.shape[2], depth))
    return replace(case, stats=case.stats.model_copy(update={"shape": shape}), image=case.image[..., : shape[2]])


def _score(case: StoredCase, tolerance_um: float, beat: Beat) -> float:
    beat(f"score {case.stats.name}", 0, 1)
    began = time.perf_counter()
    score_case(case.label, case.label, case.stats.spacing_um, tolerance_um)
    return time.perf_counter() - began


def main(folder: str) -> int:
    """Run the dry start in ``folder``; returns the exit code."""
    return exit_code_of(lambda: logging.info("%s", dry_start(DryStartFolder(Path(folder)))))
