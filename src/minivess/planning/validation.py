"""Guards: pure functions that say what is wrong with a plan before anything is spent on it."""

from __future__ import annotations

from dataclasses import replace

from minivess.data.profiler import DatasetProfile
from minivess.findings import Finding, Level
from minivess.geometry import Shape, round_down
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import TrainingPlan
from minivess.text import format_bytes

_OF_A_BEGUN_RUN: dict[str, tuple[Level, str]] = {
    "cache_fits": ("warning", "none is needed: the cache is page cache, of which the system takes back what it must"),
    "ram_fits": ("critical", "close other programs, or raise limits.memory_limit_gib or lower limits.cells_at_a_time"),
    "gpu_memory_fits": (
        "critical",
        "continue on the card that it was planned for, with no lower limits.gpu_limit_gib and no more limits.cells_at_a_time, "
        "or begin another run (--name)",
    ),
}
"""Level and cure of findings whose usual cure is another plan."""


def check_plan(
    plan: TrainingPlan, profile: DatasetProfile, hardware: HardwareBudget, *, begun: bool = False
) -> list[Finding]:
    """Every guard on a plan.

    Args:
        plan: Just made, or written down by an earlier run, perhaps on another machine.
        profile: The data set.
        hardware: What a cell may use of the machine.
        begun: Whether a run goes on with this plan, so that no cure may change it.
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
    return [_of_a_begun_run(finding) for finding in found] if begun else found


def _of_a_begun_run(finding: Finding) -> Finding:
    level, cure = _OF_A_BEGUN_RUN.get(finding.check, (finding.level, finding.cure))
    return replace(finding, level=level, cure=cure)


def validate_patch(patch: Shape, divisor: Shape, profile: DatasetProfile, policy: str) -> list[Finding]:
    """A patch must be a multiple of what the model's strides need and, unless short volumes are padded, fit every volume."""
    findings = []
    if min(patch) < 1 or any(size % d for size, d in zip(patch, divisor, strict=True)):
        nearest = round_down(patch, divisor)
        findings.append(
            Finding(
                "critical",
                "patch_divisible",
                "patch",
                f"multiples of {_by(divisor)}, which the model's strides need",
                _by(patch),
                f"use {_by(nearest)}",
            )
        )
    too_large = [axis for axis in range(3) if patch[axis] > profile.min_shape[axis]]
    if too_large and policy == "min_volume":
        small = [
            volume.name for volume in profile.volumes if any(volume.shape[axis] < patch[axis] for axis in too_large)
        ]
        nearest = round_down(tuple(min(a, b) for a, b in zip(patch, profile.min_shape, strict=True)), divisor)
        fits = all(size <= whole for size, whole in zip(nearest, profile.min_shape, strict=True))
        pad = "patch_policy: pad, which pads short volumes under a mask"
        findings.append(
            Finding(
                "critical",
                "patch_fits",
                "patch",
                f"at most {_by(profile.min_shape)}, the smallest volume along each axis ({', '.join(small[:5])})",
                _by(patch),
                f"use {_by(nearest)}, or {pad}" if fits else f"use {pad}: no smaller patch suits this model",
            )
        )
    return findings


def validate_cache(cached_bytes: int, cache_rate: float, available_bytes: int) -> list[Finding]:
    """What is kept in memory must leave three tenths of what is available to everything else."""
    wanted, allowed = cached_bytes * cache_rate, 0.7 * available_bytes
    if wanted <= allowed:
        return []
    rate = int(100 * allowed / cached_bytes) / 100
    got = f"{format_bytes(wanted)} at a cache rate of {cache_rate:g}"
    expected = f"at most {format_bytes(allowed)}, 70 % of the available memory"
    return [
        Finding("critical", "cache_fits", "cached volumes", expected, got, f"set plan.cache_rate to {rate:g} or less")
    ]


def validate_ram(process_bytes: int, usable_bytes: int) -> list[Finding]:
    """The predicted memory of a cell's process must lie within what a run may take of the machine."""
    if process_bytes <= usable_bytes:
        return []
    expected, got = (
        f"at most {format_bytes(usable_bytes)}, the usable memory",
        f"{format_bytes(process_bytes)} predicted",
    )
    cure = "close other programs, use a smaller patch or fewer plan.workers, or cut the largest volume"
    return [Finding("critical", "ram_fits", "the process of a cell", expected, got, cure)]


def validate_gpu(hardware: HardwareBudget) -> list[Finding]:
    """A plan for a graphics card needs one; without it each cell would fail by itself."""
    if hardware.gpu is not None:
        return []
    expected, got = "the graphics card that the plan was made for", "; ".join(["none", *hardware.gpu_notes])
    cure = (
        "see that `nvidia-smi` lists it; restart the machine after an update of its driver; or begin another run with "
        "--compute cpu"
    )
    return [Finding("critical", "card", "graphics card", expected, got, cure)]


def validate_gpu_memory(peak_bytes: int, card_bytes: int, what: str = "a training step") -> list[Finding]:
    """A predicted peak must leave a fifth of the card to the driver, the desktop and fragmentation."""
    allowed = 0.8 * card_bytes
    if peak_bytes <= allowed:
        return []
    expected, got = f"at most {format_bytes(allowed)}, 80 % of the card", f"{format_bytes(peak_bytes)} predicted"
    cure = "use a smaller patch, or a smaller plan.micro_batch, which accumulates to the same batch"
    return [Finding("critical", "gpu_memory_fits", what, expected, got, cure)]


def _by(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)
