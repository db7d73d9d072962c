"""From machine, data and model to a plan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from minivess.data.profiler import DatasetProfile
from minivess.errors import ConfigError
from minivess.models.registry import PROFILES, ModelProfile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.patches import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.sizes import format_gib
from minivess.step.config import Precision
from minivess.strides import Shape

COMPUTE_PROFILES = PROFILES.parent / "compute_profiles.yaml"


class ComputeProfile(BaseModel):
    """A named budget of configs/compute_profiles.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch: Shape
    batch: int


def load_compute_profile(name: str, path: Path = COMPUTE_PROFILES) -> ComputeProfile:
    """The named budget.

    Raises:
        ConfigError: There is none of that name.
    """
    known: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if name not in known:
        raise ConfigError(f"auto or one of {', '.join(known)}", f"compute {name!r}", "check --compute")
    return ComputeProfile.model_validate(known[name])


def compute_adaptive_profile(
    hardware: HardwareBudget, profile: DatasetProfile, model: ModelProfile, request: PlanRequest | None = None
) -> TrainingPlan:
    """Plan a training.

    An explicit patch is a contract: it is used exactly or refused. A compute profile is a budget: its patch is an upper
    bound, shrunk until it fits the data set and the model.

    Raises:
        PlanError: The explicit patch cannot be used.
        ConfigError: Unknown compute profile.
    """
    request = request or PlanRequest()
    tier = hardware.tier if request.compute == "auto" else request.compute
    bounds = load_compute_profile(tier)
    reasons = {
        "profile_name": f"{'detected' if request.compute == 'auto' else 'asked for'}: {hardware.explain()['tier']}"
    }
    patches, strides, reasons["patch"] = choose_patches(profile, model, request, bounds.patch)
    device: Literal["cpu", "cuda"] = "cuda" if tier != "cpu" and hardware.gpu is not None else "cpu"
    batch = request.batch or bounds.batch
    reasons["batch"] = f"{batch} patches a step: " + ("asked for" if request.batch else f"the budget of {tier}")
    return TrainingPlan(
        profile_name=f"{'auto_' if request.compute == 'auto' else ''}{tier}_{model.name}",
        network=model.spec(patches, strides),
        patch_policy=request.patch_policy,
        batch=batch,
        micro_batch=min(request.micro_batch or batch, batch),
        precision=_precision(hardware, device, request, reasons),
        device=device,
        workers=_workers(hardware, request, reasons),
        cache_rate=_cache_rate(hardware, profile, request, reasons),
        overlap=request.overlap,
        reasons=reasons,
    )


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
    reasons["precision"] = "fp16 with loss scaling: the card has no bf16 units"
    return "fp16"


def _workers(hardware: HardwareBudget, request: PlanRequest, reasons: dict[str, str]) -> int:
    if request.workers is not None:
        reasons["workers"] = f"{request.workers} asked for"
        return request.workers
    workers = min(4, max(1, hardware.host.cpu_count - 1))
    plural = "thread cuts" if workers == 1 else "threads cut"
    reasons["workers"] = (
        f"{workers} {plural} patches: {hardware.host.cpu_count} processors, one left to the training thread, at most 4"
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
        f"{share} of {format_gib(wanted)} decompressed: 60 % of the usable memory is {format_gib(room)}{rest}"
    )
    return rate
