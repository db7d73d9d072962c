"""Train a network on phantoms to its end, then save the averaged weights.

Run as ``python -m minivess.worker pretrain FOLDER`` under the supervisor.
"""

from __future__ import annotations

import logging
from pathlib import Path

from minivess.data.phantoms.recipes import grid_range
from minivess.experiments.pretraining import PretrainSpec, read_pretrain_spec
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import to_plain, write_state
from minivess.models.weights import TrainedOn, save_network
from minivess.tracking.provenance import describe_environment
from minivess.training.checkpoint import CheckpointManager
from minivess.worker.cell_worker import device_of, require_code, start_training, train_until
from minivess.worker.exit_status import exit_code_of, heartbeat


def pretrain(folder: CellFolder) -> None:
    """Train from the newest checkpoint to the step ``until``, and write the weights.

    Raises:
        RunError: The specification is damaged, or the code has changed.
        NanLossError: The loss or the weights became NaN or infinite.
    """
    spec = read_pretrain_spec(folder.path)
    require_code(spec)
    write_state(folder.next_environment, {**describe_environment(), "code": to_plain(spec.code)})
    beat = heartbeat(folder.path)
    device_of(spec.plan, folder.path)
    state, step = start_training(spec, spec.plan.micro_batch)
    manager = CheckpointManager(folder.checkpoints)
    saved = manager.restore()
    if saved is not None:
        state.restore(*saved)
        logging.info("resumes after step %d of %d", state.step, spec.training.steps)
    train_until(spec.until, state, step, spec.stream, manager, folder, beat, spec.plan.workers)
    save_network(folder.weights, state.average, spec.plan.network, _trained_on(spec), half=spec.half)


def _trained_on(spec: PretrainSpec) -> TrainedOn:
    """Voxel sizes of the recipe. Intensities are not limited: the recipe draws every contrast."""
    low, high = grid_range(spec.recipe)
    return TrainedOn(
        volumes=spec.until * spec.plan.batch,
        spacing_min_um=low,
        spacing_max_um=high,
        intensity_min=None,
        intensity_max=None,
        kind="phantoms",
    )


def main(folder: str) -> int:
    """Train in ``folder`` and return the exit code."""
    return exit_code_of(lambda: pretrain(CellFolder(Path(folder))))
