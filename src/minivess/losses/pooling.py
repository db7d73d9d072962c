"""Minimum and maximum over windows of three voxels, with gradients that are the same to the last bit each time.

``torch.nn.functional.max_pool3d`` keeps an index of 8 bytes per voxel for its backward pass, which on a GPU adds in an
order that changes from run to run. Here the gradient is found again from the values.

All images here are ``(B, C, X, Z, Y)``, see `swap_yz`: a patch is much longer along y than along z, and operations on
long rows are faster.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

X_AXIS, Z_AXIS, Y_AXIS = AXES = (2, 3, 4)
_ClampInPlace = Callable[[Tensor, Tensor], Tensor]


def swap_yz(image: Tensor) -> Tensor:
    """Copy an image ``(B, C, X, Y, Z)`` to the layout ``(B, C, X, Z, Y)``, or back."""
    return image.transpose(3, 4).contiguous()


def clamp_by_neighbours(pooled: Tensor, image: Tensor, axis: int, clamp_: _ClampInPlace) -> Tensor:
    """Clamp every voxel of ``pooled`` by its neighbours in ``image`` along one axis: two, or one at the border."""
    span = image.shape[axis] - 1
    clamp_(pooled.narrow(axis, 1, span), image.narrow(axis, 0, span))
    clamp_(pooled.narrow(axis, 0, span), image.narrow(axis, 1, span))
    return pooled


def pool(image: Tensor, axis: int, clamp_: _ClampInPlace) -> Tensor:
    """Minimum (``Tensor.clamp_max_``) or maximum (``Tensor.clamp_min_``) over a window of three voxels along one axis."""
    return clamp_by_neighbours(image.clone(), image, axis, clamp_)


def pool_backward(grad: Tensor, image: Tensor, pooled: Tensor, axis: int) -> Tensor:
    """Gradient of `pool` with respect to its image. If voxels of a window tie, the first one gets the gradient."""
    span = image.shape[axis] - 1
    to_previous = _equal(image.narrow(axis, 0, span), pooled.narrow(axis, 1, span)).mul_(grad.narrow(axis, 1, span))
    to_next = grad.clone()
    to_next.narrow(axis, 1, span).sub_(to_previous)
    to_same = _equal(image, pooled).mul_(to_next)
    to_next.sub_(to_same)
    to_same.narrow(axis, 0, span).add_(to_previous)
    to_same.narrow(axis, 1, span).add_(to_next.narrow(axis, 0, span))
    return to_same


def _equal(first: Tensor, second: Tensor) -> Tensor:
    """1.0 where equal, else 0.0. On a CPU this is several times faster than converting a bool tensor."""
    return torch.eq(first, second, out=torch.empty_like(first))


def maximum_3x3x3(image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maximum over 3x3x3 voxels.

    Args:
        image: ``(B, C, X, Z, Y)``. Voxels outside the array do not count.

    Returns:
        What `maximum_3x3x3_backward` needs: the image and its maxima along z, along zy and along zyx, which is the result.
    """
    along_z = pool(image, Z_AXIS, Tensor.clamp_min_)
    along_zy = pool(along_z, Y_AXIS, Tensor.clamp_min_)
    return image, along_z, along_zy, pool(along_zy, X_AXIS, Tensor.clamp_min_)


def maximum_3x3x3_backward(grad: Tensor, pooled: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Gradient of `maximum_3x3x3` by its image. Of voxels that tie, the first in the order x, y, z gets it."""
    for step, axis in ((2, X_AXIS), (1, Y_AXIS), (0, Z_AXIS)):
        grad = pool_backward(grad, pooled[step], pooled[step + 1], axis)
    return grad
