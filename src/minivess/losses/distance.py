"""Exact Euclidean distance to the background, up to a limit; without SciPy, so it runs on the GPU and can be traced."""

from __future__ import annotations

from torch import Tensor

_SPATIAL_AXES = (2, 3, 4)


def capped_distance(mask: Tensor, reach: int, valid: Tensor | None = None) -> Tensor:
    """``min(distance to the nearest background voxel, reach)`` for every voxel.

    The squared distance is separable: it is the lower envelope of parabolas along one axis after the other
    (Felzenszwalb and Huttenlocher 2012). Up to ``reach``, each envelope is the minimum of fewer than ``2 reach``
    shifted copies. The result is exact in float32 while ``3 reach^2 < 2^24``.

    Args:
        mask: ``(B, C, X, Y, Z)`` bool. Voxels outside the array do not count as background.
        reach: Upper limit of the distance, in voxels.
        valid: ``(B, 1 or C, X, Y, Z)`` bool, False in padding. Padding does not count as background.

    Returns:
        ``(B, C, X, Y, Z)`` float32 distances in voxels: 0 in the background, and ``reach`` everywhere if a sample has
        no background.
    """
    background = mask.logical_not() if valid is None else mask.logical_not().logical_and_(valid)
    squared = background.logical_not().float().mul_(reach**2)
    for axis in _SPATIAL_AXES:
        squared = _lower_envelope(squared, axis, reach)
    return squared.sqrt_()


def _lower_envelope(squared: Tensor, axis: int, reach: int) -> Tensor:
    """Minimum over all shifts ``|s| < reach`` of ``squared`` shifted by s along the axis, plus ``s^2``."""
    size = squared.shape[axis]
    envelope = squared.clone()
    for shift in range(1, min(reach, size)):
        raised = squared + shift**2
        ahead, behind = (envelope.narrow(axis, start, size - shift) for start in (shift, 0))
        ahead.clamp_max_(raised.narrow(axis, 0, size - shift))
        behind.clamp_max_(raised.narrow(axis, shift, size - shift))
    return envelope
