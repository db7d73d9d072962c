"""Where a U-Net may halve which axis: strides, kernels and the divisor of each axis, from patch and spacing.

The rule is nnU-Net's (Isensee et al. 2021, network topology): an axis is pooled only while its spacing is within a factor
of two of the finest and it has voxels left; a coarse axis gets kernel 1 until it catches up. nnU-Net stops at four voxels
an axis; here two are allowed, because two-photon stacks are as shallow as five slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

MIN_EDGE = 2


@dataclass(frozen=True)
class StridePlan:
    """One entry a level, the finest first; the first stride is always (1, 1, 1)."""

    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def divisor(self) -> Shape:
        """What each axis of a patch must be a multiple of: 2 to the number of its stride-2 stages."""
        product = [1, 1, 1]
        for stride in self.strides:
            product = [size * step for size, step in zip(product, stride, strict=True)]
        return product[0], product[1], product[2]


def plan_strides(
    patch: Sequence[int], spacing_um: Sequence[float], levels: int, min_edge: int = MIN_EDGE
) -> StridePlan:
    """Plan at most ``levels`` levels for a patch (X, Y, Z voxels); fewer when no axis can be halved any more.

    Sizes that do not halve evenly count as ``round_down`` leaves them, so no halved axis ends below ``min_edge`` voxels.
    """
    sizes, spacing = list(patch), list(spacing_um)
    strides: list[Shape] = [(1, 1, 1)]
    kernels: list[Shape] = [_kernel(spacing, (1, 1, 1))]
    while len(strides) < levels:
        roomy = [axis for axis in range(3) if sizes[axis] >= 2 * min_edge]
        if not roomy:
            break
        finest = min(spacing[axis] for axis in roomy)
        step = [2 if axis in roomy and spacing[axis] / finest < 2 else 1 for axis in range(3)]
        sizes = [size // s for size, s in zip(sizes, step, strict=True)]
        spacing = [size * s for size, s in zip(spacing, step, strict=True)]
        strides.append((step[0], step[1], step[2]))
        kernels.append(_kernel(spacing, kernels[-1]))
    return StridePlan(tuple(strides), tuple(kernels))


def round_down(shape: Sequence[int], divisor: Sequence[int]) -> Shape:
    """The largest patch within ``shape`` whose axes are multiples of ``divisor``; at least one divisor an axis."""
    x, y, z = (max(size // d, 1) * d for size, d in zip(shape, divisor, strict=True))
    return x, y, z


def patch_for(patches: Sequence[Shape], depth: int) -> Shape:
    """The deepest of ``patches`` that a volume of ``depth`` slices holds; the shallowest where it holds none (it is padded)."""
    ordered = sorted(patches, key=lambda patch: patch[2])
    return next((patch for patch in reversed(ordered) if patch[2] <= depth), ordered[0])


def _kernel(spacing: Sequence[float], before: Shape) -> Shape:
    x, y, z = (3 if before[a] == 3 or spacing[a] / min(spacing) < 2 else 1 for a in range(3))
    return x, y, z
