"""A training plan from a data set and a machine, in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from minivess.data.dataset_profile import DatasetProfile
from minivess.errors import ConfigError
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget, hardware_for
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator, cache_folder
from minivess.planning.plan import PlanRequest, TrainingPlan


def make_plan(
    profile: DatasetProfile,
    model: str = "dynunet",
    losses: Sequence[str] = ("dice_ce",),
    *,
    hardware: HardwareBudget | None = None,
    timed: bool = False,
    **settings: Any,
) -> TrainingPlan:
    """Plan what fits: patch, batch, precision, workers and cache, each with its reason.

    The memory of a training step is predicted by tracing it, which takes some seconds the first time; later calls read
    the answer from ``~/.cache/minivess``.

    Args:
        profile: The data set, from `minivess.scan_dataset`.
        model: Name of a profile in configs/model_profiles, or the path of a YAML file.
        losses: Losses that will be trained with this plan; the plan fits the one that needs the most memory.
        hardware: The machine; None detects this one. `minivess.planning.hardware.hardware_for` describes another one.
        timed: Also time a training step of each loss on this machine (seconds each, the first time).
        **settings: Keys of `minivess.planning.plan.PlanRequest`, e.g. ``patch_size=(64, 64, 8)`` or ``batch=2``.

    Returns:
        The plan; ``plan.reasons`` explains each value.

    Raises:
        ConfigError: A model, a loss or a setting is unknown.
        PlanError: The requested patch cannot be used, or nothing fits the memory.
    """
    unknown = sorted(settings.keys() - PlanRequest.model_fields.keys())
    if unknown:
        known = ", ".join(PlanRequest.model_fields)
        raise ConfigError(f"keys of the plan ({known})", ", ".join(unknown), "remove or correct them")
    hardware = hardware or hardware_for()
    with PeakCache(cache_folder(os.environ)) as peaks:
        estimator = Estimator({loss: {} for loss in losses}, peaks, timed)
        return compute_adaptive_profile(
            hardware, profile, load_model_profile(model), PlanRequest(**settings), estimator
        )
