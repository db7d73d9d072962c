"""Losses that compare volumes: cross-entropy and soft Dice of the foreground (nnU-Net), and Tversky."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from minivess.losses.foreground import Foreground

_STRAIGHT_BELOW = 1e-6


def cross_entropy(view: Foreground) -> Tensor:
    """``-mean(g log p + (1 - g) log(1 - p))``: mean cross-entropy of the voxels that count.

    p is the foreground probability and g the label. The binary form equals the cross-entropy of two channels. Unlike
    ``torch.nn.functional.cross_entropy``, it sums in the same order each time on a GPU.

    Args:
        view: Foreground of the batch.

    Returns:
        A scalar; 0 if no voxel counts.
    """
    if view.mask is None:
        return F.binary_cross_entropy_with_logits(view.logit, view.label)
    weight = view.mask.to(view.logit.dtype)
    total = F.binary_cross_entropy_with_logits(view.logit, view.label, weight, reduction="sum")
    return total / weight.sum().clamp_min(1)


def soft_dice(view: Foreground, smooth: float = 1e-5) -> Tensor:
    """``1 - (2 sum(p g) + smooth) / (sum(p) + sum(g) + smooth)``: soft Dice loss over the whole batch.

    p is the foreground probability and g the label.

    Args:
        view: Foreground of the batch.
        smooth: Added to the numerator and denominator.

    Returns:
        A scalar in [0, 1); 0 if prediction and label are empty.
    """
    overlap = (view.prob * view.label).sum()
    size = view.prob.sum() + view.label.sum()
    return 1 - (2 * overlap + smooth) / (size + smooth)


def soft_tversky(view: Foreground, alpha: float, beta: float, smooth: float = 1e-5) -> Tensor:
    """``1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)``: Tversky loss over the whole batch (Salehi et al. 2017).

    With p the foreground probability and g the label, TP is ``sum(p g)``, FP is ``sum(p (1 - g))`` and FN is
    ``sum((1 - p) g)``. With alpha = beta = 0.5 it is the soft Dice loss.

    Args:
        view: Foreground of the batch.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        smooth: Added to the numerator and denominator.

    Returns:
        A scalar in [0, 1); 0 if prediction and label are empty.
    """
    found = (view.prob * view.label).sum()
    invented, missed = view.prob.sum() - found, view.label.sum() - found
    return 1 - (found + smooth) / (found + alpha * invented + beta * missed + smooth)


def soft_focal_tversky(view: Foreground, alpha: float, beta: float, gamma: float) -> Tensor:
    """``t^(1 / gamma)`` of the `soft_tversky` loss t: a steeper end for gamma above 1 (Abraham and Khan, ISBI 2019).

    The slope of the power is infinite at t = 0. Below 1e-6 the loss is therefore a straight line to 0.

    Args:
        view: Foreground of the batch.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        gamma: The inverse of the exponent.

    Returns:
        A scalar in [0, 1); 0 if prediction and label are empty.
    """
    tversky = soft_tversky(view, alpha, beta)
    return tversky * tversky.clamp_min(_STRAIGHT_BELOW) ** (1 / gamma - 1)
