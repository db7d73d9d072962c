"""Cross-entropy and soft Dice of the foreground (nnU-Net, Isensee et al. 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from minivess.losses.foreground import Foreground


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
