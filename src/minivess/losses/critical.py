"""Cross-entropy where the topology is wrong: the second term of the loss ``warp``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minivess.losses.foreground import Foreground
from minivess.losses.region import cross_entropy, soft_dice


def critical_cross_entropy(view: Foreground, strength: float, onset: float) -> Tensor:
    """``(1 - s) CE + s strength CE_critical / |P or G|``: cross-entropy at the critical points (Hu, NeurIPS 2022).

    CE is the mean cross-entropy of all voxels. CE_critical is the sum of the cross-entropy over the critical points of
    homotopy warping (``minivess.losses.warping.critical_points``). |P or G| is the number of voxels that are vessel in
    the prediction or in the label. The share ``s = clamp((D - onset) / (1 - onset), 0, 1)`` rises with the soft Dice D
    of that batch, from 0 at ``onset`` to 1 at a perfect Dice.

    The share is needed because two states of the network are traps. If the network finds nothing, all critical points
    are vessel voxels. If it labels everything as vessel, there are almost no critical points, because a solid block can
    shrink to any mask without a hole. Dice has almost no gradient in either state. A network trained on Dice and
    critical points from the start may end in one of them. With the share, a network that does not segment, or no longer
    does, is trained by Dice and the cross-entropy of all voxels, which recover from any start.

    The loss keeps no state and does not count epochs. No gradient flows through D or the warping. The value does not
    measure progress: it rises when the critical points start to count.

    Args:
        view: Foreground of the batch.
        strength: Weight of a critical point relative to a voxel of the Dice. It does not depend on the number of
            critical points, because the sum is divided by |P or G|.
        onset: Soft Dice of the batch from which critical points count; at least 0 and below 1.

    Returns:
        A scalar; 0 if no voxel counts.
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
    """Critical points of bool masks (B, 1, X, Y, Z), always computed on the CPU; all False if the share is 0 or NaN."""
    if not share > 0:
        return torch.zeros_like(label)
    from minivess.losses.warping import critical_points  # Numba is slow to load, and tracing does not need it

    pairs = zip(prediction[:, 0].cpu().numpy(), label[:, 0].cpu().numpy(), strict=True)
    return torch.from_numpy(np.stack([critical_points(*pair) for pair in pairs])[:, None]).to(label.device)


@_critical_points.register_fake
def _(prediction: Tensor, label: Tensor, share: Tensor) -> Tensor:
    return torch.empty_like(label)
