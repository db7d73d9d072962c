"""From machine, data and model to a plan."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from minivess.data.profiler import DatasetProfile
from minivess.errors import PlanError
from minivess.geometry import Shape
from minivess.models.model_profile import PROFILES, ModelProfile, NetworkSpec
from minivess.planning.fit import fit_to_memory, halvings
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.estimator import Estimator
from minivess.planning.memory.workload import Device
from minivess.planning.patch_policy import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.resources import PROCESS_BYTES, RESIDENT_FACTOR, predict_resources
from minivess.suggestions import unknown
from minivess.text import counted, format_bytes
from minivess.training.config import Precision
from minivess.validation_errors import config_error

COMPUTE_PROFILES = PROFILES.parent / "compute_profiles.yaml"


class ComputeProfile(BaseModel):
    """A named budget of configs/compute_profiles.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: Shape
    batch: int


def load_compute_profile(name: str, path: Path = COMPUTE_PROFILES) -> ComputeProfile:
    """The named budget.

    Raises:
        ConfigError: There is none of that name, or it does not hold what a budget holds.
    """
    known: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
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
    forecast: Estimator | None = None,
) -> TrainingPlan:
    """Plan a training.

    An explicit patch is a contract: it is used exactly or refused. A compute profile is a budget: its patch is an upper
    bound, shrunk until it fits the data set, the model and the memory.

    Args:
        hardware: The machine.
        profile: The data set.
        model: The model.
        request: What the researcher asks for.
        forecast: Answers what a step takes; without it memory and time are not looked at.

    Raises:
        PlanError: The explicit patch cannot be used, or nothing fits the memory.
        ConfigError: Unknown compute profile.
    """
    request = request or PlanRequest()
    tier = hardware.tier if request.compute == "auto" else request.compute
    bounds = load_compute_profile(tier)
    detected = "detected" if request.compute == "auto" else "asked for"
    reasons = {"profile_name": f"{detected}: {hardware.explain()['tier']}"}
    device: Device = "cuda" if tier != "cpu" and hardware.gpu is not None else "cpu"
    precision = _precision(hardware, device, request, reasons)
    batch = request.batch or bounds.batch
    reasons["batch"] = f"{batch} patches a step: " + ("asked for" if request.batch else f"the compute profile {tier}")

    def choose(bound: Shape) -> tuple[NetworkSpec, str]:
        patches, strides, reason = choose_patches(profile, model, request, bound)
        return model.spec(patches, strides), reason

    network, reasons["patch"] = choose(bounds.patch)
    micro_batch, peak_bytes = min(request.micro_batch or batch, batch), None
    if forecast is not None:
        budget = hardware.gpu_budget_bytes if device == "cuda" else _cpu_budget_bytes(hardware)
        allowed = [micro_batch] if request.micro_batch else halvings(batch)
        step_peak = partial(forecast.step_bytes, precision=precision, device=device, batch=batch)
        fitted = fit_to_memory(choose, bounds.patch, allowed, step_peak, budget, may_shrink=request.patch_size is None)
        network, micro_batch, peak_bytes, reasons["patch"] = (
            fitted.network,
            fitted.micro_batch,
            fitted.peak_bytes,
            fitted.reason,
        )
        reasons["memory"] = (
            f"{format_bytes(peak_bytes)} at the peak of a step, computed from its trace; the budget is {format_bytes(budget)}"
        )
        if request.patch_size is None and 2 * peak_bytes <= budget:
            reasons["memory"] += "; plan.patch_size may be larger"
        if micro_batch < batch:
            reasons["batch"] += f", {micro_batch} a forward pass, so that they fit"
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
    return plan if forecast is None else predict_resources(plan, profile, forecast, hardware)


def _cpu_budget_bytes(hardware: HardwareBudget) -> int:
    """What a step on the CPU may hand out: usable memory less the process itself; a PlanError where nothing is left."""
    left = hardware.usable_ram_bytes - PROCESS_BYTES
    if left <= 0:
        raise PlanError(
            f"more than {format_bytes(PROCESS_BYTES)} of usable memory, which the process of a cell takes before any patch",
            hardware.explain()["usable_ram_bytes"],
            "raise limits.memory_limit_gib, lower limits.cells_at_a_time, or close other programs",
        )
    return round(left / RESIDENT_FACTOR)


def _precision(hardware: HardwareBudget, device: str, request: PlanRequest, reasons: dict[str, str]) -> Precision:
    if request.precision is not None:
        reasons["precision"] = f"{request.precision} asked for"
        return request.precision
    if device == "cpu":
        reasons["precision"] = "fp32: half precision gains nothing on most CPUs"
        return "fp32"
    capability = hardware.gpu.compute_capability if hardware.gpu else None
    if capability is not None and capability >= (8, 0):
        reasons["precision"] = "bf16: the card computes it natively, and it needs no loss scaling"
        return "bf16"
    why = "the card has no bf16 units" if capability else "whether the card has bf16 units is not known"
    reasons["precision"] = f"fp16 with loss scaling: {why}"
    return "fp16"


def _workers(hardware: HardwareBudget, request: PlanRequest, reasons: dict[str, str]) -> int:
    if request.workers is not None:
        reasons["workers"] = f"{request.workers} asked for"
        return request.workers
    workers = min(4, max(1, hardware.host.cpu_count - 1))
    plural = "thread cuts" if workers == 1 else "threads cut"
    reasons["workers"] = (
        f"{workers} {plural} patches: {counted(hardware.host.cpu_count, 'processor')}, less one for the training thread, "
        "but 1 at least and 4 at most"
    )
    return workers


def _cache_rate(
    hardware: HardwareBudget, profile: DatasetProfile, request: PlanRequest, reasons: dict[str, str]
) -> float:
    if request.cache_rate is not None:
        reasons["cache_rate"] = f"{request.cache_rate:g} asked for"
        return request.cache_rate
    room, wanted = 0.6 * hardware.usable_ram_bytes, max(profile.cached_bytes, 1)
    rate = min(1.0, math.floor(100 * room / wanted) / 100)
    share = "all" if rate == 1 else f"{rate:g}"
    rest = "" if rate == 1 else "; the rest is read from disk"
    reasons["cache_rate"] = (
        f"{share} of {format_bytes(wanted)} decompressed: 60 % of the usable memory is {format_bytes(room)}{rest}"
    )
    return rate
