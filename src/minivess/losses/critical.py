"""Cross-entropy where the topology is wrong: the second term of the loss ``warp``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minivess.losses.foreground import Foreground
from minivess.losses.region import cross_entropy, soft_dice


def critical_cross_entropy(view: Foreground, strength: float, onset: float) -> Tensor:
    """Cross-entropy at the critical points of homotopy warping (Hu, NeurIPS 2022), once the network segments at all.

    The critical points (``minivess.losses.warping.critical_points``) of a network that finds nothing are vessel alone,
    those of one that paints everything next to none, since a solid block shrinks to anything without a hole; and Dice
    has next to no gradient in either state. Trained on these two from the start, a network may well end in one state or the other.
    So the critical points count by a share s that rises with the soft Dice D of the very batch, from 0 at
    ``onset`` to 1 at 1, and the cross-entropy of all voxels by 1 - s: a network that does not segment, or no longer
    does, learns by Dice and cross-entropy, which find the way from any start. There is no state, no count of
    epochs, and no gradient through D or the warping.

    Its value is therefore no measure of progress: it rises where critical points begin to count.

    Args:
        view: What the loss looks at.
        strength: How many times a critical point weighs what a voxel of the Dice weighs: the sum over critical points is
            divided by the voxels that are vessel in prediction or label, whatever the number of critical points.
        onset: Soft Dice from which critical points count, at least 0 and below 1.

    Returns:
        A scalar, 0 where nothing counts.
    """
    predicted, vessel = view.prob > 0.5, view.label > 0.5
    share = ((1 - soft_dice(view, smooth=1.0).detach() - onset) / (1 - onset)).clamp(0, 1)
    critical = _critical_points(predicted, vessel, share).to(view.logit.dtype)
    total = F.binary_cross_entropy_with_logits(view.logit, view.label, critical, reduction="sum")
    at_critical = total / (predicted | vessel).sum().clamp_min(1)
    return (1 - share) * cross_entropy(view) + share * strength * at_critical


@torch.library.custom_op(
    "minivess::critical_points",
    mutates_args=(),
    schema="(Tensor prediction, Tensor label, Tensor share) -> Tensor",
)
def _critical_points(prediction: Tensor, label: Tensor, share: Tensor) -> Tensor:
    """Critical points of bool masks (B, 1, X, Y, Z), on the CPU whatever their device; none where the share is 0 or NaN."""
    if not share > 0:
        return torch.zeros_like(label)
    from minivess.losses.warping import critical_points  # Numba takes its time, and tracing comes by without

    pairs = zip(prediction[:, 0].cpu().numpy(), label[:, 0].cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([critical_points(*pair) for pair in pairs])[:, None]).to(label.device)


@_critical_points.register_fake
def _(prediction: Tensor, label: Tensor, share: Tensor) -> Tensor:
    return torch.empty_like(label)
