"""Compute a training plan from the machine, the data set and the model."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from minivess.data.profiler import DatasetProfile
from minivess.errors import ConfigError, PlanError
from minivess.geometry import Shape
from minivess.models.model_profile import PROFILES, ModelProfile, NetworkSpec
from minivess.planning.fit import fit_to_memory, halvings
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.estimator import Estimator
from minivess.planning.memory.workload import Device
from minivess.planning.patch_policy import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.resources import PROCESS_BYTES, RESIDENT_FACTOR, predict_resources
from minivess.settings import Settings
from minivess.suggestions import unknown
from minivess.text import counted, format_bytes
from minivess.training.config import Precision
from minivess.validation_errors import config_error
from minivess.yaml_files import YamlError, read_yaml

COMPUTE_PROFILES = PROFILES.parent / "compute_profiles.yaml"


class ComputeProfile(Settings):
    """A named profile of configs/compute_profiles.yaml: upper bounds for a plan.

    Attributes:
        patch: Largest patch allowed, X, Y, Z in voxels.
        batch: Patches per optimizer step.
    """

    patch: Shape
    batch: int


def load_compute_profile(name: str, path: Path = COMPUTE_PROFILES) -> ComputeProfile:
    """Load a compute profile by name.

    Args:
        name: A key of the file, e.g. "gpu_low".
        path: The YAML file of compute profiles.

    Raises:
        ConfigError: The file is not valid YAML, the name is unknown, or the profile has a wrong or missing key.
    """
    try:
        known: Any = read_yaml(path.read_bytes())
    except (OSError, YamlError) as error:
        raise ConfigError("a file of compute profiles", f"{path}: {error}", "restore this file") from error
    if not isinstance(known, dict):
        raise ConfigError("compute profiles by name", f"{path} contains {type(known).__name__}", "restore this file")
    if name not in known:
        raise unknown("compute profile", name, ["auto", *known])
    try:
        return ComputeProfile.model_validate(known[name])
    except ValidationError as error:
        raise config_error(error, ComputeProfile, lambda location: f"{name} in {path}") from error


def compute_adaptive_profile(
    hardware: HardwareBudget,
    profile: DatasetProfile,
    model: ModelProfile,
    request: PlanRequest | None = None,
    estimator: Estimator | None = None,
) -> TrainingPlan:
    """Compute the training plan.

    An explicit patch is a contract: it is used exactly or refused. A compute profile is a budget: its patch is an upper
    bound, which is reduced until it fits the data set, the model and the memory.

    Args:
        hardware: The machine.
        profile: The data set.
        model: The model.
        request: The researcher's settings; None uses the defaults.
        estimator: Predicts memory and time of a step. Without it, the plan is not fitted to the memory.

    Returns:
        The plan, with a reason for each value that was chosen.

    Raises:
        PlanError: The explicit patch cannot be used, or no patch fits the memory.
        ConfigError: The compute profile is unknown.
    """
    request = request or PlanRequest()
    tier = hardware.tier if request.compute == "auto" else request.compute
    bounds = load_compute_profile(tier)
    detected = hardware.explain()["tier"]
    chosen = "detected" if request.compute == "auto" else f"{tier} was requested; detected"
    reasons = {"profile_name": f"{chosen}: {detected}"}
    device: Device = "cuda" if tier != "cpu" and hardware.gpu is not None else "cpu"
    precision = _precision(hardware, device, request, reasons)
    batch = request.batch or bounds.batch
    reasons["batch"] = f"{batch} patches per step: " + (
        "requested" if request.batch else f"from the compute profile {tier}"
    )

    def choose(bound: Shape) -> tuple[NetworkSpec, str]:
        patches, strides, reason = choose_patches(profile, model, request, bound)
        return model.spec(patches, strides), reason

    network, reasons["patch"] = choose(bounds.patch)
    micro_batch, peak_bytes = min(request.micro_batch or batch, batch), None
    if estimator is not None:
        budget = hardware.gpu_budget_bytes if device == "cuda" else _cpu_budget_bytes(hardware)
        allowed = [micro_batch] if request.micro_batch else halvings(batch)
        step_peak = partial(estimator.step_bytes, precision=precision, device=device, batch=batch)
        fitted = fit_to_memory(choose, bounds.patch, allowed, step_peak, budget, may_shrink=request.patch_size is None)
        network, micro_batch, peak_bytes, reasons["patch"] = (
            fitted.network,
            fitted.micro_batch,
            fitted.peak_bytes,
            fitted.reason,
        )
        reasons["memory"] = (
            f"{format_bytes(peak_bytes)} at the peak of a training step, computed from its trace; "
            f"the budget is {format_bytes(budget)}"
        )
        if request.patch_size is None and 2 * peak_bytes <= budget:
            reasons["memory"] += "; there is room for a larger plan.patch_size"
        if micro_batch < batch:
            reasons["batch"] += f", {micro_batch} per forward pass to fit the memory budget"
    plan = TrainingPlan(
        profile_name=f"{'auto_' if request.compute == 'auto' else ''}{tier}_{model.name}",
        network=network,
        patch_policy=request.patch_policy,
        batch=batch,
        micro_batch=micro_batch,
        precision=precision,
        device=device,
        workers=_workers(hardware, request, reasons),
        cache_rate=_cache_rate(hardware, profile, request, reasons),
        peak_bytes=peak_bytes,
        overlap=request.overlap,
        reasons=reasons,
    )
    return plan if estimator is None else predict_resources(plan, profile, estimator, hardware)


def _cpu_budget_bytes(hardware: HardwareBudget) -> int:
    """Bytes that torch may allocate in a step on the CPU: usable memory minus the memory of the process itself.

    Raises:
        PlanError: The process alone needs all usable memory.
    """
    left = hardware.usable_ram_bytes - PROCESS_BYTES
    if left <= 0:
        raise PlanError(
            f"more than {format_bytes(PROCESS_BYTES)} of usable memory, which the process of a cell needs before any patch",
            hardware.explain()["usable_ram_bytes"],
            "raise limits.memory_limit_gib, lower limits.cells_at_a_time, or close other programs",
        )
    return round(left / RESIDENT_FACTOR)


def _precision(hardware: HardwareBudget, device: str, request: PlanRequest, reasons: dict[str, str]) -> Precision:
    if request.precision is not None:
        reasons["precision"] = f"{request.precision} requested"
        return request.precision
    if device == "cpu":
        reasons["precision"] = "fp32: half precision is not faster on most CPUs"
        return "fp32"
    capability = hardware.gpu.compute_capability if hardware.gpu else None
    if capability is not None and capability >= (8, 0):
        reasons["precision"] = "bf16: the GPU supports it natively, and it needs no loss scaling"
        return "bf16"
    why = "the GPU has no bf16 units" if capability else "it is unknown whether the GPU has bf16 units"
    reasons["precision"] = f"fp16 with loss scaling: {why}"
    return "fp16"


def _workers(hardware: HardwareBudget, request: PlanRequest, reasons: dict[str, str]) -> int:
    if request.workers is not None:
        reasons["workers"] = f"{request.workers} requested"
        return request.workers
    workers = min(4, max(1, hardware.host.cpu_count - 1))
    reasons["workers"] = (
        f"{counted(workers, 'thread')} to cut patches: {counted(hardware.host.cpu_count, 'processor')} minus one for "
        "the training thread, at least 1 and at most 4"
    )
    return workers


def _cache_rate(
    hardware: HardwareBudget, profile: DatasetProfile, request: PlanRequest, reasons: dict[str, str]
) -> float:
    if request.cache_rate is not None:
        reasons["cache_rate"] = f"{request.cache_rate:g} requested"
        return request.cache_rate
    allowed, needed = 0.6 * hardware.usable_ram_bytes, max(profile.cached_bytes, 1)
    rate = min(1.0, math.floor(100 * allowed / needed) / 100)
    share = "all" if rate == 1 else f"{rate:g}"
    rest = "" if rate == 1 else "; the rest is read from disk"
    reasons["cache_rate"] = (
        f"{share} of {format_bytes(needed)} of decompressed volumes: 60 % of the usable memory is "
        f"{format_bytes(allowed)}{rest}"
    )
    return rate
