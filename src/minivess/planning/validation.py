"""Guards: pure functions that check a plan before a run starts and return findings."""

from __future__ import annotations

from dataclasses import replace

from minivess.data.profiler import DatasetProfile
from minivess.findings import Finding, Level
from minivess.geometry import Shape, round_down
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import TrainingPlan
from minivess.text import format_bytes, format_patch

_OVERRIDES_FOR_STARTED_RUN: dict[str, tuple[Level, str]] = {
    "cache_fits": (
        "warning",
        "no action is needed: the cache is page cache, which the system frees when it needs memory",
    ),
    "ram_fits": ("critical", "close other programs, raise limits.memory_limit_gib, or lower limits.cells_at_a_time"),
    "gpu_memory_fits": (
        "critical",
        "continue on the GPU that the run was planned for, do not lower limits.gpu_limit_gib and do not raise "
        "limits.cells_at_a_time; or start another run (--name)",
    ),
}
"""Level and cure, in a run that has started, of the findings whose usual cure is to change the plan."""


def check_plan(
    plan: TrainingPlan, profile: DatasetProfile, hardware: HardwareBudget, *, started: bool = False
) -> list[Finding]:
    """Run every guard on a plan.

    Args:
        plan: A new plan, or the saved plan of an earlier run, possibly from another machine.
        profile: The data set.
        hardware: The part of the machine that a cell may use.
        started: Whether a run with this plan has already started, so that a cure must not change the plan.

    Returns:
        The findings; empty if the plan can run.
    """
    found = validate_cache(profile.cached_bytes, plan.cache_rate, hardware.host.ram_available_bytes)
    for patch in plan.network.patches:
        found += validate_patch(patch, plan.network.divisor, profile, plan.patch_policy)
    if plan.device == "cuda":
        found += validate_gpu(hardware)
    if plan.device == "cuda" and hardware.gpu is not None:
        for what, peak in (("a training step", plan.peak_bytes), ("a prediction", plan.prediction_bytes)):
            found += validate_gpu_memory(peak or 0, hardware.gpu.counted_bytes, what)
    found += validate_ram(plan.ram_bytes or 0, hardware.usable_ram_bytes)
    return [_for_started_run(finding) for finding in found] if started else found


def _for_started_run(finding: Finding) -> Finding:
    """Replace a cure that would change the plan."""
    level, cure = _OVERRIDES_FOR_STARTED_RUN.get(finding.check, (finding.level, finding.cure))
    return replace(finding, level=level, cure=cure)


def validate_patch(patch: Shape, divisor: Shape, profile: DatasetProfile, policy: str) -> list[Finding]:
    """Check that a patch is a multiple of the divisor and, under the policy "min_volume", fits every volume.

    Args:
        patch: X, Y, Z in voxels.
        divisor: What each axis must be a multiple of, from the strides of the model.
        profile: The data set.
        policy: "min_volume", "pad" or "bucketed".
    """
    findings = []
    if min(patch) < 1 or any(size % d for size, d in zip(patch, divisor, strict=True)):
        nearest = round_down(patch, divisor)
        findings.append(
            Finding(
                "critical",
                "patch_divisible",
                "patch",
                f"multiples of {format_patch(divisor)}, which the strides of the model require",
                format_patch(patch),
                f"use {format_patch(nearest)}",
            )
        )
    too_large = [axis for axis in range(3) if patch[axis] > profile.min_shape[axis]]
    if too_large and policy == "min_volume":
        small = [
            volume.name for volume in profile.volumes if any(volume.shape[axis] < patch[axis] for axis in too_large)
        ]
        nearest = round_down(tuple(min(a, b) for a, b in zip(patch, profile.min_shape, strict=True)), divisor)
        fits = all(size <= whole for size, whole in zip(nearest, profile.min_shape, strict=True))
        pad = "plan.patch_policy: pad, which pads short volumes under a mask"
        findings.append(
            Finding(
                "critical",
                "patch_fits",
                "patch",
                f"at most {format_patch(profile.min_shape)}, the smallest size along each axis (too small: {', '.join(small[:5])})",
                format_patch(patch),
                f"use {format_patch(nearest)}, or {pad}"
                if fits
                else f"use {pad}; no smaller patch works with this model",
            )
        )
    return findings


def validate_cache(cached_bytes: int, cache_rate: float, available_bytes: int) -> list[Finding]:
    """Check that the cached volumes take at most 70 % of the available memory.

    Args:
        cached_bytes: Size of all decompressed volumes.
        cache_rate: Share of them that is cached, 0 to 1.
        available_bytes: Main memory available now.
    """
    needed, allowed = cached_bytes * cache_rate, 0.7 * available_bytes
    if needed <= allowed:
        return []
    rate = int(100 * allowed / cached_bytes) / 100
    got = f"{format_bytes(needed)} at a cache rate of {cache_rate:g}"
    expected = f"at most {format_bytes(allowed)}, 70 % of the available memory"
    return [
        Finding("critical", "cache_fits", "cached volumes", expected, got, f"set plan.cache_rate to {rate:g} or less")
    ]


def validate_ram(process_bytes: int, usable_bytes: int) -> list[Finding]:
    """Check that the predicted memory of a cell's process fits the usable memory of the machine."""
    if process_bytes <= usable_bytes:
        return []
    expected, got = (
        f"at most {format_bytes(usable_bytes)}, the usable memory",
        f"{format_bytes(process_bytes)} predicted",
    )
    cure = "close other programs, use a smaller plan.patch_size or fewer plan.workers, or split the largest volume"
    return [Finding("critical", "ram_fits", "the process of a cell", expected, got, cure)]


def validate_gpu(hardware: HardwareBudget) -> list[Finding]:
    """Check that there is a GPU for a plan that needs one; otherwise every cell would fail."""
    if hardware.gpu is not None:
        return []
    expected, got = "the GPU that the plan was made for", "; ".join(["none", *hardware.gpu_notes])
    cure = (
        "make sure that `nvidia-smi` lists the GPU (restart the machine after an update of the GPU driver), or start "
        "another run with --compute cpu"
    )
    return [Finding("critical", "card", "GPU", expected, got, cure)]


def validate_gpu_memory(peak_bytes: int, gpu_bytes: int, what: str = "a training step") -> list[Finding]:
    """Check that a predicted peak leaves 20 % of the GPU for the driver, the desktop and fragmentation.

    Args:
        peak_bytes: Predicted peak.
        gpu_bytes: GPU memory that counts for the cell.
        what: What takes the memory, as a phrase for the finding.
    """
    allowed = 0.8 * gpu_bytes
    if peak_bytes <= allowed:
        return []
    expected, got = f"at most {format_bytes(allowed)}, 80 % of the GPU", f"{format_bytes(peak_bytes)} predicted"
    cure = "use a smaller plan.patch_size, or a smaller plan.micro_batch (gradients are accumulated to the same batch)"
    return [Finding("critical", "gpu_memory_fits", what, expected, got, cure)]
