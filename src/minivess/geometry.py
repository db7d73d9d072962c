"""Which axes a U-Net halves at each level: strides, kernels and the divisor of each axis, from patch and spacing.

The rule is that of nnU-Net (Isensee et al. 2021, network topology). An axis is pooled only if its spacing is within a
factor of two of the finest and it has enough voxels left. A coarse axis has kernel size 1 until its spacing is within
that factor, too. nnU-Net stops at four voxels along an axis. Here two are allowed, because some two-photon stacks have
only five slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

MIN_EDGE = 2
"""Smallest number of voxels along an axis after pooling."""


@dataclass(frozen=True)
class StridePlan:
    """Strides and kernels (X, Y, Z) of each level, the finest level first; the first stride is always (1, 1, 1)."""

    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def divisor(self) -> Shape:
        """The patch must be a multiple of this along each axis: 2 to the power of the number of stride-2 levels."""
        product = [1, 1, 1]
        for stride in self.strides:
            product = [size * step for size, step in zip(product, stride, strict=True)]
        return product[0], product[1], product[2]


def plan_strides(
    patch: Sequence[int], spacing_um: Sequence[float], levels: int, min_edge: int = MIN_EDGE
) -> StridePlan:
    """Plan the levels of a U-Net for a patch.

    Sizes that cannot be halved evenly are rounded down, as in `round_down`, so no halved axis ends below ``min_edge``
    voxels.

    Args:
        patch: Patch size X, Y, Z in voxels.
        spacing_um: Voxel size along X, Y, Z.
        levels: Maximum number of levels; there are fewer if no axis can be halved further.
        min_edge: Smallest number of voxels along an axis after pooling.
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
    """The largest patch within ``shape`` with axes that are multiples of ``divisor``, at least one divisor each."""
    x, y, z = (max(size // d, 1) * d for size, d in zip(shape, divisor, strict=True))
    return x, y, z


def patch_for(patches: Sequence[Shape], depth: int) -> Shape:
    """The deepest of ``patches`` that fits in a volume of ``depth`` slices.

    If none fits, it is the shallowest of them, and the volume is padded.
    """
    ordered = sorted(patches, key=lambda patch: patch[2])
    return next((patch for patch in reversed(ordered) if patch[2] <= depth), ordered[0])


def _kernel(spacing: Sequence[float], before: Shape) -> Shape:
    x, y, z = (3 if before[a] == 3 or spacing[a] / min(spacing) < 2 else 1 for a in range(3))
    return x, y, z
