"""Losses that compare centrelines: soft clDice, clCE and cbDice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from minivess.errors import ConfigError
from minivess.losses.distance import capped_distance
from minivess.losses.foreground import Foreground, foreground
from minivess.losses.skeleton import soft_skeleton


def soft_cldice(
    prob: Tensor, label: Tensor, iterations: int = 10, smooth: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """``1 - 2 Tprec Tsens / (Tprec + Tsens)``: soft clDice loss of Shit et al. (CVPR 2021, arXiv 2003.07311).

    With S the soft skeleton, p the foreground probability and g the label, Tprec is
    ``(sum S(p) g + smooth) / (sum S(p) + smooth)`` and Tsens is ``(sum S(g) p + smooth) / (sum S(g) + smooth)``. The
    sums run over the whole batch.

    Args:
        prob: ``(B, 1, X, Y, Z)`` foreground probability.
        label: ``(B, 1, X, Y, Z)``; a voxel is vessel if its value is above 0.5. No gradient flows through its skeleton.
        iterations: Number of erosions of the soft skeleton; at least the largest vessel radius in voxels.
        smooth: Added to the numerators and denominators, so that an empty skeleton counts as found.
        mask: ``(B, 1, X, Y, Z)``, False in padding. The loss then equals that of the cropped patch.

    Returns:
        A scalar in [0, 1): 0 if each skeleton is within the other vessel, and if both skeletons are empty.

    Raises:
        ConfigError: The shapes differ, or there is more than one channel.
    """
    if prob.ndim != 5 or prob.shape[1] != 1 or prob.shape != label.shape:
        raise ConfigError(
            "a foreground probability and a label, both of shape (B, 1, X, Y, Z)",
            f"{tuple(prob.shape)} and {tuple(label.shape)}",
            "pass softmax(logits)[:, 1:] and a label with one channel",
        )
    prob = prob.to(torch.promote_types(prob.dtype, torch.float32))
    vessel = label > 0.5
    if mask is not None:
        prob, vessel = prob.masked_fill(mask.logical_not(), 0), vessel & mask
    skeleton = soft_skeleton(prob, iterations, mask)
    label_skeleton = soft_skeleton(vessel, iterations, mask)
    precision = ((skeleton * vessel).sum() + smooth) / (skeleton.sum() + smooth)
    sensitivity = ((label_skeleton * prob).sum() + smooth) / (label_skeleton.sum() + smooth)
    return 1 - _harmonic_mean(precision, sensitivity)


def centreline_cross_entropy(view: Foreground, iterations: int) -> Tensor:
    """``mean(E S(g)) + mean(E S(p))``: cross-entropy on both centrelines, clCE of Acebes et al. (MICCAI 2024).

    E is the cross-entropy of a voxel, S the soft skeleton, p the foreground probability and g the label. The means run
    over all voxels of the batch that count. The gradient flows through E and through S(p).

    Args:
        view: Foreground of the batch.
        iterations: Number of erosions of the soft skeleton; at least the largest vessel radius in voxels.

    Returns:
        A scalar of at least 0; 0 if both skeletons are empty, and if no voxel counts.
    """
    entropy = F.binary_cross_entropy_with_logits(view.logit, view.label, reduction="none")
    skeletons = soft_skeleton(view.prob, iterations, view.mask) + soft_skeleton(view.label > 0.5, iterations, view.mask)
    total = (entropy * skeletons).sum()
    return total / (entropy.numel() if view.mask is None else view.mask.sum().clamp_min(1))


def cb_dice(
    logits: Tensor, label: Tensor, iterations: int = 10, smooth: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """``-2 P S / (P + S)``: negative centreline boundary Dice of Shi et al. (MICCAI 2024, arXiv 2407.01517).

    P is the weighted precision, ``(sum Q_Sp Q_Vl + smooth) / (sum mix(Q_SpVp, Q_SlVl) Q_Sp + smooth)``. The indices p
    and l stand for prediction and label. mix takes Q_SlVl, except at voxels where only Q_SpVp is non-zero. S is the
    sensitivity, with the roles of prediction and label exchanged. The sums run over the whole batch. `_RadiusWeights`
    defines the weights Q.

    The code follows the authors' implementation with its later squared linear radius weight. Skeletons and distances
    are computed without a gradient from the masks p > 0.5 and label. The gradient reaches the logits through p alone.

    Args:
        logits: ``(B, 2, X, Y, Z)``.
        label: ``(B, 1, X, Y, Z)``; a voxel is vessel if its value is above 0.5.
        iterations: Number of erosions of the skeleton; at least the largest vessel radius in voxels.
        smooth: Added to the numerators and denominators, so that an empty skeleton counts as found.
        mask: ``(B, 1, X, Y, Z)``, False in padding. The loss then equals that of the cropped patch.

    Returns:
        A scalar in [-1, 0); -1 is best. The gradient is zero if both skeletons are empty.

    Raises:
        ConfigError: A shape is not as above.
    """
    return cb_dice_of_view(foreground(logits, label, mask), iterations, smooth)


def cb_dice_of_view(view: Foreground, iterations: int, smooth: float) -> Tensor:
    """Compute `cb_dice` for a `Foreground` instead of logits, label and mask. Arguments and result are the same."""
    true = _radius_weights(view.label > 0.5, iterations, view.mask)
    found = _radius_weights(view.prob > 0.5, iterations, view.mask).times(view.prob)
    precision = _weighted_overlap(found, true, smooth)
    sensitivity = _weighted_overlap(true, found, smooth)
    return -_harmonic_mean(precision, sensitivity)


@dataclass(frozen=True)
class _RadiusWeights:
    """Weights Q of one vessel mask, computed from its radii. All tensors are (B, 1, X, Y, Z).

    Attributes:
        depth: Q_V: distance to the background divided by the largest radius; 0 outside the mask.
        radius: Q_SV: ``depth`` on the skeleton; 0 elsewhere.
        thinness: Q_S: ``(1 + 1 / largest radius - radius)^2`` on the skeleton, 0 elsewhere. It makes thin vessels count
            as much as thick ones.
        skeleton: 1 on the skeleton; 0 elsewhere.
    """

    depth: Tensor
    radius: Tensor
    thinness: Tensor
    skeleton: Tensor

    def times(self, prob: Tensor) -> _RadiusWeights:
        return _RadiusWeights(self.depth * prob, self.radius * prob, self.thinness * prob, self.skeleton)


@torch.no_grad()
def _radius_weights(vessel: Tensor, iterations: int, mask: Tensor | None) -> _RadiusWeights:
    """Compute the weights of a bool mask ``(B, 1, X, Y, Z)``.

    Each sample is scaled by its own largest radius in voxels, or by 1 if that is smaller.
    A skeleton voxel survives at most ``iterations`` erosions, so no radius is above ``iterations + 1``. Distances above
    that limit do not affect the result.
    """
    skeleton = soft_skeleton(vessel, iterations, mask).float()
    distance = capped_distance(vessel, iterations + 1, mask)
    largest = (distance * skeleton).amax(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1)
    depth = torch.minimum(distance, largest) / largest
    thinness = ((largest - distance + 1) / largest).square() * skeleton
    return _RadiusWeights(depth, depth * skeleton, thinness, skeleton)


def _weighted_overlap(skeleton_of: _RadiusWeights, vessel_of: _RadiusWeights, smooth: float) -> Tensor:
    """Share of one skeleton that is inside the other vessel, weighted by thinness and by the depth in that vessel."""
    only_here = skeleton_of.radius * (1 - vessel_of.skeleton)
    possible = (vessel_of.radius + only_here) * skeleton_of.thinness
    return ((skeleton_of.thinness * vessel_of.depth).sum() + smooth) / (possible.sum() + smooth)


def _harmonic_mean(precision: Tensor, sensitivity: Tensor) -> Tensor:
    return 2 * precision * sensitivity / (precision + sensitivity)
