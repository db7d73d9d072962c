"""The soft skeleton of Shit et al. (CVPR 2021, arXiv 2003.07311), with a gradient that recomputes instead of storing.

Built from pooling layers, ten iterations keep 74 index tensors of 8 bytes per voxel for the backward pass, and on a GPU
the backward pass adds in an order that changes from run to run. Here, the forward pass keeps two images (its input and
one product), and the backward pass computes the erosions again. Compared with keeping all twelve erosions, this takes a
twentieth more time and a quarter less memory at the peak. Every step is elementwise, so the gradient is the same to the
last bit each time. If several voxels tie, the gradient goes to the same voxel as in the pooling layers on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from minivess.errors import ConfigError
from minivess.losses.pooling import (
    AXES,
    X_AXIS,
    Y_AXIS,
    Z_AXIS,
    clamp_by_neighbours,
    maximum_3x3x3,
    maximum_3x3x3_backward,
    pool,
    pool_backward,
    swap_yz,
)


def soft_skeleton(x: Tensor, iterations: int, mask: Tensor | None = None) -> Tensor:
    """Compute the soft skeleton of a probability map, or the morphological skeleton of a binary image.

    S starts as relu(x - open(x)). Each iteration sets x = erode(x), d = relu(x - open(x)) and S = S + relu(d - S d).
    Erode is the minimum over the three axis-wise windows of 3 voxels, dilate is the maximum over 3x3x3, and open(x) is
    dilate(erode(x)).

    Args:
        x: ``(B, C, X, Y, Z)`` in [0, 1]. Half precision is computed in float32. An integer or bool image of zeros and
            ones gives the same skeleton in int8, with a quarter of the memory.
        iterations: Number of erosions; at least the largest vessel radius in voxels.
        mask: ``(B, 1 or C, X, Y, Z)``, False in padding. Padding is treated like the outside of the image: the
            skeleton equals that of the cropped image, and is 0 in the padding.

    Returns:
        ``(B, C, X, Y, Z)`` in [0, 1]; all 0 for an empty image and for a full image.

    Raises:
        ConfigError: ``x`` is not five-dimensional, or ``iterations`` is negative.
    """
    if x.ndim != 5 or iterations < 0:
        raise ConfigError(
            "an image of shape (B, C, X, Y, Z) and `iterations` of at least 0",
            f"shape {tuple(x.shape)} and {iterations} iterations",
            "add the missing axes, and set `iterations` to the largest vessel radius in voxels",
        )
    image = swap_yz(x.to(torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.int8))
    if mask is None:
        return swap_yz(_SoftSkeleton.apply(image, None, iterations))
    mask = swap_yz(mask)
    padding = mask.logical_not()
    skeleton = _SoftSkeleton.apply(image.masked_fill(padding, 1), mask.to(image.dtype), iterations)
    return swap_yz(skeleton.masked_fill(padding, 0))


class _SoftSkeleton(torch.autograd.Function):
    """``S = 1 - product of (1 - relu(e - open(e)))`` over the erosions ``e = x, erode(x), erode(erode(x)), ...``.

    This is the authors' recursion ``S + relu(d - S d)`` with ``d = relu(e - open(e))``, written as a product. At any
    voxel, the d of all erosions add up to at most 1, so the inner relu has no effect. The derivative dS / dd is the
    product over the other erosions.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, valid: Tensor | None, iterations: int) -> Tensor:
        skeleton, product = torch.zeros_like(x), torch.ones_like(x)
        level = x
        for _ in range(iterations + 1):
            eroded = _erode(level, valid)
            thin = torch.sub(level, _dilate(eroded, valid)[-1]).clamp_min_(0)
            skeleton.addcmul_(thin, product)
            product.mul_(thin.neg_().add_(1))
            level = eroded
        ctx.save_for_backward(x, valid, product)
        ctx.iterations = iterations
        return skeleton

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, valid, product = ctx.saved_tensors
        # If one factor 1 - d of a voxel is 0, the others are 1. The product without that factor is then 1, but 0 / 0 is
        # undefined; clamping both to tiny gives tiny / tiny = 1.
        tiny = torch.finfo(grad.dtype).tiny
        grad_product = product.clamp_min(tiny).mul_(grad)
        levels = [x]
        for _ in range(ctx.iterations + 1):
            levels.append(_erode(levels[-1], valid))
        grad_level = torch.zeros_like(x)
        while len(levels) > 1:
            pooled = _dilate(levels.pop(), valid)
            thin = torch.sub(levels[-1], pooled[-1]).clamp_min_(0)
            grad_thin = thin.sign().mul_(grad_product).div_(thin.neg_().add_(1).clamp_min_(tiny))
            grad_level.sub_(maximum_3x3x3_backward(grad_thin, pooled))
            if valid is not None:
                grad_level.mul_(valid)
            grad_level = _erode_backward(grad_level, levels[-1]).add_(grad_thin)
        return grad_level, None, None


def _erode(level: Tensor, valid: Tensor | None) -> Tensor:
    """Minimum over the three axis-wise windows. Padding stays 1, the largest value, so it affects no minimum."""
    eroded = level.clone()
    for axis in AXES:
        clamp_by_neighbours(eroded, level, axis, Tensor.clamp_max_)
    return eroded if valid is None else eroded.clamp_min_(1 - valid)


def _erode_backward(grad: Tensor, level: Tensor) -> Tensor:
    """Gradient of `_erode`. Axes that tie share it in the same way as ``torch.minimum(torch.minimum(x, y), z)``."""
    along_x, along_y, along_z = (pool(level, axis, Tensor.clamp_max_) for axis in (X_AXIS, Y_AXIS, Z_AXIS))
    grad_z = _share_of_first(grad, along_z, torch.minimum(along_x, along_y))
    grad_xy = grad - grad_z
    grad_x = _share_of_first(grad_xy, along_x, along_y)
    grad_y = grad_xy.sub_(grad_x)
    total = pool_backward(grad_x, level, along_x, X_AXIS)
    total.add_(pool_backward(grad_y, level, along_y, Y_AXIS))
    return total.add_(pool_backward(grad_z, level, along_z, Z_AXIS))


def _share_of_first(grad: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Gradient of ``torch.minimum(first, second)`` for ``first``: all if ``first`` is smaller, half if both tie, else 0."""
    half = grad * 0.5
    return torch.addcmul(half, half, torch.sub(second, first).sign_())


def _dilate(eroded: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`maximum_3x3x3` of the image with padding 0."""
    return maximum_3x3x3(eroded if valid is None else eroded * valid)
