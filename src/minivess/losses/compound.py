"""The losses that train: weighted sums of terms on one foreground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from minivess.errors import ConfigError
from minivess.losses.foreground import Foreground, foreground
from minivess.losses.overlap import cross_entropy, soft_dice
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
