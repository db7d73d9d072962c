"""The losses that train: weighted sums of terms on one foreground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from minivess.errors import ConfigError
from minivess.losses.critical import critical_cross_entropy
from minivess.losses.foreground import Foreground, foreground
from minivess.losses.region import cross_entropy, soft_dice
from minivess.losses.skeleton_recall import soft_skeleton_recall
from minivess.losses.topology import cb_dice_of_view, soft_cldice

Term = Callable[[Foreground], Tensor]


class CompoundLoss(nn.Module):
    """Sum of weighted terms, called as ``loss(logits, label, mask=None)``.

    Logits ``(B, 2, X, Y, Z)`` of any floating type, label ``(B, 1, X, Y, Z)``, mask ``(B, 1, X, Y, Z)`` False in
    padding. Returns a scalar of at least float32. Raises `ConfigError` on another shape.
    """

    def __init__(self, terms: Sequence[tuple[float, Term]]) -> None:
        super().__init__()
        self.terms = tuple(terms)

    def forward(self, logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
        view = foreground(logits, label, mask)
        return torch.stack([weight * term(view) for weight, term in self.terms]).sum()


def dice_ce() -> CompoundLoss:
    """Soft Dice of the foreground over the batch plus cross-entropy (nnU-Net, Isensee et al. 2021)."""
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice)])


def dice_ce_cldice(iterations: int = 10, smooth: float = 1.0) -> CompoundLoss:
    """Half `dice_ce`, half soft clDice (Shit et al. 2021).

    Args:
        iterations: Erosions of the soft skeleton, at least the largest vessel radius in voxels.
        smooth: Added to numerators and denominators of clDice.
    """
    return CompoundLoss([(0.5, cross_entropy), (0.5, soft_dice), (0.5, _cldice(iterations, smooth))])


def cbdice(iterations: int = 10, smooth: float = 1.0) -> CompoundLoss:
    """Cross-entropy, Dice and cbDice, 1:1:1 (Shi et al. 2024); -1 at best, since cbDice is a negative Dice.

    Args:
        iterations: Erosions of the skeletons, at least the largest vessel radius in voxels.
        smooth: Added to numerators and denominators of cbDice.
    """
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice), (1.0, _cb_dice(iterations, smooth))])


def cbdice_cldice(iterations: int = 10, smooth: float = 1.0) -> CompoundLoss:
    """Mean of `cbdice` and `dice_ce_cldice`.

    Args:
        iterations: Erosions of the skeletons, at least the largest vessel radius in voxels.
        smooth: Added to numerators and denominators of cbDice and of clDice.
    """
    centreline = [(0.5, _cb_dice(iterations, smooth)), (0.25, _cldice(iterations, smooth))]
    return CompoundLoss([(0.75, cross_entropy), (0.75, soft_dice), *centreline])


def warp(strength: float = 30.0, onset: float = 0.5) -> CompoundLoss:
    """Dice (smooth 1) and, once the network segments, cross-entropy where its topology is wrong (Hu, NeurIPS 2022).

    Before that, and for good where it never does, it is Dice and cross-entropy: ``critical_cross_entropy`` says why.

    Args:
        strength: How many times a critical point weighs what a voxel of the Dice weighs, above 0. They are about a hundredth of
            the vessel: on phantoms 1 did nothing, 30 mended topology at next to no price in Dice, 100 at a price.
        onset: Soft Dice of the batch from which critical points count, at least 0 and below 1.
    """
    numbers = isinstance(strength, int | float) and isinstance(onset, int | float)
    if not numbers or strength <= 0 or not 0 <= onset < 1:
        raise ConfigError(
            "a strength above 0 and an onset from 0 to below 1",
            f"strength={strength}, onset={onset}",
            "leave `strength` at 30 and `onset` at 0.5",
        )
    at_critical = partial(critical_cross_entropy, strength=strength, onset=onset)
    return CompoundLoss([(1.0, partial(soft_dice, smooth=1.0)), (1.0, at_critical)])


def skeleton_recall(smooth: float = 1.0) -> CompoundLoss:
    """`dice_ce` and skeleton recall, 1:1 (Kirchhoff et al. 2024).

    Args:
        smooth: Added to numerator and denominator of the recall.
    """
    if not isinstance(smooth, int | float) or smooth <= 0:
        raise ConfigError("a smooth above 0", f"smooth={smooth}", "leave `smooth` at 1")
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice), (1.0, partial(soft_skeleton_recall, smooth=smooth))])


def _cldice(iterations: int, smooth: float) -> Term:
    _check_options(iterations, smooth)
    return partial(_cldice_of_view, iterations=iterations, smooth=smooth)


def _cldice_of_view(view: Foreground, iterations: int, smooth: float) -> Tensor:
    return soft_cldice(view.prob, view.label, iterations, smooth, view.mask)


def _cb_dice(iterations: int, smooth: float) -> Term:
    _check_options(iterations, smooth)
    return partial(cb_dice_of_view, iterations=iterations, smooth=smooth)


def _check_options(iterations: int, smooth: float) -> None:
    numbers = isinstance(iterations, int) and isinstance(smooth, int | float)
    if not numbers or iterations < 1 or smooth <= 0:
        raise ConfigError(
            "a whole number of at least 1 iteration and a smooth above 0",
            f"iterations={iterations}, smooth={smooth}",
            "set `iterations` to the largest vessel radius in voxels and leave `smooth` at 1",
        )
