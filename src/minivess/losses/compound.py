"""The training losses: weighted sums of terms that all read the same foreground."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from minivess.errors import ConfigError
from minivess.losses.critical import critical_cross_entropy
from minivess.losses.foreground import Foreground, foreground
from minivess.losses.region import cross_entropy, soft_dice, soft_focal_tversky, soft_tversky
from minivess.losses.skeleton_recall import Skeleton, TubeOf, VolumeTube, soft_skeleton_recall
from minivess.losses.topology import cb_dice_of_view, centreline_cross_entropy, soft_cldice

if TYPE_CHECKING:
    from minivess.data.array_store import LabelMark

Term = Callable[[Foreground], Tensor]


class CompoundLoss(nn.Module):
    """``sum of weight * term``, called as ``loss(logits, label, mask=None)``.

    Logits are ``(B, 2, X, Y, Z)`` of any floating type. Label and mask are ``(B, 1, X, Y, Z)``; the mask is False in
    padding. The result is a scalar of at least float32. Other shapes raise a `ConfigError`.

    Args:
        terms: Pairs of a weight and a function that maps a `Foreground` to a scalar.
        label_mark: What an experiment draws once in the label of each volume (``minivess.data.array_store.LabelMark``).
            Marked voxels have the label 2; `Foreground.marked` returns them.
    """

    def __init__(self, terms: Sequence[tuple[float, Term]], label_mark: LabelMark | None = None) -> None:
        super().__init__()
        self.terms = tuple(terms)
        self.label_mark = label_mark

    def forward(self, logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
        view = foreground(logits, label, mask)
        return torch.stack([weight * term(view) for weight, term in self.terms]).sum()


def dice_ce() -> CompoundLoss:
    """``CE + Dice``: cross-entropy plus soft Dice of the foreground over the batch (nnU-Net, Isensee et al. 2021)."""
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice)])


def dice_ce_cldice(iterations: int = 10, smooth: float = 1.0) -> CompoundLoss:
    """``0.5 (CE + Dice) + 0.5 clDice``: half `dice_ce`, half soft clDice (Shit et al., CVPR 2021).

    Args:
        iterations: Number of erosions of the soft skeleton; at least the largest vessel radius in voxels.
        smooth: Added to the numerators and denominators of clDice.
    """
    return CompoundLoss([(0.5, cross_entropy), (0.5, soft_dice), (0.5, _cldice(iterations, smooth))])


def cbdice(iterations: int = 10, smooth: float = 1.0) -> CompoundLoss:
    """``CE + Dice + cbDice``, 1:1:1 (Shi et al., MICCAI 2024). Its minimum is -1, because cbDice is a negative Dice.

    Args:
        iterations: Number of erosions of the soft skeletons; at least the largest vessel radius in voxels.
        smooth: Added to the numerators and denominators of cbDice.
    """
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice), (1.0, _cb_dice(iterations, smooth))])


def cbdice_cldice(iterations: int = 10, smooth: float = 1.0) -> CompoundLoss:
    """``0.5 (cbdice + dice_ce_cldice)``: the mean of `cbdice` and `dice_ce_cldice`. Its minimum is -0.5.

    Args:
        iterations: Number of erosions of the soft skeletons; at least the largest vessel radius in voxels.
        smooth: Added to the numerators and denominators of cbDice and clDice.
    """
    centreline = [(0.5, _cb_dice(iterations, smooth)), (0.25, _cldice(iterations, smooth))]
    return CompoundLoss([(0.75, cross_entropy), (0.75, soft_dice), *centreline])


def clce(iterations: int = 10) -> CompoundLoss:
    """``CE + Dice + clCE``: `dice_ce` and cross-entropy on both centrelines, 1:1 (Acebes et al., MICCAI 2024).

    Args:
        iterations: Number of erosions of the soft skeletons; at least the largest vessel radius in voxels.
    """
    _check_options(iterations)
    on_centrelines = partial(centreline_cross_entropy, iterations=iterations)
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice), (1.0, on_centrelines)])


def warp(strength: float = 30.0, onset: float = 0.5) -> CompoundLoss:
    """``Dice + critical cross-entropy``: Dice (smooth 1) and cross-entropy at topology errors (Hu, NeurIPS 2022).

    The critical points count only after the network has started to segment. Until then the loss is Dice plus
    cross-entropy over all voxels. ``critical_cross_entropy`` explains why.

    Args:
        strength: Weight of a critical point relative to a voxel of the Dice, above 0. Critical points are about one
            hundredth of the vessel. On phantoms, 1 had no effect, 30 fixed the topology at almost no loss of Dice, and
            100 reduced the Dice.
        onset: Soft Dice of the batch from which critical points count; at least 0 and below 1.
    """
    numbers = isinstance(strength, int | float) and isinstance(onset, int | float)
    if not numbers or strength <= 0 or not 0 <= onset < 1:
        raise ConfigError(
            "`strength` above 0, and `onset` at least 0 and below 1",
            f"strength={strength}, onset={onset}",
            "leave `strength` at 30 and `onset` at 0.5",
        )
    at_critical = partial(critical_cross_entropy, strength=strength, onset=onset)
    return CompoundLoss([(1.0, partial(soft_dice, smooth=1.0)), (1.0, at_critical)])


def skeleton_recall(smooth: float = 1.0, tube: TubeOf = "patch", skeleton: Skeleton = "complete") -> CompoundLoss:
    """``CE + Dice + skeleton recall``: `dice_ce` and skeleton recall, 1:1 (Kirchhoff et al., ECCV 2024).

    Args:
        smooth: Added to the numerator and denominator of the recall; above 0.
        tube: "patch" draws the tube around the skeleton from the label of each patch. "volume" draws it once per volume
            and cuts it like the label; a label without marked voxels then has no tube.
        skeleton: "complete" uses the centreline that every vessel has. "lee" uses the skeleton of the paper, in which
            vessels with an even number of voxels across are missing.
    """
    if tube not in ("patch", "volume"):
        raise ConfigError("`tube` as 'patch' or 'volume'", f"tube={tube!r}", "leave `tube` at 'patch'")
    _check_above_zero({"smooth": smooth}, "leave `smooth` at 1")
    if skeleton not in ("complete", "lee"):
        cure = "leave `skeleton` at 'complete'"
        raise ConfigError("`skeleton` as 'complete' or 'lee'", f"skeleton={skeleton!r}", cure)
    recall = partial(soft_skeleton_recall, smooth=smooth, tube_of=tube, skeleton=skeleton)
    mark = VolumeTube(skeleton) if tube == "volume" else None
    return CompoundLoss([(1.0, cross_entropy), (1.0, soft_dice), (1.0, recall)], mark)


def tversky(alpha: float = 0.3, beta: float = 0.7) -> CompoundLoss:
    """``CE + Tversky``, 1:1 (Salehi et al. 2017). A missed voxel costs more than an invented one.

    Args:
        alpha: Weight of false positives; above 0.
        beta: Weight of false negatives; above 0. With 0.5 for both, the loss is `dice_ce`.
    """
    _check_above_zero({"alpha": alpha, "beta": beta}, "leave `alpha` at 0.3 and `beta` at 0.7")
    return CompoundLoss([(1.0, cross_entropy), (1.0, partial(soft_tversky, alpha=alpha, beta=beta))])


def focal_tversky(alpha: float = 0.3, beta: float = 0.7, gamma: float = 4 / 3) -> CompoundLoss:
    """``CE + Tversky^(1 / gamma)``, 1:1 (Abraham and Khan, ISBI 2019).

    Args:
        alpha: Weight of false positives; above 0.
        beta: Weight of false negatives; above 0.
        gamma: The inverse of the exponent, above 0. Above 1, a small Tversky loss has a larger gradient.
    """
    cure = "leave `alpha` at 0.3, `beta` at 0.7 and `gamma` at 4/3"
    _check_above_zero({"alpha": alpha, "beta": beta, "gamma": gamma}, cure)
    focal = partial(soft_focal_tversky, alpha=alpha, beta=beta, gamma=gamma)
    return CompoundLoss([(1.0, cross_entropy), (1.0, focal)])


def _cldice(iterations: int, smooth: float) -> Term:
    _check_options(iterations, smooth)
    return partial(_cldice_loss, iterations=iterations, smooth=smooth)


def _cldice_loss(view: Foreground, iterations: int, smooth: float) -> Tensor:
    return soft_cldice(view.prob, view.label, iterations, smooth, view.mask)


def _cb_dice(iterations: int, smooth: float) -> Term:
    _check_options(iterations, smooth)
    return partial(cb_dice_of_view, iterations=iterations, smooth=smooth)


def _check_options(iterations: int, smooth: float = 1.0) -> None:
    numbers = isinstance(iterations, int) and isinstance(smooth, int | float)
    if not numbers or iterations < 1 or smooth <= 0:
        raise ConfigError(
            "`iterations` as a whole number of at least 1, and `smooth` above 0",
            f"iterations={iterations}, smooth={smooth}",
            "set `iterations` to the largest vessel radius in voxels and leave `smooth` at 1",
        )


def _check_above_zero(options: dict[str, float], cure: str) -> None:
    for name, value in options.items():
        if not isinstance(value, int | float) or not value > 0:
            raise ConfigError(f"`{name}` as a number above 0", f"{name}={value!r}", cure)
