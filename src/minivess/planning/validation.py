"""Guards: pure functions that say what is wrong with a plan before anything is spent on it."""

from __future__ import annotations

from minivess.data.profiler import DatasetProfile
from minivess.findings import Finding
from minivess.strides import Shape, round_down


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


def _by(shape: Shape) -> str:
    return "x".join(str(size) for size in shape)
