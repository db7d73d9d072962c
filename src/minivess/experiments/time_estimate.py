"""Estimate how long the cells of a run take, from timed steps and counted windows."""

from __future__ import annotations

import math
from typing import NamedTuple

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.data.splits import Splits
from minivess.experiments.cell_key import CellKey
from minivess.experiments.config import ExperimentConfig
from minivess.geometry import patch_for
from minivess.planning.plan import TrainingPlan

_START_S = 10.0
"""Seconds in which a process imports torch and MONAI, builds the network and maps the store."""
_SCORING_S_PER_VOXEL = 3.5 / (512 * 512 * 106)
"""Scoring a volume of 512 x 512 x 106 voxels takes 3.5 s."""
_FORWARD_SHARE = 0.3
"""Time of a forward pass as a share of a training step on as many voxels: a backward pass takes about twice as long."""


class CellSeconds(NamedTuple):
    """Estimated seconds of a cell: until its first step, of its training with validations, of prediction and scoring."""

    start: float
    training: float
    evaluation: float

    @property
    def total(self) -> float:
        return sum(self)


def predict_seconds(
    config: ExperimentConfig, profile: DatasetProfile, splits: Splits, plan: TrainingPlan
) -> dict[str, CellSeconds]:
    """Return the estimated seconds of each cell by name, without the baselines; empty if no step was timed."""
    volumes = {volume.name: volume for volume in profile.volumes}
    training = config.training
    validations = training.max_epochs // training.validate_every if training.validate_every else 0
    seconds: dict[str, CellSeconds] = {}
    for loss, step_s in plan.step_seconds.items():
        window_s = _FORWARD_SHARE * step_s / plan.batch
        for number, fold in enumerate(splits.folds):
            validation_case = volumes[fold.held_out[len(fold.held_out) // 2]]
            predicted = sum(windows(volumes[name], plan) for name in fold.held_out)
            scored = sum(volumes[name].voxels for name in fold.held_out)
            taken = CellSeconds(
                start=_START_S,
                training=training.steps * step_s + validations * windows(validation_case, plan) * window_s,
                evaluation=predicted * window_s + scored * _SCORING_S_PER_VOXEL,
            )
            seconds |= {CellKey(loss, number, repeat).name: taken for repeat in range(1, config.repeats + 1)}
    return seconds


def windows(volume: VolumeStats, plan: TrainingPlan) -> int:
    """Return the number of windows in a sliding-window prediction of a volume."""
    patch = patch_for(plan.network.patches, volume.shape[2])
    steps = (max(int(size * (1 - plan.overlap)), 1) for size in patch)
    return math.prod(
        1 + max(math.ceil((whole - size) / step), 0)
        for whole, size, step in zip(volume.shape, patch, steps, strict=True)
    )
