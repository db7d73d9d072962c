"""About how long the cells of a run will take, from timed steps and counted windows."""

from __future__ import annotations

import math

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.data.splits import Splits
from minivess.experiments.config import ExperimentConfig
from minivess.geometry import patch_for
from minivess.planning.plan import TrainingPlan

_START_S = 10.0
"""A process that imports torch and MONAI, builds the network and maps the store."""
_SCORING_S_PER_VOXEL = 3.5 / (512 * 512 * 106)
_FORWARD_SHARE = 0.3
"""Of the time of a training step on as many voxels: a backward pass takes about twice a forward one."""


def predict_seconds(
    config: ExperimentConfig, profile: DatasetProfile, splits: Splits, plan: TrainingPlan
) -> dict[str, float]:
    """Seconds of each cell by its name, baselines left out; empty where no step was timed."""
    volumes = {volume.name: volume for volume in profile.volumes}
    training = config.training
    looks = training.max_epochs // training.validate_every if training.validate_every else 0
    seconds = {}
    for loss, step_s in plan.step_seconds.items():
        window_s = _FORWARD_SHARE * step_s / plan.batch
        for number, fold in enumerate(splits.folds):
            watched = volumes[fold.held_out[len(fold.held_out) // 2]]
            predicted = sum(windows(volumes[name], plan) for name in fold.held_out) + looks * windows(watched, plan)
            scored = sum(volumes[name].voxels for name in fold.held_out)
            seconds[f"{loss}-fold{number}"] = (
                _START_S + training.steps * step_s + predicted * window_s + scored * _SCORING_S_PER_VOXEL
            )
    return seconds


def windows(volume: VolumeStats, plan: TrainingPlan) -> int:
    """Windows of a sliding-window prediction of a volume."""
    patch = patch_for(plan.network.patches, volume.shape[2])
    steps = (max(int(size * (1 - plan.overlap)), 1) for size in patch)
    return math.prod(
        1 + max(math.ceil((whole - size) / step), 0)
        for whole, size, step in zip(volume.shape, patch, steps, strict=True)
    )


def in_words(seconds: float) -> str:
    """The two largest units: "42 s", "5 min 25 s", "25 h 30 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + f" {whole % 60} s" * (whole % 60 > 0)
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + f" {minutes % 60} min" * (minutes % 60 > 0)
