"""SCNP: each logit becomes the worst one among the neighbours in its own class (Valverde et al., CVPR 2026)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from minivess.losses.foreground import check_shapes
from minivess.losses.pooling import maximum_3x3x3, maximum_3x3x3_backward, swap_yz

_VESSEL, _BACKGROUND = slice(0, 2), slice(2, 4)
"""Channels of the pooled images: both logits of the vessel's windows, then both logits of the background's windows."""


class SameClassNeighbourPenalty(nn.Module):
    """``loss(worst_same_class_neighbour(logits))``: SCNP before any loss, in training only.

    After ``eval()``, the loss sees the logits as they are.

    Args:
        loss: Called as ``loss(logits, label, mask)``.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.label_mark = getattr(loss, "label_mark", None)

    def forward(self, logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training:
            logits = worst_same_class_neighbour(logits, label, mask)
        value: Tensor = self.loss(logits, label, mask)
        return value


def worst_same_class_neighbour(logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
    """``y min(z where y = 1) + (1 - y) max(z where y = 0)``, over 3x3x3 voxels, for each channel with its own y.

    z is a logit. y is 1 where the voxel belongs to the class of the channel. The lowest logit of the own class and the
    highest logit of the other class are the worst ones. The voxel itself is in its window, so it stands if it has no
    neighbour of its class (Valverde et al., arXiv 2603.18671).

    Args:
        logits: ``(B, 2, X, Y, Z)``, any floating type; half precision is converted to float32.
        label: ``(B, 1, X, Y, Z)``; a voxel is vessel if its value is above 0.5.
        mask: ``(B, 1, X, Y, Z)``, False in padding. Padding is no neighbour, and its logits do not change: the result
            equals that of the cropped patch.

    Returns:
        ``(B, 2, X, Y, Z)`` logits. If voxels of a window tie, the first one gets the gradient.

    Raises:
        ConfigError: A shape is not as above.
    """
    check_shapes(logits, label, mask)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counts = None if mask is None else swap_yz(mask.bool())
    return swap_yz(_WorstNeighbour.apply(swap_yz(precise), swap_yz(label > 0.5), counts))


class _WorstNeighbour(torch.autograd.Function):
    """The maximum of a penalty over the voxels of one class; the backward pass computes it again instead of storing it."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, vessel: Tensor, counts: Tensor | None) -> Tensor:
        ctx.save_for_backward(logits, vessel, counts)
        pooled = maximum_3x3x3(_by_class(_penalty(logits, vessel), vessel, counts, -torch.inf))[-1]
        worst = _penalty(_of_own_class(pooled, vessel), vessel)
        return worst if counts is None else torch.where(counts, worst, logits)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, vessel, counts = ctx.saved_tensors
        grad = grad.contiguous()
        pooled = maximum_3x3x3(_by_class(_penalty(logits, vessel), vessel, counts, -torch.inf))
        by_class = maximum_3x3x3_backward(_by_class(_penalty(grad, vessel), vessel, counts, 0.0), pooled)
        to_logits = _penalty(_of_own_class(by_class, vessel), vessel)
        return to_logits if counts is None else torch.where(counts, to_logits, grad), None, None


def _penalty(logits: Tensor, vessel: Tensor) -> Tensor:
    """Logits with the sign that makes the worst one the largest: minus in the channel of the voxel's own class.

    Applied twice, it changes nothing.
    """
    sign = 1 - 2 * vessel.to(logits.dtype)
    return logits * torch.cat([-sign, sign], 1)


def _by_class(values: Tensor, vessel: Tensor, counts: Tensor | None, other: float) -> Tensor:
    """Four channels: the values with ``other`` outside the vessel, and with ``other`` outside the background."""
    background = vessel.logical_not()
    if counts is not None:
        vessel, background = vessel & counts, background & counts
    return torch.cat([values.masked_fill(own.logical_not(), other) for own in (vessel, background)], 1)


def _of_own_class(by_class: Tensor, vessel: Tensor) -> Tensor:
    return torch.where(vessel, by_class[:, _VESSEL], by_class[:, _BACKGROUND])
