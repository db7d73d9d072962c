"""From machine, data and model to a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from minivess.data.profiler import DatasetProfile
from minivess.errors import ConfigError, PlanError
from minivess.findings import raise_critical
from minivess.models.registry import PROFILES, ModelProfile, NetworkSpec
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.validation import validate_patch
from minivess.step.config import Precision
from minivess.strides import Shape, StridePlan, round_down

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
    patch, strides = _patch(profile, model, request, bounds, reasons)
    device: Literal["cpu", "cuda"] = "cuda" if tier != "cpu" and hardware.gpu is not None else "cpu"
    batch = request.batch or bounds.batch
    reasons["batch"] = f"{batch} patches a step: " + ("asked for" if request.batch else f"the budget of {tier}")
    return TrainingPlan(
        profile_name=f"{'auto_' if request.compute == 'auto' else ''}{tier}_{model.name}",
        network=NetworkSpec(
            model=model.name,
            builder=model.builder,
            patch=patch,
            strides=strides.strides,
            kernels=strides.kernels,
            filters=model.filters[: len(strides.strides)],
            deep_supervision=model.deep_supervision,
        ),
        patch=patch,
        patch_policy=request.patch_policy,
        batch=batch,
        micro_batch=min(request.micro_batch or batch, batch),
        precision=_precision(hardware, device, request, reasons),
        device=device,
        workers=_workers(hardware, request, reasons),
        overlap=request.overlap,
        reasons=reasons,
    )


def _patch(
    profile: DatasetProfile, model: ModelProfile, request: PlanRequest, bounds: ComputeProfile, reasons: dict[str, str]
) -> tuple[Shape, StridePlan]:
    if request.patch_size is not None:
        strides = model.plan_strides(request.patch_size, profile.median_spacing_um)
        raise_critical(validate_patch(request.patch_size, strides.divisor, profile, request.patch_policy), PlanError)
        reasons["patch"] = f"{_by(request.patch_size)} asked for; {_divisor_reason(strides)}"
        return request.patch_size, strides
    room = profile.min_shape if request.patch_policy == "min_volume" else profile.median_shape
    what = "smallest" if request.patch_policy == "min_volume" else "median"
    x, y, z = (min(most, size) for most, size in zip(bounds.patch, room, strict=True))
    strides = model.plan_strides((x, y, z), profile.median_spacing_um)
    patch = round_down((x, y, z), strides.divisor)
    reasons["patch"] = (
        f"{_by(patch)}: the budget allows {_by(bounds.patch)}, the {what} size an axis is {_by(room)}; {_divisor_reason(strides)}"
    )
    raise_critical(validate_patch(patch, strides.divisor, profile, request.patch_policy), PlanError)
    return patch, strides


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
    reasons["workers"] = (
        f"{workers} threads cut patches: {hardware.host.cpu_count} processors, one left to the training thread, at most 4"
    )
    return workers


def _by(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)


def _divisor_reason(strides: StridePlan) -> str:
    return f"the strides need multiples of {_by(strides.divisor)}"
