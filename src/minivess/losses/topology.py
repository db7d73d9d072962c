"""Losses that look at centrelines: soft clDice and cbDice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from minivess.errors import ConfigError
from minivess.losses.distance import capped_distance
from minivess.losses.foreground import Foreground, foreground
from minivess.losses.skeleton import soft_skeleton


def soft_cldice(
    prob: Tensor, label: Tensor, iterations: int = 10, smooth: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Soft clDice loss of Shit et al. (CVPR 2021, arXiv 2003.07311) on the foreground, sums over the whole batch.

    Args:
        prob: ``(B, 1, X, Y, Z)`` foreground probability.
        label: ``(B, 1, X, Y, Z)``, the vessel is what lies above 0.5; its skeleton carries no gradient.
        iterations: Erosions of the soft skeleton, at least the largest vessel radius in voxels.
        smooth: Added to numerator and denominator, so that an empty skeleton counts as found.
        mask: ``(B, 1, X, Y, Z)``, False in padding; the loss is then the one of the cropped patch.

    Returns:
        A scalar in [0, 1): 0 where both skeletons lie within the other's vessel, and where both are empty.

    Raises:
        ConfigError: If the shapes differ or there is more than one channel.
    """
    if prob.ndim != 5 or prob.shape[1] != 1 or prob.shape != label.shape:
        raise ConfigError(
            "foreground probability and label, both (B, 1, X, Y, Z)",
            f"{tuple(prob.shape)} and {tuple(label.shape)}",
            "pass softmax(logits)[:, 1:] and a label of one channel",
        )
    prob = prob.to(torch.promote_types(prob.dtype, torch.float32))
    vessel = label > 0.5
    if mask is not None:
        prob, vessel = prob * mask, vessel & mask
    skeleton = soft_skeleton(prob, iterations, mask)
    label_skeleton = soft_skeleton(vessel, iterations, mask)
    precision = ((skeleton * vessel).sum() + smooth) / (skeleton.sum() + smooth)
    sensitivity = ((label_skeleton * prob).sum() + smooth) / (label_skeleton.sum() + smooth)
    return 1 - _harmonic_mean(precision, sensitivity)


def cb_dice(
    logits: Tensor, label: Tensor, iterations: int = 10, smooth: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Centreline boundary Dice of Shi et al. (MICCAI 2024, arXiv 2407.01517), negated, sums over the whole batch.

    Follows the authors' code with its later squared linear radius weight. Skeletons and distances come from the masks
    p > 0.5 and label without gradient; the gradient reaches the logits through p alone.

    Args:
        logits: ``(B, 2, X, Y, Z)``.
        label: ``(B, 1, X, Y, Z)``, the vessel is what lies above 0.5.
        iterations: Erosions of the skeleton, at least the largest vessel radius in voxels.
        smooth: Added to numerators and denominators, so that an empty skeleton counts as found.
        mask: ``(B, 1, X, Y, Z)``, False in padding; the loss is then the one of the cropped patch.

    Returns:
        A scalar in [-1, 0), -1 at best. The gradient is zero where both skeletons are empty.

    Raises:
        ConfigError: If a shape is not as above.
    """
    return cb_dice_of_view(foreground(logits, label, mask), iterations, smooth)


def cb_dice_of_view(view: Foreground, iterations: int, smooth: float) -> Tensor:
    """`cb_dice` on what `foreground` returned."""
    true = _radius_weights(view.label > 0.5, iterations, view.mask)
    found = _radius_weights(view.prob > 0.5, iterations, view.mask).times(view.prob)
    precision = _weighted_overlap(found, true, smooth)
    sensitivity = _weighted_overlap(true, found, smooth)
    return -_harmonic_mean(precision, sensitivity)


@dataclass(frozen=True)
class _RadiusWeights:
    """Weights of one vessel mask by its radii; on the skeleton, and 0 off it, unless said otherwise.

    Attributes:
        depth: Distance to the background over the largest radius, everywhere in the mask (Q_V).
        radius: The same on the skeleton (Q_SV).
        thinness: Squared, 1 + 1 / largest radius minus ``radius``: thin vessels weigh as much as thick ones (Q_S).
        skeleton: 1 on the skeleton.
    """

    depth: Tensor
    radius: Tensor
    thinness: Tensor
    skeleton: Tensor

    def times(self, prob: Tensor) -> _RadiusWeights:
        return _RadiusWeights(self.depth * prob, self.radius * prob, self.thinness * prob, self.skeleton)


@torch.no_grad()
def _radius_weights(vessel: Tensor, iterations: int, mask: Tensor | None) -> _RadiusWeights:
    """Weights of a bool mask ``(B, 1, X, Y, Z)``, each sample by its own largest radius, at least 1.

    A skeleton voxel is gone after one erosion more than it survived, of at most ``iterations``. So no radius is above
    ``iterations + 1``, and no distance above that needs to be known.
    """
    skeleton = soft_skeleton(vessel, iterations, mask).float()
    distance = capped_distance(vessel, iterations + 1, mask)
    largest = (distance * skeleton).amax(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1)
    depth = torch.minimum(distance, largest) / largest
    thinness = ((largest - distance + 1) / largest).square() * skeleton
    return _RadiusWeights(depth, depth * skeleton, thinness, skeleton)


def _weighted_overlap(skeleton_of: _RadiusWeights, vessel_of: _RadiusWeights, smooth: float) -> Tensor:
    """How much of one skeleton lies deep in the other vessel, its voxels weighted by thinness."""
    only_here = skeleton_of.radius * (1 - vessel_of.skeleton)
    possible = (vessel_of.radius + only_here) * skeleton_of.thinness
    return ((skeleton_of.thinness * vessel_of.depth).sum() + smooth) / (possible.sum() + smooth)


def _harmonic_mean(precision: Tensor, sensitivity: Tensor) -> Tensor:
    return 2 * precision * sensitivity / (precision + sensitivity)
