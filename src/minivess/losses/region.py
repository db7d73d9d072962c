"""Voxel by voxel and region against region: cross-entropy and soft Dice (nnU-Net, Isensee et al. 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from minivess.losses.foreground import Foreground


def cross_entropy(view: Foreground) -> Tensor:
    """Mean cross-entropy of the voxels that count; 0 where none does.

    With two channels it is the binary cross-entropy of the foreground logit, which, unlike the general one, sums in
    the same order each time on a GPU.
    """
    if view.mask is None:
        return F.binary_cross_entropy_with_logits(view.logit, view.label)
    weight = view.mask.to(view.logit.dtype)
    total = F.binary_cross_entropy_with_logits(view.logit, view.label, weight, reduction="sum")
    return total / weight.sum().clamp_min(1)


def soft_dice(view: Foreground, smooth: float = 1e-5) -> Tensor:
    """One minus the soft Dice of the foreground over the whole batch; 0 where prediction and label are empty."""
    overlap = (view.prob * view.label).sum()
    size = view.prob.sum() + view.label.sum()
    return 1 - (2 * overlap + smooth) / (size + smooth)
